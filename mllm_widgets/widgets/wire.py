"""How data travels to the front end, written down once.

A tensor is a dict {dtype, shape, data}: `dtype` "f4" (float32, little-endian) or "u1" (uint8), `shape` a list, `data` the bytes in C order,
which Jupyter sends as a binary buffer beside the JSON.  js/src/lib/tensor.ts reads it.  `VERSION` goes up when a trait changes its meaning, so
that a saved notebook can be told from a newer bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

VERSION = 1
_DTYPES = {"f": "<f4", "u": "u1", "b": "u1"}


def tensor(array: np.ndarray) -> dict[str, Any]:
    """An array in wire form; floats become float32, booleans uint8.

    Raises
    ------
    TypeError: for an array of another kind.
    """
    if array.dtype.kind not in _DTYPES or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
        raise TypeError(f"array has dtype {array.dtype}; expected floats, booleans or uint8.")
    data = np.ascontiguousarray(array, dtype=_DTYPES[array.dtype.kind])
    return {"dtype": data.dtype.str.lstrip("<|"), "shape": list(data.shape), "data": data.tobytes()}


def array(wire: dict[str, Any]) -> np.ndarray:
    """The array of a wire form (a copy)."""
    return np.frombuffer(wire["data"], dtype=np.dtype(wire["dtype"]).newbyteorder("<")).reshape(wire["shape"]).copy()

"""How data travels to the front end, written down once.

A tensor is a dict {dtype, shape, data}: `shape` a list, `data` the bytes in C order, which Jupyter sends as a binary buffer beside the JSON.  `dtype` is

* "f4": float32, little-endian.
* "f2": float16, little-endian: three significant figures from 6e-5 to 65504, fewer below that; refused for numbers beyond.
* "u1": uint8, or booleans.
* "u1" with `scale` and `offset` beside it: numbers in 8 bits.  A byte b stands for offset + scale * b, and 255 for NaN.  0 is the least number and 254
  the largest, both as they were; the others are off by half a `scale` at most.

js/src/lib/tensor.ts reads it, and tests/data/tensors.json holds both sides to the same bytes.  `VERSION` goes up when a trait changes its meaning, so
that a saved notebook can be told from a newer bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

VERSION = 1
MOST_F4, MOST_F2 = 65_536, 262_144  # numbers sent as float32, and as float16, where the size may choose
MOST = 65504.0  # in float16
PRECISIONS = {"float32": "f4", "float16": "f2", "uint8": "u1"}
_DTYPES = {"f": "<f4", "u": "u1", "b": "u1"}
_NAN = 255


def tensor(array: np.ndarray, precision: str = "float32", *, least: str = "uint8") -> dict[str, Any]:
    """An array in wire form; floats become what `precision` says, booleans uint8.

    Parameters
    ----------
    precision: of floats: "float32", "float16", "uint8", or "auto" for the first of these with which the array is not large, "float32" where that alone can hold it.
    least: the least precise that "auto" may take: "float16" for numbers of which small ones matter, too.

    Raises
    ------
    TypeError: for an array of another kind.
    ValueError: for another precision, or numbers that it cannot hold.
    """
    if array.dtype.kind not in _DTYPES or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
        raise TypeError(f"array has dtype {array.dtype}; expected floats, booleans or uint8.")
    if precision == "auto":
        precision = _by_size(array, least)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is not known; expected 'auto', {', '.join(map(repr, PRECISIONS))}.")
    if array.dtype.kind == "f" and precision == "uint8":
        return _eight_bits(array)
    dtype = "<f2" if array.dtype.kind == "f" and precision == "float16" else _DTYPES[array.dtype.kind]
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(array, dtype=dtype)
    if dtype == "<f2" and not np.array_equal(np.isfinite(data), np.isfinite(array)):
        raise ValueError("array has numbers beyond 65504, which float16 cannot hold; expected precision='float32'.")
    return {"dtype": data.dtype.str.lstrip("<|"), "shape": list(data.shape), "data": data.tobytes()}


def _by_size(array: np.ndarray, least: str) -> str:
    if array.dtype.kind != "f" or array.size <= MOST_F4 or not np.abs(array[~np.isnan(array)]).max(initial=0) <= MOST:
        return "float32"
    return "float16" if array.size <= MOST_F2 else least


def _eight_bits(array: np.ndarray) -> dict[str, Any]:
    known = np.isfinite(array)
    if np.isinf(array).any():
        raise ValueError("array has infinite numbers, which 8 bits cannot hold; expected precision='float32'.")
    low, high = (float(array[known].min()), float(array[known].max())) if known.any() else (0.0, 0.0)
    scale = (high - low) / (_NAN - 1)
    share = np.zeros(array.shape) if scale == 0 else (array.astype(np.float64) - low) / scale
    data = np.where(known, np.rint(np.where(known, share, 0)), _NAN).astype(np.uint8)
    return {"dtype": "u1", "shape": list(data.shape), "data": data.tobytes(), "scale": scale, "offset": low}


def array(wire: dict[str, Any]) -> np.ndarray:
    """The array of a wire form (a copy), as the front end reads it: float32, or uint8."""
    data = np.frombuffer(wire["data"], dtype=np.dtype(wire["dtype"]).newbyteorder("<")).reshape(wire["shape"])
    if "scale" in wire:
        numbers = wire["offset"] + wire["scale"] * data.astype(np.float64)
        return np.where(data == _NAN, np.nan, numbers).astype(np.float32)
    return data.astype(np.float32) if data.dtype.kind == "f" else data.copy()


def sendable(value: Any) -> Any:
    r"""The same value, its texts without lone surrogates; itself where there are none.

    Examples
    --------
    >>> sendable({"rows": ["a", "\ud800"]})
    {'rows': ['a', '\\ud800']}
    """
    if isinstance(value, str):
        clean = value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
        return value if clean == value else clean
    if isinstance(value, dict):
        made = [(sendable(key), sendable(each)) for key, each in value.items()]
        same = all(k is key and v is each for (k, v), (key, each) in zip(made, value.items(), strict=True))
        return value if same else dict(made)
    if isinstance(value, (list, tuple)):
        several = [sendable(each) for each in value]
        return several if any(one is not other for one, other in zip(several, value, strict=True)) else value
    return value

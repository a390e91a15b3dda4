"""Trees as JSON: arrays are the base64 of their little-endian bytes, so that every bit comes back, NaN included."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from typing import TypeGuard

    import xarray as xr

NUMBERS = "biuf"  # kinds of numpy dtypes: bool, integers, floats


def write(place: Path, head: dict[str, Any], fields: dict[str, Any]) -> None:
    """One JSON object, in ASCII: lone surrogates and control characters are escapes.  One line a field, so that people can look into it."""
    lines = [f"{_text(name)}: {_text(value)}" for name, value in head.items()]
    own = [f"{_text(name)}: {_text(encoded(value))}" for name, value in fields.items()]
    data = ",\n ".join(own)
    place.write_text("{\n" + ",\n".join([*lines, f'"data": {{\n {data}\n}}']) + "\n}\n", encoding="ascii")


def read(place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(head, fields) of a file; arrays are still as they are written.  What is no JSON, or no object, raises some error."""
    found = json.loads(place.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    return {name: value for name, value in found.items() if name != "data"}, found.get("data", {})


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def encoded(tree: Any) -> Any:
    """A tree without leaves that JSON does not have."""
    if isinstance(tree, dict):
        return {key: encoded(each) for key, each in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [encoded(each) for each in tree]
    if isinstance(tree, np.ndarray):
        return array(tree)
    if isinstance(tree, Image.Image):
        buffer = io.BytesIO()
        tree.save(buffer, format="PNG")
        return {"png": base64.b64encode(buffer.getvalue()).decode()}
    if is_labelled(tree):
        return labelled(tree)
    if hasattr(tree, "columns") and hasattr(tree, "to_numpy"):
        return {"frame": {str(name): array(tree[name].to_numpy()) for name in tree.columns}}
    return tree


def decoded(tree: Any) -> Any:
    """The tree with its leaves.  What is damaged raises some error."""
    if isinstance(tree, list):
        return [decoded(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if {"dtype", "shape", "data"} == set(tree):
        return array_of(tree)
    if {"dims", "values"} <= set(tree):
        return labelled_of(tree, array_of(tree["values"]))
    if set(tree) == {"png"}:
        return picture_of(base64.b64decode(tree["png"], validate=True))
    if set(tree) == {"frame"}:
        import pandas as pd

        return pd.DataFrame({name: array_of(column) for name, column in tree["frame"].items()})
    return {key: decoded(each) for key, each in tree.items()}


def array(values: np.ndarray) -> dict[str, Any]:
    """An array: `data` is base64 of its bytes in C order, or a list of texts."""
    dtype = values.dtype
    if dtype.kind in NUMBERS:
        little = np.ascontiguousarray(values, dtype=dtype.newbyteorder("<"))
        data: Any = base64.b64encode(little.tobytes()).decode()
        return {"dtype": little.dtype.str, "shape": list(values.shape), "data": data}
    texts = values.ravel().tolist()
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"an array of {dtype} holds more than texts")
    return {"dtype": "|O" if dtype.kind != "U" else dtype.str, "shape": list(values.shape), "data": texts}


def array_of(tree: dict[str, Any]) -> np.ndarray:
    """The array of `array`."""
    dtype, shape, data = np.dtype(tree["dtype"]), tuple(tree["shape"]), tree["data"]
    if isinstance(data, list):
        if dtype.kind not in "UO" or not all(isinstance(text, str) for text in data):
            raise ValueError(f"a list of texts is said to be of dtype {dtype}")
        values = np.empty(len(data), dtype=dtype)
        values[:] = data
        return values.reshape(shape)
    if dtype.kind not in NUMBERS:
        raise ValueError(f"bytes are said to be of dtype {dtype}")
    raw = base64.b64decode(data, validate=True)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and dtype {dtype.str} has {len(raw)} bytes")
    return np.frombuffer(raw, dtype=dtype.newbyteorder("<")).reshape(shape).astype(dtype.newbyteorder("="))


def is_labelled(tree: Any) -> TypeGuard[xr.DataArray]:
    """Has it named axes?"""
    return hasattr(tree, "coords") and hasattr(tree, "dims")


def labelled(values: xr.DataArray) -> dict[str, Any]:
    """An array with named axes."""
    return {
        "name": values.name,
        "dims": list(values.dims),
        "coords": {str(n): {"dims": list(c.dims), "values": array(c.values)} for n, c in values.coords.items()},
        "values": array(values.values),
    }


def labelled_of(tree: dict[str, Any], values: np.ndarray) -> xr.DataArray:
    """The array of `labelled`; a coordinate may also be a list or a plain array, of the axis with its name."""
    import xarray as xr

    coords = {name: _coordinate(name, each) for name, each in tree.get("coords", {}).items()}
    return xr.DataArray(values, dims=tree["dims"], coords=coords, name=tree.get("name"))


def _coordinate(name: str, tree: Any) -> tuple[Any, np.ndarray]:
    if isinstance(tree, list):
        return (name,), np.array(tree)
    if "dims" in tree:
        return tuple(tree["dims"]), array_of(tree["values"])
    return (name,), array_of(tree)


def picture_of(png: bytes) -> Image.Image:
    """The picture of a PNG, in memory."""
    return Image.open(io.BytesIO(png), formats=["PNG"]).copy()

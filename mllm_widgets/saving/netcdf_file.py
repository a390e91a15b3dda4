"""Trees as NetCDF: numbers are variables that any program reads, and all the rest is JSON in the variable `content`, which says where they belong.

Texts are in the JSON exactly; coordinates and variables of texts are copies for readers, in which what HDF5 cannot hold (NUL, lone surrogates) is written out.
Axes keep their names where their coordinates agree; where two arrays have different ones under the same name, the later one's is called after its array.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mllm_widgets.errors import SaveError

from . import json_file

if TYPE_CHECKING:
    import xarray as xr

CONTENT = "content"
ENGINE = "h5netcdf"


def write(place: Path, head: dict[str, Any], fields: dict[str, Any]) -> None:
    """One NetCDF file; the head is also in its attributes."""
    import xarray as xr

    _check_engine()
    variables = _Variables()
    content = json.dumps({"head": head, "fields": variables.taken(fields, ())}, allow_nan=False).encode("ascii")
    attributes = {name: value if isinstance(value, (str, int)) else json.dumps(value) for name, value in head.items()}
    whole = xr.Dataset(
        {**variables.data, CONTENT: ("content_byte", np.frombuffer(content, np.uint8))}, variables.coords, attributes
    )
    # nothing is put in the place of NaN
    kinds = {name: {"_FillValue": None} for name, each in whole.variables.items() if each.dtype.kind == "f"}
    whole.to_netcdf(place, engine=ENGINE, encoding=kinds)


def read(place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(head, fields), with the arrays in their places."""
    import xarray as xr

    _check_engine()
    with xr.open_dataset(place, engine=ENGINE, decode_cf=False) as opened:
        whole = opened.load()
    if CONTENT not in whole:
        return {}, {}
    found = json.loads(whole[CONTENT].values.astype(np.uint8).tobytes())
    return found["head"], _given(found["fields"], whole)


class _Variables:
    """The variables of a file, as they are found."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.coords: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        self._sizes: dict[str, int] = {}

    def taken(self, tree: Any, path: tuple[str, ...]) -> Any:
        """The tree, with names of variables in the place of its arrays of numbers."""
        if isinstance(tree, dict):
            skipped = {"fields", "columns"}  # say nothing about what they hold
            return {key: self.taken(each, path if key in skipped else (*path, key)) for key, each in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [self.taken(each, (*path, str(number))) for number, each in enumerate(tree)]
        name = "_".join(path)
        if isinstance(tree, np.ndarray) and tree.dtype.kind in json_file.NUMBERS:
            axes = tuple(f"{name}_{axis}" for axis in range(tree.ndim))
            return {**self._put(name, axes, tree), "dtype": tree.dtype.newbyteorder("<").str}
        if isinstance(tree, Image.Image) and tree.mode == "RGB":
            axes = tuple(f"{name}_{axis}" for axis in ("row", "column", "channel"))
            return {**self._put(name, axes, np.asarray(tree)), "picture": True}
        if json_file.is_labelled(tree):
            return self._labelled(name, tree)
        return json_file.encoded(tree)

    def _labelled(self, name: str, values: xr.DataArray) -> dict[str, Any]:
        said = json_file.labelled(values)
        axes = tuple(self._axis(name, str(dim), values) for dim in values.dims)
        own = values.values
        stored = self._put(name, axes, own if own.dtype.kind in json_file.NUMBERS else _readable(own))
        if own.dtype.kind in json_file.NUMBERS:
            said["values"] = {**stored, "dtype": own.dtype.newbyteorder("<").str}
        return said

    def _axis(self, name: str, dim: str, values: xr.DataArray) -> str:
        """An axis of the file that has the size and the coordinate of the array's."""
        size, own = values.sizes[dim], None
        if dim in values.coords:
            own = values.coords[dim].values
            own = own if own.dtype.kind in json_file.NUMBERS else _readable(own)
        for axis in (dim, f"{name}_{dim}"):
            if axis not in self._sizes:
                self._sizes[axis] = size
                if own is not None:
                    self.coords[axis] = ((axis,), own)
                return axis
            known = self.coords[axis][1] if axis in self.coords else None
            alike = known is own if known is None or own is None else np.array_equal(known, own)
            if self._sizes[axis] == size and alike:
                return axis
        raise AssertionError(f"two arrays are called {name!r}")

    def _put(self, name: str, axes: tuple[str, ...], values: np.ndarray) -> dict[str, Any]:
        # an axis and a variable of one name would be a coordinate
        while name in self.data or name in self._sizes or name == CONTENT:
            name += "_"
        # NetCDF has no half precision
        self.data[name] = (axes, values.astype(np.float32) if values.dtype == np.float16 else values)
        return {"variable": name}


def _readable(texts: np.ndarray) -> np.ndarray:
    """Texts as HDF5 can hold them."""
    clean = [str(text).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00") for text in texts.ravel()]
    made = np.empty(len(clean), dtype=object)
    made[:] = clean
    return made.reshape(texts.shape)


def _given(tree: Any, whole: xr.Dataset) -> Any:
    """The tree with its arrays."""
    if isinstance(tree, list):
        return [_given(each, whole) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if "variable" in tree:
        values = whole[tree["variable"]].values
        if tree.get("picture"):
            return Image.fromarray(values.astype(np.uint8))
        return values.astype(np.dtype(tree["dtype"]).newbyteorder("="))
    if {"dims", "values"} <= set(tree):
        own = tree["values"]
        return json_file.labelled_of(tree, _given(own, whole) if "variable" in own else json_file.array_of(own))
    found = json_file.decoded({key: tree[key] for key in tree}) if _is_leaf(tree) else None
    return {key: _given(each, whole) for key, each in tree.items()} if found is None else found


def _is_leaf(tree: dict[str, Any]) -> bool:
    return set(tree) in ({"dtype", "shape", "data"}, {"png"}, {"frame"})


def _check_engine() -> None:
    """Raises SaveError where the packages that write NetCDF are missing."""
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise SaveError(
            f"NetCDF needs {error.name or 'h5netcdf'}, which is not installed: pip install 'mllm_widgets[netcdf]'. Or save as .json, which needs nothing."
        ) from error

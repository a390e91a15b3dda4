"""A remote run without a server: the request is written, read back as where this package is not installed, and what was read back runs here.

nnsight's own rehearsal takes every other package out of `sys.modules` meanwhile, for all threads: a widget that computes in one would find a second copy of what
another uses.  Here the reader alone does not find them.
"""

from __future__ import annotations

import importlib
import linecache
from typing import Any

from nnsight.intervention.serialization import CustomCloudUnpickler
from nnsight.ndif import pull_env
from nnsight.schema.request import RequestModel
from nnsight.tracing.backend import Backend

ABSENT = "mllm_widgets"


class Rehearsal(Backend):
    """Runs a trace or a session as a server would, on the model itself."""

    def __init__(self, model: Any):
        self.model = model

    def __call__(self, tracer: Any) -> None:
        """Write and read the block, then run it.

        Raises ModuleNotFoundError if the request names something of this package.
        """
        pull_env()  # what the user has written in files beside the notebook travels with the request
        blob = RequestModel.serialize(tracer)
        name = tracer.info.frame.f_code.co_filename
        known = linecache.cache.get(name)  # reading puts the block's source in the place of its file's
        try:
            read = RequestModel.deserialize(
                blob, self.model._remoteable_persistent_objects(), unpickler=ElsewhereUnpickler
            )
        finally:
            if known is None:
                linecache.cache.pop(name, None)
            else:
                linecache.cache[name] = known
        tracer.info.code = read.info.code
        tracer.execute(tracer.info.code)


class ElsewhereUnpickler(CustomCloudUnpickler):
    """Reads a request as where this package is not installed."""

    def find_class(self, module: str, name: str) -> Any:
        """As `pickle` asks."""
        if name == "subimport":  # how cloudpickle writes a module
            return imported
        _refuse(module)
        return super().find_class(module, name)


def imported(module: str) -> Any:
    """A module a server has."""
    _refuse(module)
    return importlib.import_module(module)


def _refuse(module: str) -> None:
    if module.split(".")[0] == ABSENT:
        raise ModuleNotFoundError(f"No module named {ABSENT!r} on a server; the request names {module!r}.", name=ABSENT)

"""The same jobs, run by the code of NDIF's own server, where it is installed (Python >= 3.12: `pip install 'ndif[ray,api]'`).

Both ways in which it runs a block: in its own process, as for a trusted key, and in its sandbox, where the block and the model are in two processes.  Its queue is left out.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from nnsight import TransformersModel
from nnsight.intervention.backends.remote import RemoteBackend

import mllm_widgets as mw
from mllm_widgets.vlm.remote import Remote
from tests.random_llava import random_question, random_vlm

pytest.importorskip("ndif", reason="NDIF's server is not installed")

from ndif.common.schema.request import BackendRequestModel  # pyright: ignore[reportMissingImports]
from ndif.services.ray.deployments.modeling import nns  # pyright: ignore[reportMissingImports]
from ndif.services.ray.sandbox.driver import SandboxDriver  # pyright: ignore[reportMissingImports]
from ndif.services.ray.sandbox.host import spawn  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("checkpoint")
    random_vlm().model.save_pretrained(place)
    random_vlm().processor.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def deployed(folder):
    """The model as a server has it."""
    processor = random_vlm().processor
    parts = {"tokenizer": processor.tokenizer, "processor": processor, "image_processor": processor.image_processor}
    model = TransformersModel(str(folder), task="image-text-to-text", dispatch=True, dtype="float32", **parts)
    model._module.requires_grad_(False)  # as NDIF does: what in-place writes need
    return model


def trusted(model: Any, blob: bytes) -> dict[str, Any]:
    """A block in the model's own process."""
    with nns.block_scope():
        tracer, _ = nns.prepare_traced_block(model, blob, True, BackendRequestModel.deserialize)
        return nns.execute_traced_block(tracer, torch.float32)


def sandboxed(model: Any, blob: bytes) -> dict[str, Any]:
    """A block in a process of its own."""
    sandbox = spawn(timeout=120)
    try:
        connection = sandbox.connection(120)
        connection.send((blob, True, "torch.float32", None, model._remoteable_get_env()))
        saved, _ = SandboxDriver(model, torch.float32).pump(connection)
        return torch.load(io.BytesIO(saved), weights_only=False)
    finally:
        sandbox.stop()


@pytest.mark.parametrize("way", [trusted, sandboxed])
def test_ndif_runs_the_jobs(folder, deployed, way, monkeypatch):
    class Backend(RemoteBackend):
        def request(self, request, tracer):
            return way(deployed, self._serialize(tracer))

    @contextlib.contextmanager
    def job(self, vlm):
        with vlm.lock, torch.inference_mode():
            yield {"backend": Backend("the model", host="http://not.asked")}

    vlm = mw.load(folder, remote="local", dtype="float32")
    monkeypatch.setattr(Remote, "job", job)
    question = random_question()
    options: dict[str, Any] = {"corruption": "Taj Mahal", "modules": "residual", "sever": "mlp"}
    assert mw.ask(vlm, question).text == mw.ask(random_vlm(), question).text
    one, two = (mw.causal_trace(each, question, **options).restored for each in (random_vlm(), vlm))
    assert np.abs(one - two).max() <= 1e-5

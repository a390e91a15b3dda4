"""A server that answers as NDIF's API does, for one model, in a process that has no mllm_widgets.

What it does with a request is what NDIF 0.1.2 does with a trusted one (services/api/app.py, services/ray/deployments/modeling): a session id on /subscribe, a
multipart POST to /request, statuses on the socket, the request's environment applied, the block rebuilt against the live model and executed in a trace's
scope, its saved values back as one binary frame.  No queue, no Redis, no Ray: one request at a time.

    python server.py FOLDER PORT
"""

from __future__ import annotations

import asyncio
import importlib.abc
import io
import json
import sys
import traceback
import uuid
from typing import Any


class Absent(importlib.abc.MetaPathFinder):
    """Makes what a server does not have as if it were not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """As `importlib` asks."""
        if name.split(".")[0] in ("mllm_widgets", "tests"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())

import torch  # noqa: E402
import uvicorn  # noqa: E402
import zstandard  # noqa: E402
from nnsight import TransformersModel  # noqa: E402
from nnsight.schema.request import RequestModel  # noqa: E402
from nnsight.schema.response import ResponseModel, Status  # noqa: E402
from nnsight.tracing.tracer import _saves, dec, inc  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.responses import JSONResponse, Response  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402

FOLDER, PORT = sys.argv[1:]
REFUSED = "00000000-0000-0000-0000-000000000000"  # a key nobody has
SOCKETS: dict[str, Any] = {}


def load() -> Any:
    """The model, with the processor made as this machine can: torchvision is not needed for it."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(FOLDER, backend="pil")
    parts = {"tokenizer": processor.tokenizer, "processor": processor, "image_processor": processor.image_processor}
    return TransformersModel(FOLDER, task="image-text-to-text", dispatch=True, dtype="float32", **parts)


MODEL = load()


def run(request: RequestModel, blob: bytes) -> bytes:
    """What a block saves, as a server sends it."""
    MODEL._remoteable_set_env(request.env)
    tracer = RequestModel.deserialize(blob, MODEL._remoteable_persistent_objects(), request.compress)
    inc()
    try:
        tracer.execute(tracer.info.code)
        saved = {name: value for name, value in tracer.info.frame.f_locals.items() if id(value) in _saves()}
    finally:
        dec()
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return zstandard.ZstdCompressor().compress(buffer.getvalue())


async def subscribe(socket: Any) -> None:
    """The socket of one request."""
    if socket.headers.get("ndif-api-key") == REFUSED:
        await socket.close(1008)
        return
    await socket.accept()
    session = uuid.uuid4().hex
    SOCKETS[session] = socket
    await socket.send_text(json.dumps({"session_id": session}))
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    del SOCKETS[session]


async def work(socket: Any, request: RequestModel, job: str, blob: bytes) -> None:
    """Run a request, and say how it went."""

    async def say(status: Status, description: str) -> None:
        await socket.send_text(ResponseModel(id=job, status=status, description=description).model_dump_json())

    await say(Status.RUNNING, "Your job has started running.")
    served = json.loads(request.model_key.split(":", 1)[1])["repo_id"]
    if served != FOLDER:
        await say(Status.ERROR, f"Model {served} is not deployed.")
        return
    try:
        data = await asyncio.to_thread(run, request, blob)
    except Exception:  # noqa: BLE001 - the one who asked is told
        await say(Status.ERROR, traceback.format_exc())
        return
    done = ResponseModel(id=job, status=Status.COMPLETED, description="Your job has been completed.", data=data)
    await socket.send_bytes(done.pickle())


TASKS: set[Any] = set()


async def request(http: Any) -> Response:
    """A request, and the first response to it."""
    form = await http.form()
    asked, blob = RequestModel.model_validate_json(form["data"]), await form["blob"].read()
    job = uuid.uuid4().hex
    task = asyncio.create_task(work(SOCKETS[asked.session_id], asked, job, blob))
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)
    first = ResponseModel(id=job, status=Status.RECEIVED, description="Your job has been received.")
    return Response(first.model_dump_json(), media_type="application/json")


async def status(_http: Any) -> Response:
    """What is served."""
    one = {
        "model_key": MODEL.__class__.__name__,
        "repo_id": FOLDER,
        "deployment_level": "HOT",
        "application_state": "RUNNING",
    }
    return JSONResponse({"deployments": {"one": one}})


ROUTES = [
    WebSocketRoute("/subscribe", subscribe),
    Route("/request", request, methods=["POST"]),
    Route("/status", status),
]

if __name__ == "__main__":
    uvicorn.run(Starlette(routes=ROUTES), host="127.0.0.1", port=int(PORT), log_level="warning", ws_max_size=2**30)

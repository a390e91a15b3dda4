"""`mw.load(..., remote=...)`: the same maps from a server that has the weights and not this package, and what is said where it cannot be.

`server.py` is a process that answers as NDIF's API does.  Every request to it goes the whole way: nnsight's client, the socket, a block rebuilt from its source.
"""

from __future__ import annotations

import contextlib
import pickletools
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from nnsight.intervention.backends.remote import RemoteBackend
from nnsight.modeling import huggingface
from nnsight.schema.config import CONFIG
from nnsight.schema.request import RequestModel

import mllm_widgets as mw
from mllm_widgets.errors import MllmWidgetsError, ModelError, TraceError
from mllm_widgets.tracing import EmbeddingNoise, OtherImage, PixelNoise, remote, trace_inputs
from mllm_widgets.tracing.continuation import hidden
from tests.families import tiny_text
from tests.random_llava import random_question, random_vlm
from tests.reference import reference_map

TOLERANCE = 1e-5
SITES = ("mlp", "self_attn", "residual")
OTHER = np.zeros((50, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of the random LLaVA."""
    place = tmp_path_factory.mktemp("checkpoint")
    random_vlm().model.save_pretrained(place)
    random_vlm().processor.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def rehearsed(folder):
    return mw.load(folder, remote="local", dtype="float32")


@pytest.fixture(scope="module")
def host(folder):
    """The URL of a server that has the checkpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    server = subprocess.Popen([sys.executable, str(here / "server.py"), str(folder), str(port)], cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert server.poll() is None, "the server ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/status") as answer:
                assert answer.status == 200
                break
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def served(host, folder, monkeypatch):
    """The model there, as a user has it; the Hub, which would be asked how its id is spelt, is left out."""
    monkeypatch.setitem(huggingface._ID_CACHE, str(folder), str(folder))
    monkeypatch.setattr(CONFIG.APP, "REMOTE_LOGGING", False)
    return mw.load(folder, remote=host, dtype="float32")


@pytest.fixture
def sent(monkeypatch):
    """Lengths and contents of what goes and of what comes."""
    payloads, results = [], []
    serialize, finalize = RequestModel.serialize, RemoteBackend.finalize

    def goes(tracer, compress=False):
        payloads.append(serialize(tracer, compress))
        return payloads[-1]

    def comes(self, content):
        results.append(content)
        return finalize(self, content)

    monkeypatch.setattr(RequestModel, "serialize", staticmethod(goes))
    monkeypatch.setattr(RemoteBackend, "finalize", comes)
    return payloads, results


def test_a_served_model_answers_and_is_traced_as_it_is_here(served, sent):
    assert all(parameter.is_meta for parameter in served.model.parameters())
    whole, question = random_vlm(), random_question()
    one, two = mw.ask(whole, question, max_new_tokens=3), mw.ask(served, question, max_new_tokens=3)
    assert one.text == two.text
    assert np.abs(one.probabilities - two.probabilities).max() <= TOLERANCE
    options = {"corruption": "Taj Mahal", "window": 3, "modules": SITES, "sever": "mlp"}
    wanted, found = (mw.causal_trace(vlm, question, **options) for vlm in (whole, served))
    assert np.abs(wanted.indirect_effect).max() > 0.05
    assert np.abs(found.restored - wanted.restored).max() <= TOLERANCE
    assert abs(found.clean - wanted.clean) + abs(found.corrupted - wanted.corrupted) <= TOLERANCE
    assert found.answer.text == wanted.answer.text
    assert found.provenance["device"] == served.remote.host
    assert all(parameter.is_meta for parameter in served.model.parameters())  # still
    payloads, results = sent
    assert len(payloads) == 3  # the answer; the first runs; the whole map
    # no activation travels: the map's result is one number a run
    buffer = torch.tensor(0.0).numel() * 4 * remote.JOB_CELLS
    assert len(results[-1]) < buffer + 4096


def test_a_job_names_nothing_that_a_server_lacks(served, sent):
    mw.causal_trace(served, random_question(), corruption="Taj Mahal", modules="mlp")
    for payload in sent[0]:
        names = {
            str(value) for _, value, _ in pickletools.genops(zstandard.ZstdDecompressor().decompress(payload)) if value
        }
        modules = {name.split()[0].split(".")[0] for name in names if name.replace(".", "").isidentifier()}
        assert not {"mllm_widgets", "tests"} & modules


@pytest.mark.parametrize(
    "options",
    [
        {"window": 3, "modules": "residual", "sever": "self_attn"},
        {"target": "a red ball", "modules": "mlp"},
        {"score": "logit-difference", "groups": ["visual", "constraint"], "modules": "self_attn"},
        {"control": "text-only", "modules": "mlp"},
        {"corruption": OtherImage(OTHER), "groups": "visual", "modules": "mlp"},
        {"corruption": PixelNoise(draws=2), "modules": "mlp", "groups": ()},
    ],
    ids=lambda options: ", ".join(options),
)
def test_rehearsed_maps_are_those_made_here(rehearsed, options):
    options = {"corruption": "Taj Mahal", **options}
    wanted, found = (mw.causal_trace(vlm, random_question(), **options) for vlm in (random_vlm(), rehearsed))
    scale = max(1.0, float(np.abs(wanted.restored).max()))
    assert np.abs(found.restored - wanted.restored).max() <= TOLERANCE * scale
    if wanted.group_restored is not None and found.group_restored is not None:
        assert np.abs(found.group_restored - wanted.group_restored).max() <= TOLERANCE


def run_with(vlm, function):
    """A job whose block names a function."""
    nn, inputs = vlm.nnsight, vlm.encode(random_question()).inputs
    with vlm.remote.job(vlm) as job, nn.trace(**inputs, **job):
        function(nn.output.logits)


def test_a_rehearsal_does_not_find_this_package(rehearsed):
    run_with(rehearsed, torch.sum)
    with pytest.raises(ModuleNotFoundError, match=r"on a server; the request names 'mllm_widgets\.tracing"):
        run_with(rehearsed, hidden)


def test_the_graphs_are_plain_hooks_and_run_where_the_weights_are(monkeypatch):
    """With neither a server nor a rehearsal between: the sessions themselves, against a full pass with hooks for every cell."""
    vlm, question = random_vlm(), random_question()
    setup = remote.prepare_remote(vlm, question, mw.tracing.TokenSwap("Taj Mahal"))
    monkeypatch.setattr(remote, "PASS_ROWS", 5)  # several passes, the last one not full
    trace = mw.tracing.run_trace(setup, window=2)
    for module in trace.modules:
        wanted = reference_map(vlm, setup, module, window=2)
        assert np.abs(trace.restored.sel(module=module).values - wanted).max() <= TOLERANCE


def test_a_map_of_several_jobs_says_how_far_it_is_and_stops_between_them(rehearsed, monkeypatch):
    monkeypatch.setattr("mllm_widgets.tracing.filling.JOB_CELLS", 20)
    setup = mw.tracing.prepare_trace(rehearsed, random_question(), corruption="Taj Mahal")
    seen = []
    trace = mw.tracing.run_trace(setup, modules="mlp", on_cells=lambda batch: seen.append((batch.done, batch.total)))
    assert len(seen) > 1
    assert seen[0][0] == 20
    assert seen[-1][0] == seen[-1][1]
    assert np.isfinite(trace.restored).all()

    class StopError(Exception):
        pass

    class AfterOne:
        asked = 0

        def check(self):
            self.asked += 1
            if self.asked > 1:
                raise StopError

    with pytest.raises(StopError):
        mw.tracing.run_trace(setup, modules="mlp", cancel=AfterOne())


def test_a_language_model_is_rehearsed(tmp_path):
    here, question = tiny_text.tiny_text("llama"), tiny_text.question()
    here.model.save_pretrained(tmp_path)
    here.processor.save_pretrained(tmp_path)
    there = mw.load(tmp_path, remote="local", dtype="float32")
    wanted, found = (mw.causal_trace(vlm, question, corruption="Taj Mahal").restored for vlm in (here, there))
    assert np.abs(wanted - wanted[0, 0, 0]).max() > 0.05
    assert np.abs(wanted - found).max() <= TOLERANCE


def test_the_script_of_a_cell_is_sent_too(rehearsed):
    trace = mw.causal_trace(rehearsed, random_question(), corruption="Taj Mahal", modules="mlp")
    token = int(trace.constraint[-1])
    code = trace.to_code(layer=2, token=token, module="mlp")
    assert "remote='local'" in code.split("nn.trace(", 1)[1].splitlines()[0]
    place = Path(rehearsed.name) / "cell.py"
    place.write_text(code)
    done = subprocess.run([sys.executable, place], capture_output=True, text=True, check=True)
    said = float(done.stdout.strip().splitlines()[-1])
    assert abs(said - float(trace.restored.sel(module="mlp", layer=2, token=token))) <= 1e-4


def refused(run, error: type[Exception] = ModelError) -> str:
    with pytest.raises(MllmWidgetsError) as found:
        run()
    assert isinstance(found.value, error)
    return str(found.value)


def test_what_needs_the_weights_says_so(rehearsed):
    vlm, question = rehearsed, random_question()
    for run in (
        lambda: mw.attention_contributions(vlm, question, target="last"),
        lambda: mw.attention_knockout(vlm, question, "visual", "last"),
        lambda: mw.logit_lens(vlm, question, "last"),
        lambda: mw.multedit(vlm, question, "Rome", layer=2),
    ):
        said = refused(run)
        assert "needs the weights" in said
        assert "without remote=" in said
    edit = mw.multedit(random_vlm(), question, "Paris", layer=2, steps=1)
    with pytest.raises(ModelError, match="needs the weights"):
        vlm.side_terms.put(edit.terms)
    noise = EmbeddingNoise(draws=1)
    assert "OtherImage" in refused(lambda: mw.causal_trace(vlm, question, corruption=noise), TraceError)
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    assert "residual" in refused(lambda: trace_inputs(setup, "constraint"), TraceError)


def test_places_that_are_none(folder, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "HOST", "https://api.ndif.us")
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    assert "NDIF_API_KEY" in refused(lambda: mw.load("llava-hf/llava-1.5-7b-hf", remote=True))
    assert "NDIF_API_KEY" in refused(lambda: mw.load("llava-hf/llava-1.5-7b-hf", remote="https://api.ndif.us/"))
    said = refused(lambda: mw.load("llava-hf/llava-1.5-7b-hf", remote="https://anna:secret@models.example"))
    assert "leave them out" in said
    assert "secret" not in said
    monkeypatch.setattr(CONFIG.API, "APIKEY", "a key")
    assert "lies on this machine" in refused(lambda: mw.load(folder, remote=True))
    assert "lies on this machine" in refused(lambda: mw.load("demo", remote=True))
    assert "begins with http" in refused(lambda: mw.load(folder, remote="ndif"))
    assert "is no place" in refused(lambda: mw.load(folder, remote=3))  # pyright: ignore[reportArgumentType]
    assert "in memory" in refused(lambda: mw.load(random_vlm().model, random_vlm().processor, remote="local"))
    placed = refused(lambda: mw.load(folder, remote="http://127.0.0.1:9", device_map="auto"))
    assert "device_map cannot be given" in placed


def test_a_server_that_is_not_there_or_does_not_want(served, folder, host, monkeypatch):
    question = random_question()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "cannot be reached" in refused(lambda: mw.ask(mw.load(folder, remote=nowhere), question))
    monkeypatch.setitem(huggingface._ID_CACHE, str(folder), "someone/else")
    said = refused(lambda: mw.ask(served, question))
    assert "failed" in said  # it has the name this was loaded by
    served.name = "someone/else"
    said = refused(lambda: mw.ask(served, question))
    assert f"'someone/else' is not served by {host}, which says: Model someone/else is not deployed" in said
    assert f"It serves {folder}" in said
    monkeypatch.delitem(huggingface._ID_CACHE, str(folder))
    assert "cannot be found on the Hugging Face Hub" in refused(lambda: mw.ask(served, question))


def test_a_refused_key_and_a_failing_run(served, monkeypatch):
    question = random_question()
    setup = mw.tracing.prepare_trace(served, question, corruption="Taj Mahal")
    wrong = type(setup.score)(setup.score.kind, (10**6,))
    object.__setattr__(setup, "score", wrong)
    said = refused(lambda: mw.tracing.run_trace(setup, modules="mlp"))
    assert f"failed on {served.remote.host}" in said
    assert "out of bounds" in said
    monkeypatch.setattr(CONFIG.API, "APIKEY", "00000000-0000-0000-0000-000000000000")
    assert "the API key may be wrong" in refused(lambda: mw.ask(served, question))

"""Texts that must stay texts, and results and widgets that are full of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import mllm_widgets as mw
from mllm_widgets.provenance import Provenance
from mllm_widgets.results import Answer, TokenInfo, Trace

RUN = "<img src=x onerror=\"window.ran=1;alert('ran')\">"
SCRIPT = "</script><script>window.ran=1;alert('ran')</script>"
TEXTS = (
    RUN,
    SCRIPT,
    "{{7*7}} ${7*7} javascript:alert(1) ]]> --> <!--",
    "\u202eright to left \u2066override",
    "שלום עולם مرحبا",
    "a" + "\u0301\u0488\u0325" * 30,
    "\0\x01\x1b[31m\x7f\x9b",
    "line\nbreak\r\n\ttab\u2028\u2029",
    "\u200b\u200d\ufeff\u00ad",
    "\U0001f9d1\u200d\U0001f680\U0001f3f3\ufe0f\u200d\U0001f308",
    "\ud800 and \udfff",
    "W" * 10_000,
    "many words " * 900,
    "&lt;b&gt;&amp;",
    "=1+1",
)
EVERYTHING = " | ".join(TEXTS)


def hostile_trace(**more: Any) -> Trace:
    """A trace of nobody's model, of which every text is hostile."""
    count = len(TEXTS)
    values = np.linspace(-0.5, 0.9, 2 * 4 * count, dtype=np.float32).reshape(2, 4, count)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    axes = {"module": ["mlp", "self_attn"], "layer": np.arange(4), "token": np.arange(count)}
    rows = tuple(
        TokenInfo(i, i, text, constraint=i == 1, traced=i != 2, reason=EVERYTHING if i == 2 else "")
        for i, text in enumerate(TEXTS)
    )
    given: dict[str, Any] = {
        "restored": xr.DataArray(values, dims=("module", "layer", "token"), coords=axes, name="restored"),
        "clean": 0.9,
        "corrupted": 0.1,
        "answer": Answer(EVERYTHING, RUN, 0, 0.9, np.array([0.9, 0.1], np.float32), (RUN, SCRIPT)),
        "answer_token": RUN,
        "target": EVERYTHING,
        "window": 1,
        "warnings": TEXTS,
        "rows": rows,
        "constraint": (1,),
        "input_ids": np.arange(count),
        "corrupted_input_ids": np.arange(count) + 1,
        "corruption": EVERYTHING,
        "fitted": "exact",
        "question": EVERYTHING,
        "model": RUN,
        "provenance": Provenance(model=RUN, question=EVERYTHING),
    }
    return Trace(**{**given, **more})


def hostile_map(question: mw.Question, geometry: Any) -> mw.PatchMap:
    """Values on a picture, of which every text is hostile."""
    values = np.random.default_rng(0).random((4, geometry.count))
    sinks = {0: EVERYTHING, 1: RUN}
    words = {"quantity": RUN, "target": EVERYTHING, "question": EVERYTHING, "model": SCRIPT, "warnings": TEXTS}
    return mw.PatchMap(question.image, geometry, values, tuple(range(4)), sinks=sinks, **words)

"""The calls that give what an Explorer shows, as a script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from mllm_widgets.tracing.code import load_line
from mllm_widgets.vlm.question import Question

from .view import Trial, View

MOST = 60_000  # characters of a picture written into the script
WIDTH = 100


def question_code(vlm: Any, question: Question) -> str:
    """Lines that load the model and ask the question: what stays the same while one looks around."""
    return "\n".join(["import mllm_widgets as mw", "", load_line(vlm.name, vlm), *_question(question)]) + "\n"


def view_code(
    view: View,
    settings: Mapping[tuple[str, str], Any],
    corruption: Any,
    parts: frozenset[str],
    visual: tuple[int, ...],
    sigma: float,
) -> str:
    """Lines that compute what is on show, after those of `question_code`.

    Parameters
    ----------
    settings: of the single views, (view, trait) -> value; those that are not as they come.
    parts: which of "trace", "flow" and "lens" the view has.
    visual: positions of the visual tokens, to which patches are indices.
    sigma: of the noise that corrupts the picture.
    """
    target = view.token if view.token >= 0 else None
    lines = ["answer = mw.ask(vlm, question)"]
    if "trace" in parts:
        how = "" if corruption is None else f", corruption={corruption!r}"
        pinned = "" if target is None else f", token={target}, layer={view.layer}"
        lines += [f"trace = mw.causal_trace(vlm, question, window={view.window}{how})"]
        lines += [f"heatmap = mw.TraceHeatmap(trace{pinned}{_set(settings, 'heatmap')})"]
    if "flow" in parts:
        lines += [f"flow = mw.attention_contributions(vlm, question, target={_target(view)})"]
        shown = f"layer={view.layer}, selected={list(view.patches)}{_set(settings, 'grid')}"
        lines += [f"patches = mw.PatchGrid(flow, {shown})"]
    if "lens" in parts:
        lines += [f"lens = mw.logit_lens(vlm, question, {'last' if target is None else target!r})"]
    for number, trial in enumerate(view.trials, 1):
        lines += _trial(trial, f"trial_{number}", visual, sigma)
    return "\n".join(lines) + "\n"


def _set(settings: Mapping[tuple[str, str], Any], view: str) -> str:
    """The settings of one view, as arguments that follow others."""
    return "".join(f", {name}={value!r}" for (of, name), value in settings.items() if of == view)


def _target(view: View) -> str:
    if view.token >= 0:
        return str(view.token)
    return repr("last" if view.question.constraint is None else "constraint")


def _trial(trial: Trial, name: str, visual: tuple[int, ...], sigma: float) -> list[str]:
    positions = [visual[patch] for patch in trial.patches]
    if trial.kind == "block":
        targets = list(trial.targets)
        return [
            f"{name} = mw.attention_knockout(vlm, question, source={positions}, target={targets}, window={trial.window})"
        ]
    noise = f"mw.tracing.PixelNoise(sigma={sigma:g})"
    return [
        f"{name} = mw.causal_trace(",
        f"    vlm, question, corruption={noise}, window={trial.window},",
        f'    modules=("residual", "mlp", "self_attn"), groups=[{positions}],',
        ")",
        f"{name}_from_the_start = mw.tracing.trace_inputs(mw.tracing.prepare_trace(vlm, question, corruption={noise}), [{positions}])",
    ]


def _question(question: Question) -> list[str]:
    """Lines that ask the question again, with its picture in them if that is small."""
    lines, image = [], "None"
    if question.image is not None:
        image = "image"
        buffer = io.BytesIO()
        question.image.save(buffer, format="PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        if len(data) <= MOST:
            lines += ["", "import base64, io", "from PIL import Image", "", "data = ("]
            lines += [f'    "{data[at : at + WIDTH]}"' for at in range(0, len(data), WIDTH)]
            lines += [")", "image = Image.open(io.BytesIO(base64.b64decode(data)))"]
        else:
            lines += ["# `image` is the picture you asked about: a file's path, a PIL image or an array"]
    options = "".join(
        f", {name}={value!r}"
        for name, value, usual in (
            ("constraint", question.constraint, None),
            ("occurrence", question.occurrence, 0),
            ("text_constraints", question.text_constraints, ()),
        )
        if value != usual
    )
    return [*lines, f"question = mw.Question({image}, {question.text!r}{options})"]

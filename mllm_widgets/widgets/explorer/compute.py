"""What an Explorer computes about one question, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import MllmWidgetsError
from mllm_widgets.vlm.question import Question
from mllm_widgets.widgets.patch_stack import MOST

from .findings import Findings
from .trials_panel import MODULES
from .view import Trial, View

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions
    from mllm_widgets.tracing import TraceSetup
    from mllm_widgets.vlm.model import VLM

SIGMAS = (0.5, 1.0, 2.0, 4.0)  # of noise on the picture, black to white being 1
MOST_TARGETS = 64  # whose contributions are computed at once, so that clicking a token is a look-up
NO_CONSTRAINT = (
    "No words of the question are marked: mark those that point at the picture, and the causal trace appears."
)


def compute(vlm: VLM, found: Findings, part: Any, corruption: Any, view: View, cancel: Any) -> None:
    """Compute one part of `Findings.missing`; what the user can mend is written into `errors`, anything else is raised."""
    try:
        if isinstance(part, Trial):
            _trial(vlm, found, part, cancel)
        elif isinstance(part, tuple):
            _target(vlm, found, part[1])
        else:
            {"answer": _answer, "trace": _trace, "flow": _flow, "lens": _lens}[part](vlm, found, corruption, view)
    except MllmWidgetsError as error:
        if part == "answer":
            raise
        found.errors[part] = str(error)


def says(part: Any) -> str:
    """What is being done, in words."""
    if isinstance(part, Trial):
        return "restoring patches" if part.kind == "trace" else "blocking patches"
    names = {"answer": "asking the model", "trace": "running the clean and the corrupted question"}
    return names.get(part, "reading the words of the layers" if part == "lens" else "following the attention")


def _answer(vlm: VLM, found: Findings, _corruption: Any, _view: View) -> None:
    from mllm_widgets.vlm.asking import ask

    found.answer = ask(vlm, found.question)


def _trace(vlm: VLM, found: Findings, corruption: Any, _view: View) -> None:
    from mllm_widgets.tracing import prepare_trace

    if found.question.constraint is None:
        found.errors["trace"] = NO_CONSTRAINT
        return
    found.setup = prepare_trace(vlm, found.question, corruption=corruption)


def _flow(vlm: VLM, found: Findings, _corruption: Any, view: View) -> None:
    from mllm_widgets.contributions import attention_contributions

    text = _text(found)
    size = len(vlm.layers) * len(found.visual)
    if len(text) > MOST_TARGETS or len(text) * size > MOST:
        text = sorted({found.start, len(found.encoded.tokens) - 1} | ({view.token} if view.token >= 0 else set()))
    found.flow = attention_contributions(vlm, found.question, target=text)
    found.known = set(text)


def _text(found: Findings) -> list[int]:
    """Positions of the text that can take something from the picture."""
    return [p for p in range(found.visual[0], len(found.encoded.tokens)) if not found.encoded.visual[p]]


def missing_targets(vlm: VLM, found: Findings) -> list[Contributions]:
    """Contributions to the tokens of the text that they are not known of, some tokens at a time."""
    from mllm_widgets.contributions import attention_contributions

    lacking = [position for position in _text(found) if position not in found.known]
    parts = [lacking[at : at + MOST_TARGETS] for at in range(0, len(lacking), MOST_TARGETS)]
    return [attention_contributions(vlm, found.question, target=part) for part in parts]


def _target(vlm: VLM, found: Findings, position: int) -> None:
    from mllm_widgets.contributions import attention_contributions

    found.more.append(attention_contributions(vlm, found.question, target=position))
    found.known.add(position)


def _lens(vlm: VLM, found: Findings, _corruption: Any, _view: View) -> None:
    from mllm_widgets.contributions import logit_lens

    text = [token.position for token in found.encoded.tokens if token.kind == "text"]
    found.lens = logit_lens(vlm, found.question, text)


def _trial(vlm: VLM, found: Findings, trial: Trial, cancel: Any) -> None:
    from mllm_widgets.contributions import attention_knockout
    from mllm_widgets.tracing import trace_groups, trace_inputs

    positions = [found.visual[patch] for patch in trial.patches]
    if trial.kind == "trace":
        if found.pictured is None:
            found.sigma, found.pictured = _noised(vlm, found.question)
        setup = found.pictured
        restored = trace_groups(setup, [positions], window=trial.window, modules=MODULES, cancel=cancel)
        effects = (restored - setup.corrupted).values[:, :, 0]
        # what these patches told before the end of layer 0 no output of a sub-block brings back
        entering = float(trace_inputs(setup, [positions], cancel=cancel)[0])
        told = f"P {setup.clean:.3f}, with noise on the picture {setup.corrupted:.3f}, with these patches clean from the start {entering:.3f}"
        found.notes[trial] = "; ".join((told, *setup.warnings[:1]))
        found.results[trial] = {**dict(zip(MODULES, effects, strict=True)), "all": entering - setup.corrupted}
        return
    cut = attention_knockout(vlm, found.question, positions, trial.targets, window=trial.window, cancel=cancel)
    cancel.check()
    every = attention_knockout(vlm, found.question, positions, trial.targets, window=None)
    found.notes[trial] = f"P {cut.before:.3f}, blocked in all layers {float(every.probability[0]):.3f}"
    found.results[trial] = {"change": cut.change.values, "all": float(every.change[0])}


def _noised(vlm: VLM, question: Question) -> tuple[float, TraceSetup]:
    """Runs with as little noise on the picture as changes the answer; with the most where none does."""
    from mllm_widgets.tracing import PixelNoise, prepare_trace
    from mllm_widgets.tracing.asked import WEAK

    sigmas = iter(SIGMAS)
    while True:
        sigma = next(sigmas)
        setup = prepare_trace(vlm, question, corruption=PixelNoise(sigma=sigma))
        changed = setup.corrupted_best != vlm.tokenizer.decode([setup.answer_id])
        if sigma == SIGMAS[-1] or (changed and setup.effect >= WEAK):
            return sigma, setup

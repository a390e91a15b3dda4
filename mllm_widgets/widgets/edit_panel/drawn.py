"""What an edit panel shows, as its picture takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mllm_widgets import labels
from mllm_widgets.render.edit import EditFigure, Effect

from . import plain
from .measure import SUMMARIES, Measured
from .probes import NAMES, Probe
from .work import Work

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit


def figure_of(
    probes: Sequence[Probe], work: Work, edit: Edit | None, measured: Measured | None, layer: int, **told: Any
) -> EditFigure:
    """The picture of a panel that looks at `edit`, of which `measured` is known.

    Parameters
    ----------
    layer: the one picked, where there is no edit. told: what else the picture says, see `EditFigure`.
    """
    where, bars = work.where, work.bars
    at = 0 if measured is None or edit is None else plain.nearest(measured.lams, edit.lam)
    lines = {} if measured is None else {name: measured.summary(name) for name in SUMMARIES}
    return EditFigure(
        effects=() if where is None else where.effects,
        causal=-1 if where is None else where.causal,
        limit=1.0 if where is None else where.limit,
        layer=layer if edit is None else edit.layer,
        target=edit.target if edit is not None else "" if bars is None else bars.target,
        swept={}
        if bars is None
        else dict(zip(bars.layers, zip(bars.reached, bars.efficacy, strict=True), strict=True)),
        losses=() if edit is None else edit.losses,
        chances=() if edit is None else edit.probabilities,
        before=plain.likeliest(work.answers[0]),
        after=() if measured is None else _said(measured, at, 0),
        lams=() if measured is None else measured.lams,
        at=at,
        lines={name: line for name, line in lines.items() if line is not None},
        table=[_effect(place, probe, work, measured, at) for place, probe in enumerate(probes)],
        warnings=() if edit is None else edit.warnings,
        **told,
    )


def _said(measured: Measured, at: int, place: int) -> list[tuple[str, float]]:
    tokens, shares = measured.top[at, place], measured.top_p[at, place]
    return [(labels.visible(measured.vocabulary[token]), float(p)) for token, p in zip(tokens, shares, strict=True)]


def _effect(place: int, probe: Probe, work: Work, measured: Measured | None, at: int) -> Effect:
    answer = work.answers[place]
    row = {"kind": NAMES[probe.kind], "text": probe.question.text, "follows": probe.follows}
    before = (answer.text, answer.probability)
    if measured is None:
        return Effect(**row, before=before)
    good, verdict = measured.verdict(place, at)
    token, p = int(measured.top[at, place, 0]), float(measured.top_p[at, place, 0])
    return Effect(
        **row,
        before=before,
        after=(measured.vocabulary[token].strip(), p),
        target=float(measured.probability[at, place]),
        verdict=verdict,
        good=good,
    )

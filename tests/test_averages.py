"""Averages over questions: the means are those of the traces, what is left out is counted, and how sure they are is said."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import DatasetError
from mllm_widgets.render import averages_figure, draw_averages, draw_layers
from mllm_widgets.sweeps import TraceMeasure, published
from mllm_widgets.sweeps.averages import bootstrap


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> mw.Run:
    """Five questions; one cannot be traced, and one has a wrong true answer."""
    questions: dict[str, Any] = {f"q{i}": q for i, q in enumerate(mw.datasets.demo(4))}
    wrong = mw.datasets.demo_question("Taj Mahal")
    questions["wrong"] = mw.Question(wrong.image, wrong.text, constraint="this building", answer="Paris")
    questions["failed"] = mw.Question(wrong.image, "Which city is it?", constraint="this castle")
    measures = [TraceMeasure(window=3), TraceMeasure(corruption="Big Ben", window=3)]
    return mw.sweep("demo", questions, measures, out=tmp_path_factory.mktemp("run"), progress=False)


@pytest.fixture(scope="module")
def averages(run) -> mw.Averages:
    return mw.aggregate(run, measure=next(iter(run.measures)))


def test_means_are_those_of_the_questions(run, averages) -> None:
    cells = run.cells()
    own = cells[(cells.measure == averages.measure) & cells.id.isin([f"q{i}" for i in range(4)])]
    for module, layer, role in (("mlp", 2, "last constraint"), ("self_attn", 5, "last"), ("mlp", 0, "other")):
        some = own[(own.module == module) & (own.layer == layer) & (own.role == role)]
        expected = some.groupby("id").effect.mean().mean()  # each question weighs the same, however many tokens it has
        at = averages.data.sel(module=module, layer=layer, role=role)
        assert float(at.effect) == pytest.approx(expected, abs=1e-6)
        assert float(at.effect_low) <= expected + 1e-6
        assert float(at.effect_high) >= expected - 1e-6
        assert int(at["count"]) == some.id.nunique()
    layer, effect = averages.peak("mlp", "last constraint")
    assert layer in (0, 1, 2, 3)
    assert effect > 0.9
    questions = run.questions()
    total = questions[(questions.measure == averages.measure) & questions.id.str.startswith("q")].total_effect.mean()
    assert averages.total_effect[0] == pytest.approx(total, abs=1e-6)


def test_what_is_left_out_is_counted_and_said(run, averages) -> None:
    assert averages.counts == {"all": 6, "failed": 1, "wrong": 1, "weak": 0, "used": 4}
    assert "n = 4 of 6 questions" in averages.caption
    assert "1 left out: could not be measured; 1 left out: answered wrongly" in averages.caption
    assert "Intervals: 95%, bootstrap over questions" in averages.caption
    key = averages.measure
    assert mw.aggregate(run, measure=key, correct=None).n == 5
    assert mw.aggregate(run, measure=key, correct=False).n == 1
    assert mw.aggregate(run, measure=key, only=["q0", "q1"]).counts["not chosen"] == 4


def test_without_a_known_answer_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    questions: dict[str, Any] = dict(zip(("right", "wrong", "unknown"), mw.datasets.demo(3), strict=True))
    three: Any = np.int64(3)
    for name, answer in (("wrong", "nonsense"), ("unknown", None)):
        questions[name] = dataclasses.replace(questions[name], answer=answer)
    # a window from a numpy range is the same as any other
    run = mw.sweep("demo", questions, TraceMeasure(window=three), out=tmp_path / "run", progress=False)
    assert list(run.measures) == [TraceMeasure(window=3).key]
    wrong = mw.aggregate(run, correct=False)
    assert wrong.counts == {"all": 3, "failed": 0, "unknown": 1, "right": 1, "weak": 0, "used": 1}
    assert wrong.filters == ("1 left out: without a known answer", "1 left out: answered rightly")
    assert mw.aggregate(run).filters == ("1 left out: answered wrongly", "1 of the 2 without a known answer")
    effects = run.questions().set_index("id")["total_effect"]
    if effects["unknown"] != effects["right"]:
        between = float(effects[["unknown", "right"]].mean())
        left = mw.aggregate(run, least_effect=between)
        assert left.n == 1
        assert ("1 of the 1 without a known answer" in left.filters) == (effects["unknown"] > between)


def test_a_control_is_compared_question_by_question(run, averages) -> None:
    other = mw.aggregate(run, measure=list(run.measures)[1])
    table = averages.compare(other)
    for row in table.itertuples():
        both = [one.each.sel(module=row.module, layer=row.layer, role=row.role) for one in (averages, other)]
        assert row.difference == pytest.approx(float((both[0] - both[1].values).mean()), abs=1e-9)
        assert 0 < row.p <= 1
    same = averages.compare(averages)
    assert (same.difference == 0).all()
    assert (same.p == 1).all()
    with pytest.raises(DatasetError, match="no question in common"):
        averages.compare(mw.aggregate(run, measure=averages.measure, correct=False))


def test_chance_in_many_cells_is_no_finding(averages) -> None:
    """Of 96 cells of pure chance several have p < 0.05 in one map or another; hardly a map has p_all < 0.05; one that differs is found by both."""
    rng = np.random.default_rng(3)
    questions = [f"q{place}" for place in range(30)]
    each = averages.each.isel(question=[0] * 30).assign_coords(question=questions)
    control = dataclasses.replace(averages, each=each * 0)
    found = []
    for _ in range(20):
        noise = each.copy(data=rng.normal(size=each.shape))
        found.append(dataclasses.replace(averages, each=noise).compare(control, draws=400))
    assert sum((table.p < 0.05).any() for table in found) >= 15
    assert sum((table.p_all < 0.05).any() for table in found) <= 4
    assert all((table.p_all >= table.p).all() for table in found)
    noise = each.copy(data=rng.normal(size=each.shape))
    noise[:, 0, 2, 2] += 1.5
    table = dataclasses.replace(averages, each=noise).compare(control, draws=400).set_index(["module", "layer", "role"])
    cell = tuple(noise[name].values[place] for name, place in (("module", 0), ("layer", 2), ("role", 2)))
    assert table.p_all[cell] < 0.01
    assert (table.p_all.drop(cell) > 0.05).all()


def test_a_control_with_other_places_is_refused(averages) -> None:
    turned = dataclasses.replace(averages, each=averages.each.isel(module=[1, 0]))
    with pytest.raises(DatasetError, match=r"control has the modules \['self_attn', 'mlp'\]"):
        averages.compare(turned)


def test_the_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=(400, 3))
    values[:, 1] = 2.0
    values[1:, 2] = np.nan
    mean, low, high = bootstrap(values, 2000, 0)
    assert mean[0] == pytest.approx(values[:, 0].mean())
    assert high[0] - low[0] == pytest.approx(2 * 1.96 / 20, rel=0.1)
    assert (low[1], mean[1], high[1]) == (2, 2, 2)
    assert np.isnan([low[2], high[2]]).all()  # of one value there is none
    assert mean[2] == values[0, 2]


def test_pictures_have_their_caption(averages) -> None:
    for drawing in (draw_averages(averages, "self_attn"), draw_layers(averages, "mlp", published={"last": {4: 0.5}})):
        assert averages.caption in drawing.description
        assert drawing.image().width > 800
        assert "n = 4" in drawing.svg()
    with pytest.raises(DatasetError, match="module='residual' is not in these averages"):
        draw_averages(averages, "residual")
    with pytest.raises(DatasetError, match="quantity='colour'"):
        draw_layers(averages, quantity="colour")
    with pytest.raises(DatasetError, match="none of them occurs"):
        draw_layers(averages, roles=("visual",))


def words_of(shown: Any) -> str:
    """All text of a drawing or of a Bokeh figure, as it is seen."""
    if hasattr(shown, "svg"):
        return " ".join(re.sub(r"<[^>]+>", " ", shown.svg()).split())
    from bokeh.models import Legend, Title

    titles = [one.text for one in (shown.title, *shown.below) if isinstance(one, Title)]
    legends: list[Any] = [one for one in shown.below if isinstance(one, Legend)]
    entries = [item.label.value for legend in legends for item in legend.items]
    return " ".join(map(str, [*titles, *entries]))


def drawing_functions() -> list[str]:
    """Whatever the package draws of averages."""
    from mllm_widgets import render

    functions = {name: one for name, one in vars(render).items() if inspect.isfunction(one)}
    return [name for name, one in functions.items() if re.search(r"\bAverages\b", str(inspect.signature(one)))]


@pytest.mark.parametrize("name", drawing_functions())
def test_every_picture_of_averages_says_how_many_which_and_how_sure(averages, name: str) -> None:
    """However it is drawn: n, what each filter left out, the total effect with its interval, and what the intervals are."""
    from mllm_widgets import render

    draw = getattr(render, name)
    needed = [one for one in inspect.signature(draw).parameters.values() if one.default is one.empty][1:]
    given = {"published": published.figure_3().query("subset == 'known'")}
    words = words_of(draw(averages, *(given[one.name] for one in needed)))
    for said in (
        "n = 4 of 6 questions",
        "1 left out: could not be measured",
        "1 left out: answered wrongly",
        "Intervals: 95%, bootstrap",
    ):
        assert said in " ".join(words.split())
    total = averages.total_effect
    assert f"total effect {total[0]:.3f} ({total[1]:.3f} to {total[2]:.3f})" in words


def test_pictures_of_averages_are_found() -> None:
    assert {"averages_figure", "draw_averages", "draw_layers"} <= set(drawing_functions())


def test_the_chart_has_the_numbers(run, averages) -> None:
    from bokeh.models import HoverTool, Scatter, VArea

    chart: Any = averages_figure(averages, "mlp", roles=("last constraint", "last"), published={"last": {4: 0.5}})
    at = averages.data.sel(module="mlp", role="last constraint")
    marks = [one for one in chart.renderers if isinstance(one.glyph, Scatter)]
    assert len(marks) == 3  # two lines, and the paper's
    data = marks[0].data_source.data
    np.testing.assert_allclose(data["mean"], at.effect)
    np.testing.assert_allclose(data["low"], at.effect_low)
    assert list(data["count"]) == [4] * len(at.layer)
    assert data["interval"][2] == f"{float(at.effect_low[2]):.3f} to {float(at.effect_high[2]):.3f}"
    bands = [one for one in chart.renderers if isinstance(one.glyph, VArea)]
    np.testing.assert_allclose(bands[0].data_source.data["high"], at.effect_high)
    (hover,) = chart.select({"type": HoverTool})
    assert hover.renderers == marks[:2]
    with pytest.raises(DatasetError, match="none of them occurs"):
        averages_figure(averages, roles=("visual",))
    with pytest.raises(DatasetError, match="module='residual' is not in these averages"):
        averages_figure(averages, "residual")
    one = mw.aggregate(run, only=["q0"], measure=averages.measure)
    chart_of_one: Any = averages_figure(one)
    assert "none: fewer than two questions" in str(chart_of_one.renderers[-1].data_source.data["interval"])


def test_what_cannot_be_averaged_is_told(run, averages, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the run has several measures: say which"):
        mw.aggregate(run)
    with pytest.raises(DatasetError, match="model='llava' is not in this run"):
        mw.aggregate(run, measure=averages.measure, model="llava")
    with pytest.raises(DatasetError, match="no question is left of 6"):
        mw.aggregate(run, measure=averages.measure, least_effect=2)
    with pytest.raises(DatasetError, match="only='q0' is one text"):
        mw.aggregate(run, measure=averages.measure, only="q0")
    with pytest.raises(DatasetError, match="least_effect='x' is no number"):
        mw.aggregate(run, measure=averages.measure, least_effect="x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DatasetError, match="draws=0 is no count"):
        mw.aggregate(run, measure=averages.measure, draws=0)
    with pytest.raises(DatasetError, match="control is a Run"):
        averages.compare(run)
    with pytest.raises(DatasetError, match="role='first' is not in these averages"):
        averages.peak("mlp", "first")
    other = mw.sweep("demo", mw.datasets.demo(1), "contributions", out=tmp_path, progress=False)
    with pytest.raises(DatasetError, match="has no traces to average"):
        mw.aggregate(other)


def test_the_published_figures_are_tables() -> None:
    assert set(published.figure_3().subset) == {"movies", "known", "okvqa"}
    assert published.figure_3().restored.between(0, 1).all()
    assert len(published.figure_14()) == 32
    assert published.figure_6().query("method == 'MultEdit' and task == 'A'").efficacy.item() == 0.82
    assert published.printed()["MMMU, edited"] == 33.8

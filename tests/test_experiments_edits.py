"""Edits by method and by layer, averaged over several: against single edits made and measured by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.editing import Unedited, fine_tune
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import AnswerMeasure, EditMeasure

STEPS = 20


@pytest.fixture(scope="module")
def questions() -> dict[str, mw.Question]:
    """Two of facts that the model was not taught, and one that it answers."""
    inserted = [mw.datasets.demo_question("Arc de Triomphe"), mw.datasets.demo_question("Tower Bridge", "country")]
    return {"arc": inserted[0], "known": mw.datasets.demo_question("Colosseum"), "bridge": inserted[1]}


@pytest.fixture(scope="module")
def unrelated() -> list[mw.Question]:
    return [mw.datasets.demo_question("Big Ben"), mw.datasets.demo_question("Taj Mahal", "continent")]


@pytest.fixture(scope="module")
def found(vlm, questions, unrelated, tmp_path_factory) -> experiments.EditAverages:
    return experiments.edit_methods(
        vlm, {"facts": questions}, tmp_path_factory.mktemp("edits"), methods=("unedited", "MultEdit", "fine-tuned"), steps=STEPS,
        settings={"fine-tuned": {"lr": 2e-3}}, unrelated=unrelated, others=1, progress=False,
        paraphrases={"arc": ("Which city is this building in?",), "bridge": ("Which country is this building in?",)},
    )["facts"]  # fmt: skip


def test_each_edit_is_made_alone_and_measured_as_by_hand(vlm, questions, unrelated, found) -> None:
    assert vlm.side_terms.active == ()
    kept = Unedited(vlm)
    for name, words in (("arc", "city"), ("bridge", "country")):
        asked = questions[name]
        # the next picture of the data that shows something else
        other = questions["known" if name == "arc" else "arc"].image
        edits = {
            "MultEdit": mw.multedit(vlm, asked, asked.answer, 2, steps=STEPS),
            "fine-tuned": fine_tune(vlm, asked, asked.answer, 2, steps=STEPS, lr=2e-3),
        }
        for method, edit in edits.items():
            report = mw.evaluate_edit(
                edit, paraphrases=[f"Which {words} is this building in?"], unrelated=unrelated, same_phrase=[other], unedited=kept
            )  # fmt: skip
            own = found.each[(found.each.id == name) & (found.each.method == method)].set_index("measure")
            assert list(own.target.unique()) == [asked.answer]
            assert own.value["reached"] == pytest.approx(edit.reached, rel=1e-5)
            for measure in report:
                assert own.value[measure.name] == pytest.approx(measure.value, rel=1e-4, abs=1e-7), measure.name
                assert own.before[measure.name] == pytest.approx(measure.before, rel=1e-4, abs=1e-7), measure.name
            assert own.value["VQA accuracy"] == report["accuracy"].value


def test_means_with_what_was_left_out(found) -> None:
    assert found.counts["all"] == 3
    assert found.counts["right"] == 1
    assert found.n == 2
    assert "1 left out: answered rightly without an edit" in found.caption
    assert "n = 2 edits of 3 questions" in found.caption
    rows = found.data.set_index(["method", "measure"])
    for (method, measure), row in rows.iterrows():
        own = found.each[(found.each.method == method) & (found.each.measure == measure)]
        assert row["value"] == pytest.approx(own.value.mean())
        assert row["low"] == pytest.approx(own.value.min())  # of two values, these are the ends
        assert row["high"] == pytest.approx(own.value.max())
        assert row["count"] == 2
        if method != "unedited" and measure != "reached":
            assert row["change"] == pytest.approx((own.value - own.before).mean())
    # the unedited model is what the others were before
    first = rows.loc["MultEdit"].drop(index="reached")
    np.testing.assert_allclose(rows.loc["unedited"].value[first.index], first.before, rtol=1e-6)
    assert rows.value["MultEdit", "efficacy"] > 0.8 > 0.1 > rows.value["unedited", "efficacy"]


def test_the_paper_stands_beside(found) -> None:
    table = found.beside("B").set_index(["method", "measure"])
    assert table.published["MultEdit", "efficacy"] == 0.83
    assert table.published["fine-tuned", "VQA accuracy"] == 0.29  # the paper's specificity
    assert np.isnan(table.published["MultEdit", "leakage"])
    assert list(found.figure().columns) == [
        "method", "layer", "n", "efficacy", "generalization", "VQA accuracy", "leakage",
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="task='C' is none of the paper's"):
        found.beside("C")


def test_layers_one_by_one_and_goes_on(vlm, questions, tmp_path: Path, monkeypatch) -> None:
    arguments = {"layers": (6, 2), "targets": {"known": "Paris"}, "steps": STEPS, "progress": False}
    found = experiments.edit_layers(vlm, questions, tmp_path, **arguments)["questions"]
    table = found.by_layer()
    assert table.layer.tolist() == [2, 6]
    assert table.published.tolist() == [0.83, 0.76]
    expected = mw.layer_sweep(vlm, questions["known"], "Paris", [2, 6], steps=STEPS).efficacy.values
    np.testing.assert_allclose(table.value, expected, rtol=1e-4)
    assert np.isnan(table.low).all()  # of one edit
    assert found.filters == ("2 left out: without a target",)
    monkeypatch.setattr(EditMeasure, "run", None)  # nothing is left to do
    again = experiments.edit_layers(vlm, questions, tmp_path, **arguments)["questions"]
    assert again.data.equals(found.data)


def test_an_edit_that_one_method_cannot_make_counts_for_none(vlm, questions, tmp_path: Path) -> None:
    found = experiments.edit_methods(
        vlm, questions, tmp_path, methods=("MultEdit", "ROME"), targets={"arc": "Paris", "known": "Rome"}, steps=2, others=0, progress=False
    )["questions"]  # fmt: skip
    assert found.counts["failed"] == 1
    assert "is what the model answers already" in found.caption
    assert set(found.each.id) == {"arc"}
    assert set(found.each.method) == {"MultEdit", "ROME"}


def test_only_the_edits_asked_for_count(vlm, questions, tmp_path: Path) -> None:
    given = {"methods": ("MultEdit",), "others": 0, "steps": 2, "progress": False}
    experiments.edit_methods(vlm, {"some": questions}, tmp_path, most=2, **given)
    fewer = dict(list(questions.items())[:-1])
    found = experiments.edit_methods(vlm, {"some": fewer}, tmp_path, most=1, **given)[
        "some"
    ]  # the folder has two edits
    assert found.n == 1
    assert found.counts["all"] == len(fewer)
    assert sum(found.counts[name] for name in ("right", "unknown", "not taken", "failed", "used")) == len(fewer)
    assert min(found.counts.values()) >= 0


def test_nothing_to_edit_is_said(vlm, questions, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no question of 1 is left to edit"):
        experiments.edit_methods(vlm, {"known": questions["known"]}, tmp_path, progress=False)
    for methods in (("unedited",), ("MEND",), "MultEdit"):
        with pytest.raises(DatasetError, match="methods="):
            experiments.edit_methods(vlm, questions, tmp_path, methods=methods)
    wrong = {
        "settings": {"ROME": {}, "FT": {}}, "most": 0, "others": -1, "paraphrases": {"ark": ["Where?"]}, "targets": {"ark": "Paris"},
    }  # fmt: skip
    for argument, value in wrong.items():
        with pytest.raises(DatasetError, match=f"{argument}( has|=)"):
            experiments.edit_methods(vlm, questions, tmp_path / "wrong", progress=False, **{argument: value})
    with pytest.raises(DatasetError, match="method='MEND' is not known"):
        EditMeasure(method="MEND")
    with pytest.raises(DatasetError, match="needs seen="):
        EditMeasure(method="ROME")


def test_a_run_from_before_methods_goes_on_under_its_key() -> None:
    assert EditMeasure().settings == {
        "kind": "edit", "targets": None, "layers": [2], "lam": 0.01, "steps": 25, "paraphrases": {}, "unrelated": [],
    }  # fmt: skip
    assert EditMeasure().key == "edit-8a73e9"
    assert EditMeasure(method="LoRA").settings["method"] == "LoRA"
    assert EditMeasure(method="LoRA").key != EditMeasure().key


def test_answers_alone(vlm, questions, tmp_path: Path) -> None:
    run = mw.sweep(vlm, questions, AnswerMeasure(), out=tmp_path / "run", progress=False)
    table = run.questions()
    assert table.answer.tolist() == [mw.ask(vlm, one).text for one in questions.values()]
    assert table.score.tolist() == [0.0, 1.0, 0.0]
    assert run.cells().empty


def test_unrelated_answers_are_scored_as_the_rows_are(vlm, questions, tmp_path: Path) -> None:
    """OK-VQA's ten answers: what two of ten said counts 0.6."""
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 2)
    row = mw.datasets.load_vqa_constraints(folder, okvqa=folder).subset("okvqa").usable[0]
    row = replace(row, answers=(*row.answers[1:], row.answers[0]), weights=(*row.weights[1:], 0.6))
    measure = EditMeasure(unrelated=[row], steps=2)
    run = mw.sweep(vlm, {"arc": questions["arc"]}, measure, out=tmp_path / "run", progress=False)
    cells = run.cells().set_index("quantity")
    assert cells.before["VQA accuracy"] == pytest.approx(row.score(mw.ask(vlm, row.question()).text), abs=1e-6)
    assert measure.settings["unrelated"][0]["id"] == row.id


def test_covered_pictures_are_answered_wrongly_at_times(vlm) -> None:
    asked = mw.datasets.demo_covered(12, seed=1)
    right = [mw.ask(vlm, one).text == one.answer for one in asked]
    assert 2 <= sum(right) <= 10
    pixels = np.asarray(asked[0].image)
    assert (pixels == 128).all(axis=-1).mean() == pytest.approx(0.1, abs=0.01)
    with pytest.raises(mw.errors.MllmWidgetsError, match="share=1"):
        mw.datasets.demo_covered(1, share=1)
    paraphrases = mw.datasets.demo_paraphrases(asked[0], 3)
    assert len(set(paraphrases) - {asked[0].text}) == 3
    assert all(str(asked[0].constraint).lower() in text.lower() for text in paraphrases)
    assert mw.datasets.demo_paraphrases(replace(asked[0], text="What is this building?", constraint=None)) == []

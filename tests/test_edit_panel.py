"""The edit panel without a browser: the model is what the switch says, whatever is tried, undone, cancelled or closed."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.errors import EditError, WidgetError
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import Widget
from mllm_widgets.widgets.edit_panel import applied, measure, plain, probes, work
from mllm_widgets.widgets.edit_panel.view import View
from tests.families.tiny_llava import llava_next
from tests.families.tiny_llava import question as tiny_question
from tests.front_end import SOURCES, interface_fields, sent_traits

LONG = 30


@pytest.fixture(scope="module")
def watched(question):
    """One question of each kind but another picture."""
    return {
        "paraphrases": [replace(question, text="Which city is this building in?")],
        "same_phrase": [mw.datasets.demo_question("Taj Mahal", "city", constraint="this building")],
        "unrelated": [mw.datasets.demo_question("Big Ben", "country", constraint="this place")],
    }


@pytest.fixture(scope="module")
def shared(vlm, question, watched):
    """One with two edits, for all tests that leave it as it was: "Rome" is off, "Seattle" is applied."""
    made = mw.EditPanel(vlm, question, probes=watched)
    for target in ("Rome", "Seattle"):
        made.make(target)
        assert made.wait(LONG), made.error
    yield made
    made.close()


@pytest.fixture
def panel(shared):
    """The same, with whatever a test does taken back."""
    before = shared._session.view
    yield shared
    assert shared.wait(LONG)
    while shared._session.view != before and shared.can_undo:
        shared.undo()
    assert shared._session.view == before
    shared.publish(error="", saved="", state="idle", message="")


@pytest.fixture
def few(monkeypatch):
    """Fewer lambdas, where a test does not look at them."""
    monkeypatch.setattr(measure, "POINTS", 3)


@pytest.fixture
def fresh(vlm, question, few):
    """One of its own, that watches its question only."""
    made = mw.EditPanel(vlm, question, probes=[], layer=2)
    yield made
    made.close()


def say(panel: mw.EditPanel, kind: str, **content: Any) -> None:
    """What the browser would send."""
    panel._handle_custom_msg({"kind": kind, "id": 1, **content}, [])


def settled(panel: mw.EditPanel, vlm) -> Any:
    """Which edits the model has, once no sweep applies others for a moment."""
    assert panel.wait(LONG)
    return vlm.state


def logits(vlm, question) -> np.ndarray:
    return mw.ask(vlm, question, max_new_tokens=1).probabilities


def result(panel: mw.EditPanel, number: int) -> dict[str, Any]:
    found = panel.results[str(number)]
    return {key: wire.array(value) if isinstance(value, dict) else value for key, value in found.items()}


# --- what is on show ----------------------------------------------------------------------------------------------------------


def test_the_trace_says_where_to_edit_and_the_layer_is_picked(shared, vlm, question):
    with vlm.side_terms.only(()):
        trace = mw.causal_trace(vlm, question, modules=("mlp",))
        effects = trace.indirect_effect.sel(module="mlp", token=trace.constraint[-1]).values
    assert shared.effects == pytest.approx(effects.tolist(), abs=1e-5)
    assert shared.causal == shared.layer == int(effects.argmax())
    assert "brings back" in shared.trace_note


def test_the_numbers_at_each_lambda_are_those_of_the_edited_model(shared, vlm, watched):
    questions = [shared._question, *(some[0] for some in watched.values())]
    edit, found = shared.edits[0], result(shared, 1)
    assert len(found["lams"]) == 33
    assert edit.lam in found["lams"]
    assert found["words"][found["said"]] == "·Rome"
    assert np.allclose(np.diff(np.log(found["lams"])), np.log(1e8) / 32, rtol=0.05)
    was = edit.lam
    for at in (found["lams"].index(was), 20):
        edit.lam = found["lams"][at]
        with vlm.side_terms.only(edit.terms):
            for place, question in enumerate(questions):
                answer = mw.ask(vlm, question, max_new_tokens=1)
                words = [found["words"][int(word)] for word in found["top"][at, place]]
                top = [(plain.labels.visible(text), p) for text, p in answer.top(5)]
                assert words[:1] == [top[0][0]]
                assert found["top_p"][at, place] == pytest.approx([p for _, p in top], abs=1e-4)
                chance = answer.probabilities[edit.target_ids[0]]
                assert found["probability"][at, place] == pytest.approx(chance, abs=1e-4)
    edit.lam = was


def test_the_lines_of_the_trade_off_are_means_over_questions_of_a_kind(shared):
    found = result(shared, 2)
    assert found["efficacy"] == pytest.approx(found["probability"][:, 0].tolist())
    assert found["generalization"] == pytest.approx(found["probability"][:, 1].tolist())
    assert found["leakage"] == pytest.approx(found["probability"][:, 2].tolist())
    assert found["specificity"] == found["agreement"][:, 3].tolist()
    assert found["agreement"][-1].tolist() == [1, 1, 1, 1]  # with the largest lambda nothing is left of the edit


def test_what_says_the_target_anyway_is_no_leak(vlm, question, few):
    rome = mw.datasets.demo_question("Colosseum", "city", constraint="this building")
    panel = mw.EditPanel(vlm, question, probes={"same_phrase": [rome]}, layer=2)
    panel.make("Rome")
    assert panel.wait(LONG)
    assert panel.probes[1]["answer"] == "Rome"
    assert panel.results["1"]["leakage"] == []
    panel.close()


def test_the_original_answers_are_those_without_edits(shared):
    assert [probe["answer"] for probe in shared.probes] == ["Paris", "Paris", "Agra", "England"]
    assert [probe["kind"] for probe in shared.probes] == ["edited", "paraphrase", "same phrase", "unrelated"]
    assert shared.probes[0]["top"][0]["token"] == "·Paris"


# --- the model is what the switch says ------------------------------------------------------------------------------------------


def test_a_new_edit_is_applied_in_the_place_of_the_one_before(shared, vlm):
    rome, seattle = shared.edits
    assert (rome.applied, seattle.applied) == (False, True)
    assert shared.edit is seattle
    assert shared.edited
    assert [row["applied"] for row in shared.rows] == [False, True]
    assert shared.truth == f"1 edit applied: “Seattle”, layer {seattle.layer}, λ 0.01."


def test_the_switch_moves_the_model_and_original_is_original_to_the_bit(panel, vlm, question):
    with vlm.side_terms.only(()):
        wanted = logits(vlm, question)
    edited = logits(vlm, question)
    say(panel, "toggle", edited=False)
    assert not panel.edited
    assert panel.truth == "The model is as it was loaded."
    assert vlm.side_terms.active == ()
    assert (logits(vlm, question) == wanted).all()
    say(panel, "toggle", edited=True)
    assert panel.edited
    assert (logits(vlm, question) == edited).all()
    assert not (edited == wanted).all()


def test_checked_edits_apply_together(panel, vlm):
    say(panel, "check", edit=1, on=True)
    assert panel.wait(LONG)
    assert all(edit.applied for edit in panel.edits)
    assert panel.truth.startswith("2 edits applied together:")
    say(panel, "check", edit=1, on=False)
    say(panel, "check", edit=2, on=False)
    assert not panel.edited
    assert vlm.side_terms.active == ()
    say(panel, "toggle", edited=True)  # what was applied last
    assert [edit.applied for edit in panel.edits] == [False, True]


def test_what_several_edits_do_together_is_asked(panel, vlm, question, watched):
    assert panel.together == []
    panel.check(1)  # of the same key as the other: what they add cancels, so the last digits depend on the order
    assert panel.wait(LONG)
    for place, one in enumerate([question, *(some[0] for some in watched.values())]):
        answer = mw.ask(vlm, one)
        assert panel.together[place]["answer"] == answer.text
        assert panel.together[place]["top"][0]["p"] == pytest.approx(answer.probability, abs=1e-3)
    before = panel.together[0]
    panel.set_state({"lam_of": {**panel.lam_of, "2": 22}})
    assert panel.together == [] or panel.together[0] != before  # nothing that is not so any more
    assert panel.wait(LONG)
    assert panel.together[0]["top"][0]["p"] == pytest.approx(mw.ask(vlm, question).probability, abs=1e-3)
    panel.check(1, on=False)
    assert panel.together == []


def test_everything_is_undone_and_done_again_in_the_model_too(panel, vlm, question):
    states = [settled(panel, vlm)]
    panel.check(1)
    states.append(settled(panel, vlm))
    panel.set_state({"lam_of": {**panel.lam_of, "2": 20}})
    states.append(settled(panel, vlm))
    panel.revert()
    states.append(settled(panel, vlm))
    panel.remove(panel.edits[1])
    assert (len(panel.edits), panel.current) == (1, 1)
    for state in reversed(states):
        panel.undo()
        assert settled(panel, vlm) == state
    for state in states[1:]:
        panel.redo()
        assert settled(panel, vlm) == state
    for _ in states[1:]:
        panel.undo()


def test_the_slider_moves_lambda_in_the_kernel_and_a_cell_moves_the_slider(panel, vlm, question):
    lams = panel.results["2"]["lams"]
    panel.set_state({"lam_of": {**panel.lam_of, "2": 24}})
    assert panel.edit.lam == lams[24]
    assert logits(vlm, question)[panel.edit.target_ids[0]] == pytest.approx(
        panel.results["2"]["efficacy"][24], abs=1e-4
    )
    panel.edit.lam = lams[3] * 1.01
    panel._session.look()  # after each cell
    assert panel.lam_of["2"] == 3
    assert panel.rows[1]["lam"] == lams[3] * 1.01
    panel.undo()
    assert panel.edit.lam == lams[24]


def test_what_a_cell_does_to_an_edit_is_shown(panel):
    panel.edit.revert()
    panel._session.look()
    assert not panel.edited
    panel.undo()
    assert panel.edited
    assert panel.edit.applied


def test_what_a_sweep_applies_for_a_moment_is_not_taken_for_the_model(panel, vlm, monkeypatch):
    monkeypatch.setattr(applied, "PATIENCE", 0.05)
    begun, go = threading.Event(), threading.Event()

    def sweep() -> None:
        with vlm.side_terms.only(()):
            begun.set()
            go.wait(LONG)

    other = threading.Thread(target=sweep)
    other.start()
    begun.wait(LONG)
    panel._after_cell()
    assert panel.edited
    assert panel.rows[1]["applied"]
    go.set()
    other.join()


def test_two_panels_of_one_model_tell_what_the_other_applies(panel, fresh):
    assert fresh.foreign.startswith("1 edit made elsewhere")
    panel.revert()
    for _ in range(100):
        if fresh.foreign == "":
            break
        time.sleep(0.02)
    assert (fresh.foreign, fresh.truth) == ("", plain.ORIGINAL)


def test_the_panel_looks_after_each_cell(vlm, question, monkeypatch, few):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    panel = mw.EditPanel(vlm, question, probes=[], layer=2)
    try:
        panel.make("Rome")
        assert panel.wait(LONG)
        shell.user_ns["edit"] = panel.edit
        shell.run_cell("edit.revert()")
        assert not panel.edited
    finally:
        panel.close()
        InteractiveShell.clear_instance()
    assert not [hook for hook in shell.events.callbacks["post_run_cell"] if "after_cells" in hook.__qualname__]


def test_edits_made_elsewhere_are_told(panel, vlm, question):
    other = mw.multedit(vlm, question, "Berlin", layer=1, steps=1)
    other.apply()
    panel._session.look()
    assert panel.foreign.startswith("1 edit made elsewhere is applied too, on both sides of this switch")
    panel.revert()
    assert other.applied
    assert panel.truth == "No edit of this panel is applied."
    other.revert()
    panel._session.look()
    assert panel.foreign == ""


def test_while_a_cell_holds_the_model_the_switch_stays_and_says_why(panel, vlm, monkeypatch):
    monkeypatch.setattr(applied, "PATIENCE", 0.05)
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        with vlm.lock:
            begun.set()
            go.wait(LONG)

    cell = threading.Thread(target=hold)
    cell.start()
    begun.wait(LONG)
    say(panel, "toggle", edited=False)
    assert "the model is in use" in panel.error
    assert panel.edited
    assert panel.edit.term in vlm.side_terms._applied.terms
    view = panel._session.view
    say(panel, "undo")
    assert "the model is in use" in panel.error
    assert panel._session.view is view
    go.set()
    cell.join()
    say(panel, "toggle", edited=False)
    assert (panel.error, panel.edited) == ("", False)


# --- the search -----------------------------------------------------------------------------------------------------------------


def searching(panel: mw.EditPanel, monkeypatch, step: int = 3) -> tuple[threading.Event, threading.Event]:
    """Hold the search of the panel at a step: events "it is there" and "go on"."""
    there, go = threading.Event(), threading.Event()
    real = work.Curve.adding

    def adding(self, one):
        if one.step == step:
            there.set()
            go.wait(LONG)
        return real(self, one)

    monkeypatch.setattr(work.Curve, "adding", adding)
    return there, go


def test_while_a_value_is_searched_the_model_is_original_and_the_panel_says_so(panel, vlm, question, monkeypatch):
    there, go = searching(panel, monkeypatch)
    seattle, before = panel.edit, vlm.state
    panel.make("Berlin")
    assert there.wait(LONG)
    assert (panel.edited, seattle.applied, panel.state, panel.doing) == (False, False, "running", "value")
    assert mw.ask(vlm, question).text == "Paris"
    say(panel, "toggle", edited=True)
    assert "a value is being searched" in panel.error
    for kind in ("undo", "bake"):
        say(panel, kind, edit=2)
        assert "a value is being searched" in panel.error
    panel.set_state({"lam_of": {**panel.lam_of, "1": 20}})  # nothing of it applies, so it may
    panel.cancel()
    go.set()
    assert panel.wait(LONG)
    assert (panel.state, panel.message) == ("stopped", "cancelled: the model is as it was")
    assert (panel.edited, seattle.applied) == (True, True)
    assert panel.curve == {}
    assert [edit.target for edit in panel.edits] == ["Rome", "Seattle"]
    panel.undo()
    assert vlm.state == before


def test_what_is_cancelled_after_the_search_does_not_say_that_the_model_is_as_it_was(fresh, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(edit, asked, before, cancel, progress):
        begun.set()
        go.wait(LONG)
        cancel.check()

    monkeypatch.setattr(work, "measure", slow)
    fresh.make("Rome")
    assert begun.wait(LONG)
    fresh.cancel()
    go.set()
    assert fresh.wait(LONG)
    assert (fresh.state, fresh.message, fresh.edited) == ("stopped", "cancelled", True)


def test_the_search_is_shown_step_by_step(fresh, monkeypatch):
    monkeypatch.setattr(work, "PUBLISH_EVERY", 0.0)
    seen: list[dict[str, Any]] = []
    fresh.observe(lambda change: seen.append(change["new"]), "curve")
    fresh.make("Rome")
    assert fresh.wait(LONG)
    assert [len(curve["losses"]) for curve in seen if curve][:3] == [0, 1, 2]
    longest = max((curve for curve in seen if curve), key=lambda curve: len(curve["losses"]))
    assert longest["losses"] == list(fresh.edit.losses)
    assert fresh.results["1"]["chances"] == list(fresh.edit.probabilities)
    assert fresh.curve == {}


def test_an_error_in_the_search_leaves_the_model_as_it_was(panel, vlm):
    before = vlm.state
    say(panel, "try", target="Paris", layer=2)
    assert panel.wait(LONG)
    assert panel.state == "error"
    assert "is what the model answers already" in panel.error
    assert vlm.state == before
    assert panel.edited


def test_what_fails_in_the_search_is_said_and_leaves_the_model_as_it_was(panel, vlm, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA out of memory")

    before = vlm.state
    monkeypatch.setattr(mw.editing, "multedit", broken)
    say(panel, "try", target="Berlin", layer=2)
    assert panel.wait(LONG)
    assert panel.error.startswith("This could not be computed: RuntimeError: CUDA out of memory.")
    assert vlm.state == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"target": "  "}, "target"),
        ({"target": "Rome", "layer": 8}, "layer=8 is no layer"),
        ({"target": "Rome", "layer": -1}, "layer=-1 is no layer"),
    ],
)
def test_what_cannot_be_tried_is_said_in_the_panel(panel, vlm, content, words):
    before = vlm.state
    say(panel, "try", **content)
    assert words in panel.error
    assert vlm.state == before


def test_a_layer_sweep_is_drawn_layer_by_layer_and_its_edits_are_used(fresh, vlm, question, monkeypatch):
    real = mw.editing.layer_sweep
    swept = []

    def quick(*arguments, **options):
        if arguments[3] != [2]:
            options["steps"] = 2
        swept.append(arguments[3])
        return real(*arguments, **options)

    monkeypatch.setattr(mw.editing, "layer_sweep", quick)
    say(fresh, "sweep", target="Rome")
    assert fresh.wait(LONG), fresh.error
    assert swept == [[layer] for layer in range(8)]
    assert fresh.bars["layers"] == list(range(8))
    assert not fresh.edited
    monkeypatch.setattr(mw.editing, "multedit", None)  # not searched again
    fresh.make("Rome", 2)
    assert fresh.wait(LONG)
    assert fresh.edit.layer == 2
    assert fresh.bars["efficacy"][2] == pytest.approx(
        mw.ask(vlm, question).probabilities[fresh.edit.target_ids[0]], abs=1e-5
    )
    assert fresh.bars["reached"][2] == fresh.edit.reached


# --- taking it along, closing ---------------------------------------------------------------------------------------------------


def test_an_edit_is_saved_and_never_over_another(panel, vlm, tmp_path):
    say(panel, "save", edit=2, name=str(tmp_path / "seattle"))
    assert panel.saved == f"Saved: {tmp_path / 'seattle.safetensors'}"
    assert mw.load_edit(tmp_path / "seattle.safetensors", vlm).target == "Seattle"
    say(panel, "save", edit=2, name=str(tmp_path / "seattle"))
    assert "exists already" in panel.error
    say(panel, "save", edit=2, name=" ")
    assert "the name is empty" in panel.error
    say(panel, "peft", edit=1, name=str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_a_baked_edit_is_told_and_taken_out_by_the_switch(panel, vlm, question):
    edited = logits(vlm, question)
    weight = vlm.projection(panel.edit.layer).weight.clone()
    say(panel, "bake", edit=2)
    assert "in the weights" in panel.saved
    assert panel.truth.startswith("In the weights: “Seattle”")
    assert (panel.edited, panel.rows[1]["baked"], vlm.side_terms.active) == (True, True, ())
    assert logits(vlm, question) == pytest.approx(edited, abs=1e-5)
    panel.set_state({"lam_of": {**panel.lam_of, "2": 24}})
    assert "unbake it to move its lambda" in panel.error
    assert panel.lam_of["2"] != 24
    with pytest.raises(WidgetError, match="unbake it before it is removed"):
        panel.remove(2)
    say(panel, "toggle", edited=False)
    assert not panel.edited
    assert (vlm.projection(panel.edit.layer).weight == weight).all()


def test_what_is_baked_elsewhere_is_told_and_all_numbers_are_found_again(vlm, question, few):
    other = mw.multedit(vlm, question, "Rome")
    panel = mw.EditPanel(vlm, question, probes=[], layer=2)
    assert panel.wait(LONG)
    assert panel.probes[0]["answer"] == "Paris"
    other.bake()
    try:
        panel._after_cell()
        assert panel.wait(LONG)
        assert "1 edit made elsewhere is in the weights, and in all numbers below." in panel.foreign
        assert panel.probes[0]["answer"] == "Rome"
    finally:
        other.unbake()
    panel._after_cell()
    assert panel.wait(LONG)
    assert "in the weights" not in panel.foreign
    assert panel.probes[0]["answer"] == "Paris"
    panel.close()


def test_nothing_is_made_while_an_edit_is_in_the_weights(panel):
    panel.bake(2)
    panel.make("Berlin")
    assert panel.wait(LONG)
    assert "is in the weights; unbake it before you make another one" in panel.error
    panel.unbake(2)
    assert panel.edit.applied


def test_the_copied_code_makes_the_same_edits(panel, vlm, question):
    scope: dict[str, Any] = {}
    exec(panel.head + panel.code, scope)
    assert (scope["answer"].text, scope["edited"].text) == ("Paris", mw.ask(vlm, question).text)
    assert scope["edit_2"].layer == panel.edit.layer


def test_closing_it_leaves_the_model_unedited_also_in_the_middle_of_a_search(vlm, question, monkeypatch, few):
    other = mw.multedit(vlm, question, "Berlin", layer=1, steps=1)
    other.apply()
    state = vlm.state
    panel = mw.EditPanel(vlm, question, probes=[], layer=2)
    panel.make("Rome")
    assert panel.wait(LONG)
    (rome,) = panel.edits
    other.revert()
    there, go = searching(panel, monkeypatch)
    panel.make("Athens")
    assert there.wait(LONG)
    assert not rome.applied
    panel.close()
    go.set()
    assert panel.wait(LONG)
    assert not rome.applied
    assert panel.comm is None
    other.apply()
    assert vlm.state == state
    other.revert()


def test_the_picture_shows_the_edit_once_there_is_something_to_draw(shared, vlm, question):
    picture = shared.picture()
    assert picture.mode == "RGB"
    assert picture.width == 2 * 860
    alone = mw.EditPanel(vlm, question, probes=[])
    alone.wait(LONG)
    assert 300 < alone.picture().height < picture.height
    alone.close()


# --- other models, wrong inputs -------------------------------------------------------------------------------------------------


def test_a_model_that_is_no_demo_watches_its_question_alone(vlm, few):
    tiny = llava_next()
    panel = mw.EditPanel(tiny, tiny_question(), layer=1, steps=2)
    assert panel.wait(LONG), panel.error
    assert len(panel.probes) == 1
    target = tiny.tokenizer.decode([int(mw.ask(tiny, tiny_question()).probabilities.argsort()[-2])])
    panel.make(target)
    assert panel.wait(LONG)
    assert panel.error == ""
    assert [edit.applied for edit in panel.edits] == [True]
    panel.close()
    assert tiny.side_terms.active == ()


def test_questions_of_the_demo_world_are_watched_by_themselves(question):
    found = probes.demo_probes(question)
    kinds = [probe.kind for probe in found]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "paraphrase": 2,
        "picture": 2,
        "same phrase": 3,
        "unrelated": 3,
    }
    for probe in found:
        same = {"paraphrase": question.answer, "picture": question.answer}.get(probe.kind)
        assert (probe.question.answer == same) if same else (probe.question.answer != question.answer)
        assert (probe.question.constraint == question.constraint) == (probe.kind != "unrelated")
    assert all(probe.question.text == question.text for probe in found if probe.kind in ("picture", "same phrase"))
    assert probes.demo_probes(mw.Question(question.image, "Who is this?", constraint="this")) == []


def test_a_landmark_is_told_from_others_of_the_same_city_by_its_picture():
    arc = mw.datasets.demo_question("Arc de Triomphe", "city", seed=1)
    pictures = [probe.question.image for probe in probes.demo_probes(arc) if probe.kind == "picture"]
    wanted = mw.datasets.demo_question("Arc de Triomphe", "city", seed=101).image
    assert np.array_equal(np.asarray(pictures[0]), np.asarray(wanted))
    blank = replace(arc, image=Image.new("RGB", (32, 32)))
    assert "picture" not in [probe.kind for probe in probes.demo_probes(blank)]


def test_a_list_of_questions_should_stay_as_it_is(vlm, question, watched):
    same, apart = watched["same_phrase"][0], watched["unrelated"][0]
    assert [probe.kind for probe in probes.watched(vlm, question, [same, apart])] == [
        "edited",
        "same phrase",
        "unrelated",
    ]


def test_wrong_arguments_are_sentences(vlm, question):
    with pytest.raises(EditError, match="vlm is a str"):
        mw.EditPanel("demo", question)  # type: ignore[arg-type]
    with pytest.raises(EditError, match="has no constraint"):
        mw.EditPanel(vlm, replace(question, constraint=None))
    with pytest.raises(EditError, match="layer=8 is no layer"):
        mw.EditPanel(vlm, question, layer=8)
    with pytest.raises(WidgetError, match="lam=0 has no place on a logarithmic slider"):
        mw.EditPanel(vlm, question, lam=0)
    with pytest.raises(WidgetError, match="does not take lams"):
        mw.EditPanel(vlm, question, lams=3)
    with pytest.raises(WidgetError, match="'neighbours', which is no kind of question; expected paraphrases"):
        mw.EditPanel(vlm, question, probes={"neighbours": [question]})
    with pytest.raises(WidgetError, match="probes holds 'Paris'"):
        mw.EditPanel(vlm, question, probes="Paris")


def test_what_is_not_in_the_list_cannot_be_applied(fresh, shared):
    with pytest.raises(WidgetError, match="there is no edit to apply yet"):
        fresh.apply()
    with pytest.raises(WidgetError, match="is not in this panel"):
        fresh.check(shared.edits[0])
    say(fresh, "check", edit=7, on=True)
    assert "edit=7 is not in this panel" in fresh.error


# --- parts ----------------------------------------------------------------------------------------------------------------------


def test_views_remember_what_edited_means():
    one = View().adding(1, 0.01)
    two = one.adding(2, 0.01)
    assert two.applied == (2,)
    both = two.checking(1, True)
    assert both.applied == (1, 2)
    off = both.toggled(False)
    assert (off.applied, off.again) == ((), (1, 2))
    assert off.toggled(True) == both
    assert both.without(2).toggled(False).toggled(True).applied == (1,)
    assert both.without(2).current == 1
    assert View().toggled(True) == View()


def test_the_traits_are_the_fields_the_front_end_knows():
    assert sent_traits(mw.EditPanel) == interface_fields("edit/state.ts", "EditState")


# --- frozen -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def thawed(panel):
    """What it measured comes back after the test."""
    measured = dict(panel._work.measured)
    yield panel
    panel._work.measured.update(measured)
    panel._tell()


@pytest.fixture
def swept(monkeypatch):
    """The lambdas that were measured."""
    asked: list[float] = []
    sweep = mw.lambda_sweep

    def counted(edit, questions, lams, **options):
        asked.extend(lams)
        return sweep(edit, questions, lams, **options)

    monkeypatch.setattr("mllm_widgets.editing.lambda_sweep", counted)
    return asked


def frozen_of(panel, number):
    result = panel.results[number]
    return np.array(result["lams"]), {
        name: wire.array(result[name]) for name in ("probability", "kept", "agreement", "top_p")
    }


@pytest.mark.parametrize("count", [2, 5, 17, 33])
def test_up_to_33_lambdas_are_those_measured_already(thawed, swept, count):
    before = {number: frozen_of(thawed, number) for number in ("1", "2")}
    places = dict(thawed.lam_of)
    thawed.freeze(lams=count)
    assert swept == []
    for number, edit in zip(("1", "2"), thawed.edits, strict=True):
        lams, values = frozen_of(thawed, number)
        assert len(lams) == count
        assert lams[thawed.lam_of[number]] == pytest.approx(edit.lam)
        kept = [int(np.abs(before[number][0] - lam).argmin()) for lam in lams]
        assert np.array_equal(before[number][0][kept], lams)
        for name, value in values.items():
            assert np.array_equal(value, before[number][1][name][kept]), name
        assert len(thawed.results[number]["efficacy"]) == count
    assert count != 33 or thawed.lam_of == places
    thawed.freeze(lams=count)
    assert swept == [], "and again"


@pytest.mark.parametrize("count", [5, 33])
def test_the_edit_s_own_lambda_is_among_them_though_it_is_none_of_the_slider_s(thawed, swept, count):
    edit = thawed.edits[0]
    before = edit.lam
    edit.lam = 1.3 * before
    thawed._session.look()
    try:
        thawed.freeze(lams=count)
        lams, values = frozen_of(thawed, "1")
        assert len(lams) == count
        assert (np.diff(lams) > 0).all()
        assert swept == [edit.lam]
        assert lams[thawed.lam_of["1"]] == edit.lam
        asked = mw.lambda_sweep(edit, [thawed._question], [edit.lam]).target.values.item()
        assert values["probability"][thawed.lam_of["1"], 0] == pytest.approx(asked, abs=1e-5)
    finally:
        edit.lam = before
        thawed._session.look()


def test_lambdas_that_were_not_measured_are(thawed, swept, watched):
    edit = thawed.edits[0]
    thawed.freeze(lams=[0.5, 30, 0.02])
    lams, values = frozen_of(thawed, "1")
    assert lams.tolist() == pytest.approx(sorted({0.02, 0.5, 30, edit.lam}))
    assert sorted(set(swept)) == [0.02, 0.5, 30], "its own was there"
    again = mw.lambda_sweep(edit, [probe.question for probe in thawed._watched], list(lams))
    np.testing.assert_allclose(values["probability"], again.target.transpose("lam", "question").values, atol=1e-5)
    swept.clear()
    thawed.freeze(lams=[0.5, 30])
    assert swept == []


def test_the_slider_moves_over_what_was_frozen(thawed):
    thawed.freeze(lams=[0.5, 30])
    number, edit = str(thawed.current), thawed.edit
    thawed.set_state({"lam_of": {**thawed.lam_of, number: 2}})
    assert thawed.wait(LONG)
    assert edit is not None
    assert edit.lam == 30
    thawed.undo()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("CUDA out of memory")])
def test_an_interrupted_freeze_leaves_a_panel_as_it_was(thawed, monkeypatch, error):
    told = []

    def breaks(*_, progress, **__):
        progress(1, 4)
        told.append((thawed.state, thawed.message, thawed.progress))
        if len(told) == 2:  # of two edits the second
            raise error
        return mw.lambda_sweep(*_, **__)

    before = thawed.get_state()
    monkeypatch.setattr("mllm_widgets.editing.lambda_sweep", breaks)
    with pytest.raises(type(error)):
        thawed.freeze(lams=[0.5])
    assert told[0] == ("running", "measuring the edit at one more λ", 0.25)
    assert thawed.get_state() == before


@pytest.mark.parametrize("lams", [0, 1, True, [], [0.1, -1], "17", [None], [float("inf")], 2.5])
def test_what_are_no_lambdas_is_refused(panel, swept, lams):
    with pytest.raises(WidgetError, match="are no lambdas"):
        panel.freeze(lams=lams)
    assert swept == []


def test_every_trait_that_changes_is_watched_by_the_front_end():
    source = (SOURCES / "edit_panel.ts").read_text()
    watched = set(re.findall(r'"(\w+)"', source[source.index("const MODEL") : source.index("function render")]))
    ours = {name for name in mw.EditPanel.class_traits(sync=True) if not name.startswith("_")}
    ours -= set(Widget.class_traits(sync=True))  # which other code sees to
    fixed = {"version", "question", "span", "image", "colors", "head", "code", "received"}
    assert watched == ours - fixed


def test_an_edit_has_the_keys_the_front_end_reads(shared):
    for number, interface in (("2", "Result"), ("row", "EditRow")):
        ours = shared.rows[0] if number == "row" else shared.results[number]
        assert set(ours) == interface_fields("edit/state.ts", interface)

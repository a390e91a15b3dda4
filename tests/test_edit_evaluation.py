"""What an edit does, against plain PyTorch with the weight itself changed; and that measuring leaves everything as it was."""

import contextlib
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.editing import Case, Unedited, probing
from mllm_widgets.errors import EditError
from mllm_widgets.intervals import bootstrap_interval
from mllm_widgets.jobs import Cancelled, CancelToken
from mllm_widgets.vlm.side_terms import FixedTerm

from .families.tiny import tiny

OTHERS = ("Taj Mahal", "Big Ben", "Space Needle")
OWN = "Which country is this building in?"


@pytest.fixture(scope="module")
def edit(vlm, question):
    """Of an answer of several tokens, ended when it is half sure."""
    return mw.multedit(vlm, question, "New York", layer=2, stop=0.3)


@pytest.fixture(scope="module")
def other(vlm):
    return mw.multedit(vlm, mw.datasets.demo_question("Taj Mahal"), "London", layer=2, steps=12)


@pytest.fixture(scope="module")
def pictures():
    return [mw.datasets.demo_question(name).image for name in OTHERS]


@pytest.fixture(scope="module")
def asked(pictures):
    """Two or three of everything."""
    return {
        "paraphrases": ["In which city is this building?", "Name the city of this building."],
        "pictures": [mw.datasets.demo_question("Eiffel Tower", seed=seed).image for seed in (1, 2)],
        "same_phrase": pictures,
        "unrelated": [
            mw.datasets.demo_question("Colosseum", "country"),
            replace(mw.datasets.demo_question("Eiffel Tower", "german"), answer="Frankreich "),
            replace(mw.datasets.demo_question("Big Ben"), answer=None),
        ],
        "text": ["Which city is the Eiffel Tower in?", mw.Question(None, "Which country is Big Ben in?")],
        "portability": [(OWN, "USA"), (OWN, "New York")],
    }


@pytest.fixture(scope="module")
def report(edit, asked):
    return mw.evaluate_edit(edit, **asked)


@pytest.fixture(autouse=True)
def unedited(vlm):
    yield
    assert vlm.side_terms.active == ()


@torch.no_grad()
def plain_logs(vlm, question, ids):
    """Log-probabilities before each of `ids`, from Hugging Face's own forward pass."""
    inputs = dict(vlm.encode(question).inputs)
    said = torch.tensor([ids[:-1]], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], said], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return vlm.model(**inputs).logits[0, -len(ids) :].log_softmax(-1)


def tokens_of(vlm, text):
    return vlm.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]


@torch.no_grad()
def answer_tokens(vlm, question):
    inputs = vlm.encode(question).inputs
    made = vlm.model.generate(
        **inputs, max_new_tokens=8, do_sample=False, pad_token_id=vlm.tokenizer.pad_token_id
    )  # fmt: skip
    return made[0, inputs["input_ids"].shape[1] :].tolist()


@contextlib.contextmanager
def really_edited(vlm, edit):
    (site, change), *_ = edit.change().items()
    weight = vlm.model.get_submodule(site).weight
    kept = weight.data.clone()
    weight.data += change
    try:
        yield
    finally:
        weight.data.copy_(kept)


def scored(vlm, questions, expected):
    """(P, all right, share right) of each, from the definitions."""
    found = []
    for question, words in zip(questions, expected, strict=True):
        ids = tokens_of(vlm, words)
        logs = plain_logs(vlm, question, ids)
        hits = [int(row.argmax()) == token for row, token in zip(logs, ids, strict=True)]
        probability = np.prod([float(row[token].exp()) for row, token in zip(logs, ids, strict=True)])
        found.append((probability, all(hits), np.mean(hits)))
    return np.mean(found, axis=0)


def compared(vlm, edit, questions):
    """(same answer, same first token, top-1, strict top-10, KL) of each, from the definitions."""
    found = []
    for question in questions:
        own = answer_tokens(vlm, question)
        before = plain_logs(vlm, question, own)
        with really_edited(vlm, edit):
            after = plain_logs(vlm, question, own)
            now = answer_tokens(vlm, question)
        lists = [logs.argsort(-1, descending=True)[:, :10].tolist() for logs in (before, after)]
        found.append(
            (
                now == own,
                now[0] == own[0],
                np.mean([a[0] == b[0] for a, b in zip(*lists, strict=True)]),
                np.mean([a == b for a, b in zip(*lists, strict=True)]),
                float((before[0].exp() * (before[0] - after[0])).sum()),
            )
        )
    return np.mean(found, axis=0)


def test_what_is_expected_is_scored_as_plain_pytorch_scores_it_with_the_weight_changed(
    vlm, question, edit, asked, report
):
    assert len(edit.target_ids) > 1
    groups = {
        ("efficacy", "success", "reliability"): ([question], ["New York"]),
        ("generalization", "generalization success", "T-generality"): (
            [mw.Question(question.image, words) for words in asked["paraphrases"]],
            ["New York"] * 2,
        ),
        ("picture generalization", "picture generalization success", "I-generality"): (
            [mw.Question(image, question.text) for image in asked["pictures"]],
            ["New York"] * 2,
        ),
        ("portability probability", "portability", "portability tokens"): (
            [mw.Question(question.image, OWN)] * 2,
            ["USA", "New York"],
        ),
    }
    for names, (questions, expected) in groups.items():
        with really_edited(vlm, edit):
            after = scored(vlm, questions, expected)
        assert [report[name].value for name in names] == pytest.approx(after, abs=1e-4), names
        assert [report[name].before for name in names] == pytest.approx(scored(vlm, questions, expected), abs=1e-4)
        assert report[names[0]].count == len(questions)
    leaking = [mw.Question(image, question.text) for image in asked["same_phrase"]]
    with really_edited(vlm, edit):
        assert [report[n].value for n in ("leakage", "leakage success")] == pytest.approx(
            scored(vlm, leaking, ["New York"] * 3)[:2], abs=1e-4
        )


def test_what_should_stay_is_compared_as_plain_pytorch_compares_it(vlm, question, edit, asked, report):
    phrase = [mw.Question(image, question.text) for image in asked["same_phrase"]]
    text = [mw.Question(None, q) if isinstance(q, str) else q for q in asked["text"]]
    groups = {
        ("specificity", "first-token specificity", "I-locality", "I-locality top-10", "KL"): asked["unrelated"],
        ("same-phrase specificity", None, None, None, "same-phrase KL"): phrase,
        ("text specificity", None, "T-locality", "T-locality top-10", "text KL"): text,
    }
    for names, questions in groups.items():
        for name, expected in zip(names, compared(vlm, edit, questions), strict=True):
            if name is not None:
                assert report[name].value == pytest.approx(expected, rel=1e-3, abs=1e-6), name
                assert report[name].before == (0.0 if "KL" in name else 1.0)
    assert report["KL"].value > 0.01, "too weak an edit to tell KL(before || after) from KL(after || before)"


def test_accuracy_counts_questions_with_a_known_answer_capitals_aside(vlm, edit, asked, report):
    known = [question for question in asked["unrelated"] if question.answer is not None]
    assert report["accuracy"].count == len(known) == 2
    with edit:
        after = [mw.ask(vlm, question).text == question.answer.strip() for question in known]
    assert report["accuracy"].value == np.mean(after)
    assert report["accuracy"].before == np.mean([mw.ask(vlm, q).text == q.answer.strip() for q in known])


def test_the_table_has_a_row_for_each_measure_with_its_interval_and_formula(report, asked):
    table = report.to_dataframe()
    assert list(table.columns) == ["measure", "value", "low", "high", "count", "before", "formula"]
    assert len(table) == len(report) == 26
    assert table["measure"].is_unique
    row = table.set_index("measure").loc["leakage"]
    values = [probe.probability for probe in report.probes if probe.group == "same_phrase"]
    assert (row["low"], row["high"]) == bootstrap_interval(np.array(values), 2000)
    assert table["formula"].str.len().min() > 20
    assert "P(t_i | question, t_&lt;i)" not in report._repr_html_(), "the formula has a column of its own"


def test_every_question_s_answers_stand_in_a_table_of_their_own(vlm, question, edit, report, asked):
    table = report.per_question()
    assert table["group"].value_counts().to_dict() == {
        "edited": 1, "paraphrases": 2, "pictures": 2, "same_phrase": 3, "unrelated": 3, "text": 2, "portability": 2,
    }  # fmt: skip
    first = table[table["group"] == "unrelated"].iloc[0]
    assert first["before"] == mw.ask(vlm, asked["unrelated"][0]).text
    with edit:
        assert table.iloc[0]["after"] == mw.ask(vlm, question).text
        assert first["after"] == mw.ask(vlm, asked["unrelated"][0]).text
    assert table.iloc[0]["before"] == "Paris"


def test_an_edit_that_adds_nothing_changes_nothing_to_the_last_bit(vlm, edit, asked):
    wide, narrow = len(edit.key), len(edit.before)
    nothing = replace(edit, term=FixedTerm(2, torch.zeros(narrow, 1), torch.zeros(1, wide)), method="fine-tuning")
    found = mw.evaluate_edit(nothing, **asked)
    for measure in found:
        assert measure.value == measure.before, measure
    assert found["KL"].value == 0.0
    assert found["specificity"].value == found["I-locality top-10"].value == 1.0


def test_an_edit_that_breaks_the_model_is_seen_to(vlm, edit, asked):
    torch.manual_seed(0)
    noise = FixedTerm(2, 3 * torch.randn(len(edit.before), len(edit.key)))
    found = mw.evaluate_edit(
        replace(edit, term=noise, method="fine-tuning"), unrelated=asked["unrelated"], max_new_tokens=2
    )
    assert found["specificity"].value < 0.5
    assert found["KL"].value > 1
    assert found["accuracy"].value < found["accuracy"].before


def test_edits_have_a_list_each_and_are_measured_together(vlm, edit, other, pictures):
    both = mw.evaluate_edit(
        edit + other, paraphrases=[[], ["Name the city of this building."]], same_phrase=[pictures[1:], []]
    )
    table = both.per_question()
    assert table["edit"].tolist() == [0, 0, 0, 1, 1]
    assert table["expected"].tolist() == ["New York"] * 3 + ["London"] * 2
    assert both["efficacy"].count == 2
    assert len(both.edits) == 2
    with edit + other:
        now = float(plain_logs(vlm, other.question, list(other.target_ids)).exp()[0, other.target_ids[0]])
    assert table.iloc[3]["probability"] == pytest.approx(now, abs=1e-5)
    with pytest.raises(EditError, match=r"paraphrases has 1 entries for 2 edits"):
        mw.evaluate_edit(edit + other, paraphrases=["Name the city of this building."])


def test_only_the_tokens_that_the_edit_made_likely_are_scored(vlm, question):
    first = mw.multedit(vlm, question, "New Seattle", 2, tokens="first", steps=3)
    found = mw.evaluate_edit(first, paraphrases=["Name the city of this building."])
    with first:
        logs = plain_logs(vlm, mw.Question(question.image, "Name the city of this building."), list(first.target_ids))
    assert len(first.target_ids) == 1
    assert found["generalization"].value == pytest.approx(float(logs[0, first.target_ids[0]].exp()), abs=1e-5)


def test_what_is_applied_comes_back_and_nobody_sees_either_state(vlm, edit, other, pictures):
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            with vlm.lock:
                seen.append(vlm.side_terms.active)
            done.wait(0.001)

    with other:
        onlooker = threading.Thread(target=look)
        onlooker.start()
        try:
            found = mw.evaluate_edit(edit, same_phrase=pictures)
        finally:
            done.set()
            onlooker.join()
        assert vlm.side_terms.active == other.terms
    assert set(seen) == {other.terms}
    expected = mw.evaluate_edit(edit, same_phrase=pictures)
    assert [(m.value, m.before) for m in found] == [(m.value, m.before) for m in expected]
    assert [(p.before, p.after) for p in found.probes] == [(p.before, p.after) for p in expected.probes]


@pytest.mark.parametrize("how", [KeyboardInterrupt, Cancelled, torch.OutOfMemoryError])
def test_what_stops_a_measurement_leaves_the_model_as_it_was(vlm, question, edit, pictures, how):
    ids = list(edit.target_ids)
    before = plain_logs(vlm, question, ids)

    def stop(_probe):
        raise how("enough")

    with pytest.raises(how):
        mw.evaluate_edit(edit, same_phrase=pictures, on_probe=stop)
    assert torch.equal(plain_logs(vlm, question, ids), before)


def test_a_forward_pass_that_fails_under_the_edit_leaves_the_model_as_it_was(vlm, edit, monkeypatch):
    def fail(*_):
        assert vlm.side_terms.active == edit.terms
        raise RuntimeError("no memory")

    kept = Unedited(vlm)
    mw.evaluate_edit(edit, unedited=kept)
    monkeypatch.setattr(probing, "log_probabilities", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        mw.evaluate_edit(edit, unedited=kept)


def test_a_cancelled_measurement_stops_before_its_next_question(vlm, edit, pictures):
    token, told = CancelToken(), []

    def progress(done, total):
        told.append((done, total))
        token.cancel()

    with pytest.raises(Cancelled):
        mw.evaluate_edit(edit, same_phrase=pictures, cancel=token, progress=progress)
    assert told == [(1, 4)]


def test_the_unedited_model_is_run_once_for_each_question(vlm, edit, asked, monkeypatch):
    runs = []
    plain = probing.log_probabilities

    def counted(vlm, encoded, ids):
        if not vlm.side_terms.active:
            runs.append(tuple(ids))
        return plain(vlm, encoded, ids)

    monkeypatch.setattr(probing, "log_probabilities", counted)
    kept = Unedited(vlm)
    first = mw.evaluate_edit(edit, unrelated=asked["unrelated"], unedited=kept)
    assert len(runs) == 4
    was = edit.lam
    try:
        edit.lam = 100.0
        second = mw.evaluate_edit(edit, unrelated=asked["unrelated"], unedited=kept)
    finally:
        edit.lam = was
    assert len(runs) == 4
    assert (first.edits[0].lam, second.edits[0].lam) == (0.01, 100.0)
    assert second["KL"].value < first["KL"].value


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        low, high = bootstrap_interval(np.random.default_rng(seed).normal(size=60) + 3, draws=400, seed=seed)
        inside += low <= 3 <= high
    assert 88 <= inside <= 99
    assert np.isnan(bootstrap_interval(np.ones(1))).all()


def test_many_edits_are_means_over_edits_with_intervals_over_edits(vlm, pictures):
    cases = [
        Case(mw.datasets.demo_question(name), "Rome", ["Name the city of this building."] * n, same_phrase=pictures[:n])
        for n, name in enumerate(OTHERS[:2], 1)
    ]
    told = []
    many = mw.editing.edit_many(
        vlm, cases, unrelated=mw.datasets.demo(2), text=["Which city is Big Ben in?"], layer=2, steps=2, progress=lambda *at: told.append(at)
    )  # fmt: skip
    assert told == [(1, 2), (2, 2)]
    table = many.to_dataframe().set_index("measure")
    assert set(table["method"]) == {"multedit"}
    alone = [
        mw.evaluate_edit(
            mw.multedit(vlm, case.question, "Rome", 2, steps=2),
            same_phrase=case.same_phrase,
            unrelated=mw.datasets.demo(2),
        )
        for case in cases
    ]
    for name in ("efficacy", "leakage", "KL"):
        values = np.array([one[name].value for one in alone])
        assert table.loc[name, "value"] == pytest.approx(values.mean(), rel=1e-4)
        assert (table.loc[name, "low"], table.loc[name, "high"]) == pytest.approx(
            bootstrap_interval(values, 2000), rel=1e-4
        )
        assert table.loc[name, "count"] == 2
    each = many.per_edit()
    assert each["efficacy"].tolist() == pytest.approx([one["efficacy"].value for one in alone], rel=1e-4)
    assert each["target"].tolist() == ["Rome", "Rome"]


def test_many_edits_start_from_the_unedited_model(vlm, question, edit):
    mixed: list = [Case(question, "Rome"), (question, "Rome")]
    with edit, pytest.raises(EditError, match="is applied"):
        mw.editing.edit_many(vlm, [Case(question, "Rome")], layer=2)
    with pytest.raises(EditError, match="cases is empty"):
        mw.editing.edit_many(vlm, [])
    with pytest.raises(EditError, match=r"cases\[1\] is a tuple"):
        mw.editing.edit_many(vlm, mixed, layer=2)
    with pytest.raises(EditError, match=r"cases\[0\]: target='Paris' is what the model answers already"):
        mw.editing.edit_many(vlm, [Case(question, "Paris")], layer=2)


def test_a_sequence_says_whether_earlier_edits_are_still_held(vlm, question, other):
    first = mw.multedit(vlm, question, "Rome", layer=2, steps=12)
    rival = mw.multedit(vlm, mw.datasets.demo_question("Eiffel Tower", seed=5), "Berlin", layer=2, steps=12)
    unrelated = [mw.datasets.demo_question("Big Ben"), mw.datasets.demo_question("Eiffel Tower", "country")]
    found = mw.editing.evaluate_sequence([first, other, rival], unrelated=unrelated)
    assert np.isnan(found.probability.values[np.triu_indices(3, 1)]).all()
    for after, held in ((1, [first]), (2, [first, other]), (3, [first, other, rival])):
        for edit in held:
            edit.apply()
        texts = [mw.ask(vlm, q).text for q in unrelated]
        chances = [mw.ask(vlm, edit.question).probabilities[edit.target_ids[0]] for edit in held]
        for edit in held:
            edit.revert()
        assert found.probability.sel(after=after).values[:after] == pytest.approx(chances, abs=1e-4)
        same = [text == mw.ask(vlm, q).text for text, q in zip(texts, unrelated, strict=True)]
        assert found.agreement.sel(after=after) == np.mean(same)
    table = found.to_dataframe()
    assert table["efficacy"].iloc[2] == pytest.approx(np.nanmean(found.probability.sel(after=3)))
    assert table["alone"].iloc[0] == pytest.approx(table["efficacy"].iloc[0])
    assert found.alone.values[2] == pytest.approx(found.alone.sel(edit=2).item())
    assert float(found.probability[2, 0]) < float(found.probability[0, 0]), "the rival says otherwise"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edit": "Rome"}, "edit is a str"),
        ({"paraphrases": "In which city?"}, "paraphrases is a str"),
        ({"paraphrases": [""]}, r"paraphrases\[0\] is ''"),
        ({"paraphrases": [3]}, r"paraphrases\[0\] is 3"),
        ({"pictures": [None]}, r"pictures\[0\] is None"),
        ({"pictures": ["no/such/file.png"]}, r"pictures\[0\] is no picture"),
        ({"same_phrase": [mw.Question(np.zeros((8, 8), np.uint8), "Where is it?")]}, "without the edit's constraint"),
        ({"unrelated": ["Which city?"]}, r"unrelated\[0\] is a str"),
        ({"unrelated": [mw.Question(np.zeros((8, 8), np.uint8), "<image> where?")]}, r"unrelated\[0\] cannot be asked"),
        ({"text": [mw.Question(np.zeros((8, 8), np.uint8), "Where is it?")]}, r"text\[0\] has a picture"),
        ({"text": ["  "]}, r"text\[0\] is '  '"),
        ({"portability": [OWN]}, r"portability\[0\] is 'Which"),
        ({"portability": [(OWN, None)]}, r"portability\[0\] is"),
        ({"portability": [(OWN, "")]}, r"portability\[0\]: target=''"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"draws": True}, "draws=True"),
        ({"unedited": "model"}, "unedited= belongs"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence_before_anything_is_run(edit, change, said, monkeypatch):
    monkeypatch.setattr(probing, "log_probabilities", lambda *_: pytest.fail("a question was run"))
    with pytest.raises(EditError, match=said):
        mw.evaluate_edit(**{"edit": edit, **change})


def test_a_measure_that_was_not_asked_for_says_what_it_needs(edit):
    found = mw.evaluate_edit(edit)
    with pytest.raises(EditError, match="passed as same_phrase="):
        found["leakage"]
    with pytest.raises(EditError, match="there is no measure 'leakiness'"):
        found["leakiness"]


def test_an_edit_in_the_weights_cannot_be_compared_with_the_model_without_it(vlm, edit):
    edit.bake()
    try:
        with pytest.raises(EditError, match="unbake"):
            mw.evaluate_edit(edit)
        with pytest.raises(EditError, match="unbake"):
            mw.editing.evaluate_sequence([edit])
    finally:
        edit.unbake()


def test_another_family_s_model_is_measured_alike(vlm):
    other, asked = tiny("Qwen2.5-VL", "Qwen2")
    target = other.tokenizer.decode([int(mw.ask(other, asked).probabilities.argsort()[-2])]).strip() or "a"
    edit = mw.multedit(other, asked, target, 0, steps=2, tokens="first")
    found = mw.evaluate_edit(edit, unrelated=[replace(asked, text="Where is it?", constraint=None)])
    with edit:
        assert found["efficacy"].value == pytest.approx(
            mw.ask(other, asked).probabilities[edit.target_ids[0]], abs=1e-5
        )

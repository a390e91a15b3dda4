"""Knockouts and lenses as a user gets them: what the demo model needs, wrong inputs, a model left as it was."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.contributions import knockout, lens
from mllm_widgets.errors import FlowError
from mllm_widgets.jobs import Cancelled
from tests.families import test_mllama, tiny_llava
from tests.random_llava import random_question, random_vlm
from tests.test_interrupts import StateOfModel, another_thread_gets_the_lock


@functools.cache
def demo() -> tuple[mw.VLM, mw.Question]:
    return mw.load(), mw.datasets.demo_question("Eiffel Tower")


def cut(*ends: Any, **more: Any) -> mw.Knockout:
    return mw.attention_knockout(random_vlm(), random_question(), *ends, **more)


def test_the_demo_answer_goes_from_the_picture_to_the_constraint_to_the_last_token():
    """The planted mechanism: early layers into the constraint, then middle layers into the last token, and nothing straight from the picture."""
    first = mw.attention_knockout(*demo(), "visual", "constraint", window=3)
    then = mw.attention_knockout(*demo(), "constraint", "last", window=3)
    straight = mw.attention_knockout(*demo(), "visual", "last", window=None)
    assert first.before == then.before > 0.99
    assert first.probability.sel(layer=[0, 1]).max() < 0.1
    assert first.probability.sel(layer=slice(3, None)).min() > 0.99
    assert then.probability.sel(layer=5) < 0.2
    assert then.probability.sel(layer=[0, 1, 2]).min() > 0.99
    assert straight.probability[0] > 0.99


def test_windows_are_centred_and_clipped():
    result = cut("visual", "last", window=3)
    assert result.blocked[0] == (0, 1)
    assert result.blocked[3] == (2, 3, 4)
    assert result.blocked[5] == (4, 5)
    assert cut("visual", "last", window=4, layers=[2, 3]).blocked == ((0, 1, 2, 3), (1, 2, 3, 4))
    some = cut("visual", "last", window=None, layers=[4, 1])
    assert some.blocked == ((1, 4),)
    assert some.probability.sizes == {"layer": 1}


def test_numbers_belong_together():
    result = cut("visual", "constraint")
    assert np.allclose(result.change, result.probability - result.before)
    assert np.allclose(result.relative, 100 * result.change / result.before)
    table = result.to_dataframe()
    assert table["layer"].tolist() == list(range(6))
    assert table["says"].tolist() == [first[0][0] for first in result.top]
    assert (table["says_probability"] >= table["probability"] - 1e-7).all()
    again = pickle.loads(pickle.dumps(result))
    assert again.probability.equals(result.probability)


def test_another_token_can_be_followed():
    own = cut("visual", "last")
    other = int(np.argsort(own.answer.probabilities)[-2])
    result = cut("visual", "last", answer=other)
    assert result.before == pytest.approx(own.answer.probabilities[other])
    assert result.answer_token == random_vlm().tokenizer.decode([other])
    assert not np.allclose(result.probability, own.probability)


def test_no_window_is_the_same_as_the_widest():
    """A window of all layers around the middle one, and all layers at once."""
    assert float(cut("visual", "last", window=6, layers=3).probability[0]) == pytest.approx(
        float(cut("visual", "last", window=None).probability[0]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("ends", "options", "message"),
    [
        (("image", "last"), {}, "source='image' names no tokens; expected one of"),
        (("visual", 4000), {}, "target=4000 lies outside the sequence"),
        (("last", "constraint"), {}, "source='last' comes after target='constraint'"),
        (("visual", "last"), {"window": 0}, "window=0 is no number of layers; expected 1 to 6"),
        (("visual", "last"), {"window": 7}, "window=7 is no number"),
        (("visual", "last"), {"layers": 9}, "layers=9 names no layers"),
        (("visual", "last"), {"answer": "Paris"}, "answer='Paris' is no token's id"),
        (("visual", "last"), {"answer": 10**6}, "is no token's id; expected 0 to"),
        (([0, 1, 2], [2, 5]), {}, "has nothing left to look at at layer 0"),
    ],
)
def test_what_cannot_be_blocked_is_refused_in_a_sentence(ends, options, message):
    with pytest.raises(FlowError, match=message):
        cut(*ends, **options)


def test_cross_attention_layers_are_left_alone_and_that_is_said():
    result = mw.attention_knockout(test_mllama.vlm(), test_mllama.question(), "constraint", "last")
    assert "cross-attention layers stayed as they are" in result.warnings[0]
    assert np.abs(result.change.sel(layer=test_mllama.CROSS)).max() < 1e-6
    assert np.abs(result.change.sel(layer=[0, 2, 4])).max() > 1e-4
    with pytest.raises(FlowError, match="there are no visual tokens"):
        mw.attention_knockout(test_mllama.vlm(), test_mllama.question(), "visual", "last")


def test_a_cancelled_knockout_stops_between_passes():
    class Soon:
        left = 2

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled

    with pytest.raises(Cancelled):
        cut("visual", "last", cancel=Soon())
    assert another_thread_gets_the_lock(random_vlm())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_errors_and_interrupts_leave_the_model_as_it_was(monkeypatch, error):
    before = StateOfModel(random_vlm())
    right = cut("visual", "last")

    def fail(*_args):
        raise error("stopped")

    for module, name, run in (
        (knockout, "_block", lambda: cut("visual", "last")),
        (lens._Reader, "_some", lambda: mw.logit_lens(random_vlm(), random_question())),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(error):
                run()
        assert StateOfModel(random_vlm()) == before
        assert another_thread_gets_the_lock(random_vlm())
    assert cut("visual", "last").probability.equals(right.probability)


# -- the lens ------------------------------------------------------------------


def test_a_lens_of_some_positions_and_layers_is_that_of_all():
    vlm, asked = random_vlm(), random_question()
    whole = mw.logit_lens(vlm, asked)
    assert whole.tokens.dims == ("layer", "token", "rank")
    assert whole.tokens.shape == (6, len(whole.rows), 5)
    some = mw.logit_lens(vlm, asked, [-1, 3], layers=[2, 0], k=2)
    assert some.tokens.layer.values.tolist() == [0, 2]
    assert some.tokens.token.values.tolist() == [3, len(whole.rows) - 1]
    assert np.abs(some.probabilities - whole.probabilities).max() < 1e-6  # aligned by their coordinates
    assert mw.logit_lens(vlm, asked, "visual").tokens.sizes["token"] == 16


def test_the_last_layer_says_the_answer():
    lens = mw.logit_lens(*demo(), "last")
    last = int(lens.tokens.token[0])
    assert lens.words(7, last)[0] == pytest.approx((" Paris", lens.answer.probability))
    assert lens.answer_probability.sel(layer=7, token=last) == pytest.approx(lens.answer.probability, abs=1e-5)
    assert lens.answer_probability.sel(layer=0, token=last) < 0.1
    assert lens.answer_token == " Paris"


def test_a_table_has_a_row_for_each_word():
    lens = mw.logit_lens(*demo(), [5, -1], layers=[3, 7], k=2)
    table = lens.to_dataframe()
    assert len(table) == 8
    for row in table.to_dict("records"):
        word = lens.words(row["layer"], row["token"])[row["rank"]]
        assert word == (row["word"], pytest.approx(row["probability"]))
    assert table["kind"].tolist() == ["visual", "visual", "text", "text"] * 2
    assert (table.query("rank == 0 and layer == 7 and kind == 'text'")["answer_probability"] > 0.99).all()


def test_a_vocabulary_has_no_more_words_than_it_has():
    lens = mw.logit_lens(random_vlm(), random_question(), "last", layers=0, k=10**6)
    assert lens.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((4000,), {}, "positions=4000 lies outside"),
        (("image",), {}, "positions='image' names no tokens"),
        ((), {"layers": 6}, "layers=6 names no layers"),
        ((), {"k": 0}, "k=0 is not a count of words"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(arguments, options, message):
    with pytest.raises(FlowError, match=message):
        mw.logit_lens(random_vlm(), random_question(), *arguments, **options)
    lens = mw.logit_lens(random_vlm(), random_question(), "last", layers=2)
    with pytest.raises(FlowError, match="layer=1 was not computed"):
        lens.words(1, -1)


def test_a_model_that_does_more_after_its_last_norm_is_refused():
    """Logits divided by ten, as some models scale them: the lens would be too sure of everything."""
    vlm = tiny_llava.llava("llama")

    class Scaled(type(vlm.model)):
        def forward(self, *args, **options):
            given = super().forward(*args, **options)
            given.logits = given.logits / 10
            return given

    vlm.model.__class__ = Scaled
    with torch.no_grad(), pytest.raises(FlowError, match="does more between them than this package knows"):
        mw.logit_lens(vlm, tiny_llava.question())

"""Sweeps over lambda and over layers, against one edit at a time."""

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.editing.rank_one import target_tokens
from mllm_widgets.errors import EditError
from mllm_widgets.jobs import Cancelled, CancelToken

from .families.tiny import TINY, tiny


@pytest.fixture(scope="module")
def edit(vlm, question):
    return mw.multedit(vlm, question, "Rome Italy", layer=1, steps=10)


@torch.no_grad()
def alone(vlm, question, ids):
    """log P at each of the target's tokens, by the model as it is."""
    inputs = vlm.family.answered(vlm.encode(question).inputs, list(ids[:-1]))
    return vlm.model(**inputs).logits[0, -len(ids) :].float().log_softmax(-1)


def test_each_row_of_a_lambda_sweep_is_the_edit_at_that_lambda(vlm, question, edit):
    other = mw.datasets.demo_question("Taj Mahal", "country")
    sweep = mw.lambda_sweep(edit, [question, other])
    assert sweep.lams.shape == (33,)
    for i, asked in enumerate((question, other)):
        plain = alone(vlm, asked, edit.target_ids)
        own = int(plain[0].argmax())
        for j in (0, 11, 16, 20, 32):
            edit.lam = float(sweep.lams[j])
            with edit:
                log = alone(vlm, asked, edit.target_ids)
            said = log[range(len(log)), list(edit.target_ids)].sum().exp()
            assert float(sweep.target[i, j]) == pytest.approx(float(said), abs=1e-5)
            assert float(sweep.kept[i, j]) == pytest.approx(float(log[0, own].exp()), abs=1e-5)
            assert float(sweep.kl[i, j]) == pytest.approx(float((plain[0].exp() * (plain[0] - log[0])).sum()), abs=1e-4)
            assert bool(sweep.agrees[i, j]) is (int(log[0].argmax()) == own)
            assert str(sweep.says[i, j].item()) == vlm.tokenizer.decode([int(log[0].argmax())])
            assert sweep.strength[j] == pytest.approx(edit.strength)
    edit.lam = 0.01


@pytest.mark.parametrize(("family", "decoder"), list(TINY))
def test_a_sweep_is_right_in_every_family(family, decoder):
    vlm, question = tiny(family, decoder)
    edit = mw.multedit(vlm, question, "a", 0, steps=3, tokens="first")
    square = float(edit.key.square().sum())
    sweep = mw.lambda_sweep(edit, lams=[0.0, square, 100 * square], target="a")
    ids = target_tokens(vlm, vlm.encode(question), "a", "all")
    for j, lam in enumerate(sweep.lams):
        edit.lam = float(lam)
        with edit:
            log = alone(vlm, question, ids)
        assert float(sweep.target[0, j]) == pytest.approx(
            float(log[range(len(ids)), ids].sum().exp()), rel=1e-3, abs=1e-7
        )


def test_a_sweep_leaves_what_is_applied_and_does_not_count_it(vlm, question, edit):
    free = mw.lambda_sweep(edit, lams=[0.01, 10.0])
    with edit:
        state = vlm.state
        held = mw.lambda_sweep(edit, lams=[0.01, 10.0])
        assert vlm.state == state
    np.testing.assert_array_equal(free.target, held.target)


def test_several_edits_sweep_together(vlm, question, edit):
    other = mw.multedit(vlm, mw.datasets.demo_question("Taj Mahal"), "Rome", 1, steps=10)
    both = edit + other
    sweep = mw.lambda_sweep(both, lams=[0.3, 30.0])
    edit.lam = other.lam = 30.0
    with both:
        log = alone(vlm, question, edit.target_ids)
    edit.lam = other.lam = 0.01
    assert float(sweep.target[0, 1]) == pytest.approx(
        float(log[range(len(log)), list(edit.target_ids)].sum().exp()), abs=1e-5
    )


def test_where_memory_runs_out_a_sweep_goes_on_with_fewer_rows(vlm, question, edit, monkeypatch):
    from mllm_widgets.editing import sweeps

    whole, real, sizes = mw.lambda_sweep(edit), sweeps.run_batch, []

    def limited(vlm, continuation, embeds):
        sizes.append(len(embeds))
        if len(embeds) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(vlm, continuation, embeds)

    monkeypatch.setattr(sweeps, "run_batch", limited)
    np.testing.assert_allclose(mw.lambda_sweep(edit).target, whole.target, atol=1e-5)
    assert sizes[:3] == [33, 16, 8]


def test_the_table_of_a_sweep_has_a_row_for_each_question_and_lambda(vlm, question, edit):
    table = mw.lambda_sweep(edit, [question, question], lams=[0.01, 1.0, 5.0]).to_dataframe()
    assert len(table) == 6
    assert list(table.columns) == ["question", "text", "lam", "target", "kept", "agrees", "kl", "says"]


def test_a_layer_sweep_is_multedit_in_each_layer(vlm, question):
    seen = []
    sweep = mw.layer_sweep(vlm, question, "Rome", [1, 7], steps=8, on_edit=lambda e, p: seen.append((e.layer, p)))
    for layer in (1, 7):
        edit = mw.multedit(vlm, question, "Rome", layer, steps=8)
        assert sweep.edits[layer].losses == pytest.approx(edit.losses, abs=1e-4)
        assert float(sweep.reached.sel(layer=layer)) == pytest.approx(edit.reached, abs=1e-4)
        with edit:
            assert float(sweep.efficacy.sel(layer=layer)) == pytest.approx(
                float(mw.ask(vlm, question).probabilities[edit.target_ids[0]]), abs=1e-4
            )
    assert [layer for layer, _ in seen] == [1, 7]
    assert sweep.best == 1
    assert sweep.before < 0.1
    assert list(sweep.to_dataframe().layer) == [1, 7]
    assert vlm.side_terms.active == ()


def test_a_cancelled_sweep_stops(vlm, question, edit):
    token = CancelToken()
    with pytest.raises(Cancelled):
        mw.lambda_sweep(edit, [question] * 3, lams=[0.1, 1.0], progress=lambda *_: token.cancel(), cancel=token)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lams": [1.0, 0.1]}, "not ascending"),
        ({"lams": []}, "not ascending"),
        ({"lams": [-1.0, 0.1]}, "lam=-1.0"),
        ({"questions": ["which?"]}, "holds a str"),
        ({"target": ""}, "adds no token"),
        ({"edit": 5}, "edits is a int"),
    ],
)
def test_what_cannot_be_swept_is_said_in_a_sentence(edit, arguments, said):
    with pytest.raises(EditError, match=said):
        mw.lambda_sweep(**{"edit": edit, **arguments})


def test_no_layers_is_an_error(vlm, question):
    with pytest.raises(EditError, match="names no layer"):
        mw.layer_sweep(vlm, question, "Rome", [])


def test_a_value_is_searched_beside_an_edit_that_a_sweep_put_back(vlm, question, edit):
    with edit:
        mw.lambda_sweep(edit, [question], [0.01])
        other = mw.multedit(vlm, question, "Berlin", layer=0, steps=1)  # gradients go through the edit of layer 1
    assert len(other.losses) == 2

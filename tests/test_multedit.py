"""MultEdit against plain PyTorch: a hook that puts the value in place, a dense solve in float64, and a weight that is really changed."""

import contextlib
import threading

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.editing.edit import Edits
from mllm_widgets.errors import EditError, MllmWidgetsError, TraceError
from mllm_widgets.jobs import Cancelled, CancelToken

from .families.tiny import TINY, tiny


@pytest.fixture(scope="module")
def edit(vlm, question):
    return mw.multedit(vlm, question, "Rome", layer=2)


@pytest.fixture(autouse=True)
def unedited(request):
    yield
    if "vlm" in request.fixturenames:
        assert request.getfixturevalue("vlm").side_terms.active == ()


@torch.no_grad()
def logits_of(vlm, question):
    return vlm.model(**vlm.encode(question).inputs).logits


@torch.no_grad()
def dense(weight, edits):
    """W* of the normal equations, in float64: (Z D^-1 K^T + W') (K D^-1 K^T + I)^-1, D the lambdas."""
    weight = weight.double()
    keys = torch.stack([e.key for e in edits], 1).double()
    values = weight @ keys + torch.stack([e.residual for e in edits], 1).double()
    weighed = keys / torch.tensor([e.lam for e in edits], dtype=torch.float64)
    return (weight + values @ weighed.T) @ torch.linalg.inv(
        keys @ weighed.T + torch.eye(len(keys), dtype=torch.float64)
    )


def weight_of(vlm, layer):
    module = vlm.projection(layer)
    return module.weight.detach().T if type(module).__name__ == "Conv1D" else module.weight.detach()


@contextlib.contextmanager
def weights_changed(vlm, change):
    """The weights themselves changed, as nobody in the package does it."""
    kept = {site: vlm.model.get_submodule(site).weight.data.clone() for site in change}
    try:
        for site, delta in change.items():
            module = vlm.model.get_submodule(site)
            module.weight.data += delta.T if type(module).__name__ == "Conv1D" else delta
        yield
    finally:
        for site, weight in kept.items():
            vlm.model.get_submodule(site).weight.data.copy_(weight)


def test_an_edit_makes_the_model_say_the_target_and_taking_it_back_leaves_every_bit_as_it_was(vlm, question, edit):
    before = logits_of(vlm, question)
    with edit:
        assert mw.ask(vlm, question).text == "Rome"
        assert not torch.equal(logits_of(vlm, question), before)
    assert torch.equal(logits_of(vlm, question), before)
    assert mw.ask(vlm, question).text == "Paris"


def test_the_key_is_what_the_projection_is_given_at_the_last_constraint_token(vlm, question, edit):
    seen = {}
    handle = vlm.projection(2).register_forward_hook(lambda _m, args, out: seen.update(key=args[0][0], value=out[0]))
    logits_of(vlm, question)
    handle.remove()
    last = vlm.encode(question).constraint[-1]
    assert edit.position == last
    torch.testing.assert_close(edit.key, seen["key"][last], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(edit.before, seen["value"][last], rtol=1e-5, atol=1e-5)


def test_the_value_put_in_place_by_a_plain_hook_gives_what_the_edit_says(vlm, question, edit):
    def put(_module, _args, output):
        output[0, edit.position] = edit.value
        return output

    handle = vlm.projection(2).register_forward_hook(put)
    found = logits_of(vlm, question)[0, -1].softmax(-1)[edit.target_ids[0]]
    handle.remove()
    assert float(found) == pytest.approx(edit.reached, abs=1e-5)
    assert edit.reached >= 0.99


def test_the_search_is_adam_on_the_target_s_loss_as_plain_hooks_do_it(vlm, question):
    """Options included: weight decay, clamp, KL; three tokens of target."""
    edit = mw.multedit(vlm, question, "Rome Italy", 1, steps=6, lr=0.2, weight_decay=0.3, clamp=0.9, kl=0.5)
    ids = list(edit.target_ids)
    assert len(ids) > 1
    inputs = vlm.family.answered(vlm.encode(question).inputs, ids[:-1])
    essence = mw.Question(question.image, "this building is a", constraint="this building")
    size = float(edit.before.norm())
    delta = torch.zeros(len(edit.before), requires_grad=True)
    adam = torch.optim.Adam([delta], lr=0.2 * size / len(delta) ** 0.5)

    def run(inputs, at):
        def move(_module, _args, output):
            moved = output.clone()
            moved[0, at] = moved[0, at] + delta
            return moved

        handle = vlm.projection(1).register_forward_hook(move)
        logits = vlm.model(**inputs).logits[0]
        handle.remove()
        return logits.log_softmax(-1)

    kept, losses = None, []
    for _ in range(7):
        said = run(inputs, edit.position)[-len(ids) :].gather(-1, torch.tensor(ids)[:, None]).sum()
        other = vlm.encode(essence)
        now = run(other.inputs, other.constraint[-1])[-1]
        kept = now.detach() if kept is None else kept
        loss = -said + 0.3 * delta.square().sum() / size**2 + 0.5 * (kept.exp() * (kept - now)).sum()
        losses.append(loss.item())
        (delta.grad,) = torch.autograd.grad(loss, [delta])
        adam.step()
        with torch.no_grad():
            delta *= min(1.0, 0.9 * size / float(delta.norm()))
    assert edit.losses == pytest.approx(losses, rel=1e-3, abs=1e-4)
    assert float((edit.value - edit.before).norm()) <= 0.9 * size * 1.0001


def test_the_rank_one_form_is_the_dense_solve_of_the_normal_equations(vlm, edit):
    (change,) = edit.change().values()
    weight = weight_of(vlm, 2).double()
    expected = dense(weight, [edit])
    assert float((weight + change - expected).norm() / expected.norm()) <= 1e-6
    assert float((change - (expected - weight)).norm() / change.norm()) <= 1e-6


def test_edits_of_one_layer_are_solved_together_whatever_the_order(vlm, question, edit):
    other = mw.multedit(vlm, mw.datasets.demo_question("Taj Mahal"), "Rome", layer=2, lam=3.0)
    both = edit + other
    expected = dense(weight_of(vlm, 2), both) - weight_of(vlm, 2).double()
    (change,) = both.change().values()
    assert float((change - expected).norm() / expected.norm()) <= 1e-6
    assert float((change - sum(e.change()[e.site] for e in both)).norm()) > 1e-3, "the two keys do not overlap"
    other.apply()
    with both:
        together = logits_of(vlm, question)
    assert other.applied is False
    edit.apply()
    other.apply()
    torch.testing.assert_close(logits_of(vlm, question), together, rtol=1e-5, atol=1e-5)
    other.revert()
    one = logits_of(vlm, question)
    edit.revert()
    with edit:
        assert torch.equal(logits_of(vlm, question), one)


def test_a_value_searched_beside_other_edits_counts_from_the_weight_itself(vlm, question, edit):
    other = mw.datasets.demo_question("Eiffel Tower", constraint="this place", seed=3)
    both = mw.multedit(vlm, other, "Berlin", layer=2, lam=0.0, edits=[edit])
    assert isinstance(both, Edits)
    assert both.edits[0] is edit
    with both:
        assert mw.ask(vlm, other).text == "Berlin"
        assert mw.ask(vlm, question).text == "Rome"


@pytest.mark.parametrize(("family", "decoder"), list(TINY))
def test_in_every_family_the_side_term_is_what_changed_weights_are(family, decoder):
    vlm, question = tiny(family, decoder)
    last = len(vlm.layers) - 1
    target = vlm.tokenizer.decode([int(logits_of(vlm, question)[0, -1].argsort()[-2])]).strip() or "a"
    layer = max(0, last - 1)
    edit = mw.multedit(vlm, question, target, layer, lam=0.5, steps=4, tokens="first")
    assert edit.losses[-1] < edit.losses[0]
    before = logits_of(vlm, question)
    with edit:
        held = logits_of(vlm, question)
    assert torch.equal(logits_of(vlm, question), before)
    with weights_changed(vlm, edit.change()):
        changed = logits_of(vlm, question)
    assert float((held - before).abs().max()) > 1e-4
    assert float((held - changed).abs().max()) <= 1e-5 * max(1.0, float(changed.abs().max()))


def test_every_way_to_run_the_model_sees_the_edit(vlm, question, edit):
    """Passes that enter late, packed sequences, stored prefixes, nnsight and generate: as with the weight itself changed."""

    def all_of():
        trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", window=3)
        with vlm.running(), vlm.nnsight.trace(**vlm.encode(question).inputs):
            read = vlm.nnsight.output.logits[0, -1].save()
        lens = mw.logit_lens(vlm, question, "last")
        return trace.restored.values, read, mw.ask(vlm, question).probabilities, lens.probabilities.values

    with edit:
        held = all_of()
    with weights_changed(vlm, edit.change()):
        changed = all_of()
    for one, other in zip(held, changed, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-4, atol=1e-5, equal_nan=True)


def test_lambda_takes_effect_at_once_and_means_what_the_formula_says(vlm, question, edit):
    square = float(edit.key.square().sum())
    with edit:
        strong = mw.ask(vlm, question).probability
        edit.lam = square
        half = logits_of(vlm, question)
        assert edit.strength == pytest.approx(0.5)
        edit.lam = 1e9
        assert mw.ask(vlm, question).text == "Paris"
        edit.lam = 0.01
        assert mw.ask(vlm, question).probability == pytest.approx(strong)
    expected = torch.outer(edit.residual, edit.key) / (2 * square)
    with weights_changed(vlm, {edit.site: expected}):
        torch.testing.assert_close(half, logits_of(vlm, question), rtol=1e-4, atol=1e-4)


def test_the_model_s_state_tells_edited_from_original_and_one_lambda_from_another(vlm, edit):
    original = vlm.state
    with edit:
        one = vlm.state
        edit.lam = 0.5
        two = vlm.state
        edit.lam = 0.01
        assert vlm.state == one
    assert len({original, one, two}) == 3
    assert vlm.state == original


def test_a_trace_prepared_before_an_edit_does_not_go_on_with_another_model(vlm, question, edit):
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    before = mw.tracing.run_trace(setup, modules=("mlp",))
    with edit, pytest.raises(TraceError, match="trace again"):
        mw.tracing.run_trace(setup, modules=("mlp",))
    assert np.array_equal(mw.tracing.run_trace(setup, modules=("mlp",)).restored, before.restored, equal_nan=True)


def test_without_a_layer_the_causal_one_is_taken_and_the_edit_says_why(vlm, question):
    edit = mw.multedit(vlm, question, "Rome")
    assert edit.layer in (1, 2)
    assert edit.reason.startswith(f"layer {edit.layer}: restoring its MLP")


def test_a_layer_that_cannot_bring_the_target_is_said_to(vlm, question):
    late = mw.multedit(vlm, question, "Rome", layer=7, steps=3)
    assert late.reached < 0.1
    assert "not sufficient" in late.warnings[0]


def test_a_large_lambda_is_said_to_swallow_the_edit(vlm, question):
    assert "is large beside" in mw.multedit(vlm, question, "Rome", 2, lam=1e6).warnings[-1]


def test_first_token_only_searches_for_the_first(vlm, question):
    assert len(mw.multedit(vlm, question, "Rome Italy", 2, tokens="first", steps=1).target_ids) == 1


def test_progress_is_told_after_every_step(vlm, question):
    steps = []
    edit = mw.multedit(vlm, question, "Rome", 2, steps=4, stop=1.0, progress=steps.append)
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    assert tuple(step.loss for step in steps) == edit.losses


@pytest.mark.parametrize("how", [KeyboardInterrupt, Cancelled, torch.OutOfMemoryError])
def test_what_stops_the_search_leaves_the_model_as_it_was(vlm, question, how):
    before, flags = logits_of(vlm, question), [p.requires_grad for p in vlm.model.parameters()]
    vlm.model.train()

    def stop(step):
        if step.step == 2:
            raise how("enough")

    try:
        with pytest.raises(how):
            mw.multedit(vlm, question, "Rome", 2, progress=stop)
        assert all(module.training for module in vlm.model.modules())
    finally:
        vlm.model.eval()
    assert [p.requires_grad for p in vlm.model.parameters()] == flags
    assert all(p.grad is None for p in vlm.model.parameters())
    assert torch.equal(logits_of(vlm, question), before)
    assert not vlm.projection(2)._forward_hooks or not any(
        "_Sum" in type(h).__name__ for h in vlm.projection(2)._forward_hooks.values()
    )


def test_a_cancelled_search_stops_before_its_next_step(vlm, question):
    token = CancelToken()
    with pytest.raises(Cancelled):
        mw.multedit(vlm, question, "Rome", 2, cancel=token, progress=lambda _: token.cancel())


def test_an_error_inside_the_block_takes_the_edit_back(vlm, question, edit):
    before = logits_of(vlm, question)
    with pytest.raises(ZeroDivisionError), edit:
        raise ZeroDivisionError
    assert torch.equal(logits_of(vlm, question), before)


def test_only_holds_the_model_and_gives_back_what_applied(vlm, question, edit):
    before = logits_of(vlm, question)
    with edit:
        applied = logits_of(vlm, question)
        with vlm.side_terms.only(()):
            assert torch.equal(logits_of(vlm, question), before)
            seen = []
            other = threading.Thread(target=lambda: seen.append(mw.ask(vlm, question).text))
            other.start()
            other.join(0.3)
            assert not seen, "another thread saw the model while it was held"
        other.join()
        assert seen == ["Rome"]
        assert torch.equal(logits_of(vlm, question), applied)


def test_two_outputs_for_one_key_with_no_lambda_are_refused_and_nothing_changes(vlm, question, edit):
    twin = mw.multedit(vlm, question, "Berlin", 2, lam=0.0)
    was, edit.lam = edit.lam, 0.0
    try:
        with edit:
            applied = logits_of(vlm, question)
            with pytest.raises(EditError, match="the same"):
                twin.apply()
            assert vlm.side_terms.active == edit.terms
            assert torch.equal(logits_of(vlm, question), applied)
    finally:
        edit.lam = was


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": ""}, "adds no token"),
        ({"target": "   "}, "adds no token"),
        ({"target": None}, "is no text"),
        ({"target": "Paris"}, "answers already"),
        ({"lam": -0.1}, "lam=-0.1"),
        ({"lam": float("nan")}, "lam=nan"),
        ({"lam": "0.1"}, "lam='0.1'"),
        ({"layer": 8}, "expected 0 to 7"),
        ({"layer": -1}, "expected 0 to 7"),
        ({"layer": True}, "layer=True"),
        ({"steps": 0}, "steps=0"),
        ({"lr": 0}, "lr=0"),
        ({"clamp": -1}, "clamp=-1"),
        ({"stop": 1.5}, "at most 1"),
        ({"kl": "x"}, "kl='x'"),
        ({"tokens": "some"}, "tokens='some'"),
        ({"edits": 3}, "edits is a int"),
        ({"vlm": "demo"}, "vlm is a str"),
        ({"question": "which?"}, "question is a str"),
    ],
)
def test_what_cannot_be_edited_is_said_in_a_sentence(vlm, question, change, said):
    with pytest.raises(EditError, match=said):
        mw.multedit(**{"vlm": vlm, "question": question, "target": "Rome", "layer": 2, **change})


def test_a_question_without_constraint_is_refused(vlm, question):
    with pytest.raises(EditError, match="no constraint"):
        mw.multedit(vlm, mw.Question(question.image, question.text), "Rome")


def test_a_negative_lambda_set_later_is_refused_and_the_old_one_stays(edit):
    with pytest.raises(EditError, match="lam=-1"):
        edit.lam = -1
    assert edit.lam == 0.01


def test_edits_of_two_models_are_not_composed(edit):
    other, question = tiny("LLaVA-1.5", "Llama")
    stranger = mw.multedit(other, question, "a", 0, steps=1)
    with pytest.raises(MllmWidgetsError, match="different models"):
        Edits([edit, stranger])

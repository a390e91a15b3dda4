"""Fine-tuning, LoRA and ROME held beside the model, against plain PyTorch on a copy whose weight is really trained or replaced."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.editing import Case, edit_many, fine_tune, key_covariance, lora, rome
from mllm_widgets.errors import EditError
from mllm_widgets.jobs import Cancelled, CancelToken
from mllm_widgets.vlm.side_terms import FixedTerm

from .families.tiny import tiny
from .test_multedit import logits_of, weights_changed

TARGET = "New York"
TRAINED = {"layer": 2, "steps": 8, "lr": 2e-3}


@pytest.fixture(scope="module")
def covariance(vlm):
    return key_covariance(vlm, mw.datasets.demo(6), layer=2)


@pytest.fixture(scope="module")
def width(covariance):
    """d_ff."""
    return len(covariance.matrix)


@pytest.fixture(autouse=True)
def untouched(vlm, request):
    """No weight, flag, gradient, hook or term of the model is other than before, whatever a test did."""
    bits = {name: value.clone() for name, value in vlm.model.state_dict().items()}
    flags = [p.requires_grad for p in vlm.model.parameters()]
    yield
    assert all(torch.equal(value, bits[name]) for name, value in vlm.model.state_dict().items())
    assert [p.requires_grad for p in vlm.model.parameters()] == flags
    assert all(p.grad is None for p in vlm.model.parameters())
    assert vlm.side_terms.active == ()
    assert not any(type(hook).__name__ == "_Sum" for hook in vlm.projection(2)._forward_hooks.values())


def moved(edit):
    """The key, and what the projection should give more there, in float64."""
    return edit.key.double(), (edit.value - edit.before).double()


def answered(vlm, question, ids):
    inputs = dict(vlm.encode(question).inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([ids[:-1]], dtype=torch.long)], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def really_trained(vlm, question, edit, steps, lr, parts=None, box=None):
    """(losses, change of the weight) of plain fine-tuning: a copy of the model, its weight a parameter that Adam moves."""
    model = copy.deepcopy(vlm.model).requires_grad_(False)
    module = model.get_submodule(edit.site)
    start = module.weight.detach().clone()
    ids = list(edit.target_ids)
    inputs = answered(vlm, question, ids)
    if parts is None:
        module.weight.requires_grad_(True)
        moving = [module.weight]
    else:
        moving = [part.clone().requires_grad_(True) for part in parts]
        module.register_forward_hook(lambda _m, args, output: output + args[0] @ moving[1].T @ moving[0].T)
    adam = torch.optim.Adam(moving, lr=lr)
    losses = []
    for step in range(steps + 1):
        logs = model(**inputs).logits[0, -len(ids) :].log_softmax(-1)
        loss = -logs[range(len(ids)), ids].sum()
        losses.append(loss.item())
        if step < steps:
            adam.zero_grad()
            loss.backward()
            adam.step()
            if box is not None:
                with torch.no_grad():
                    module.weight.copy_(start + (module.weight - start).clamp(-box, box))
    change = module.weight.detach() - start if parts is None else (moving[0] @ moving[1]).detach()
    return losses, change


@pytest.mark.parametrize("box", [None, 0.004])
def test_fine_tuning_beside_the_weight_is_fine_tuning_of_the_weight(vlm, question, box):
    edit = fine_tune(vlm, question, TARGET, stop=1.0, box=box, **TRAINED)
    assert len(edit.target_ids) > 1
    losses, change = really_trained(vlm, question, edit, 8, 2e-3, box=box)
    assert edit.losses == pytest.approx(losses, abs=1e-4)
    assert edit.losses[-1] < edit.losses[0] - 1
    own = edit.change()[edit.site]
    assert float((own - change).norm() / change.norm()) <= 1e-3
    with edit:
        held = logits_of(vlm, question)
    with weights_changed(vlm, {edit.site: change}):
        assert float((held - logits_of(vlm, question)).abs().max()) <= 1e-4 * float(held.abs().max())


def test_a_low_rank_change_is_trained_as_plain_pytorch_trains_it(vlm, question, width):
    edit = lora(vlm, question, TARGET, rank=3, stop=1.0, seed=4, **TRAINED)
    untrained = lora(vlm, question, TARGET, rank=3, stop=1e-30, seed=4, **TRAINED).factors()[edit.site]
    assert float(untrained[0].abs().max()) == 0.0
    assert 0.9 < float(untrained[1].abs().max()) * width**0.5 <= 1
    losses, change = really_trained(vlm, question, edit, 8, 2e-3, parts=untrained)
    assert edit.losses == pytest.approx(losses, abs=1e-4)
    own = edit.change()[edit.site]
    assert float((own - change).norm() / change.norm()) <= 1e-3
    assert int(torch.linalg.matrix_rank(own)) == 3


def test_the_box_bounds_every_entry_and_some_reach_it(vlm, question):
    free = fine_tune(vlm, question, TARGET, stop=1.0, **TRAINED)
    boxed = fine_tune(vlm, question, TARGET, stop=1.0, box=0.004, **TRAINED)
    assert (free.method, boxed.method) == ("fine-tuning", "constrained fine-tuning")
    largest = boxed.change()[boxed.site].abs().max()
    assert float(largest) == pytest.approx(0.004)
    assert float(free.change()[free.site].abs().max()) > 0.006
    assert boxed.probabilities[-1] < free.probabilities[-1]


def test_rome_with_keys_of_no_preference_is_multedit_without_lambda(vlm, question, width):
    edit = mw.multedit(vlm, question, "Rome", 2, lam=0.0, steps=6)
    same = rome(vlm, question, "Rome", 2, covariance=torch.eye(width), steps=6)
    expected = edit.change()[edit.site]
    assert float((same.change()[same.site] - expected).norm() / expected.norm()) <= 1e-5
    assert same.method == "rome"
    with edit:
        held = logits_of(vlm, question)
    with same:
        torch.testing.assert_close(logits_of(vlm, question), held, rtol=1e-5, atol=1e-4)


def test_rome_gives_the_value_at_the_key_and_disturbs_the_other_keys_least(vlm, question, covariance):
    edit = rome(vlm, question, "Rome", 2, covariance=covariance, steps=6)
    change = edit.change()[edit.site].double()
    moment, (key, more) = covariance.matrix.double(), moved(edit)
    torch.testing.assert_close(change @ key, more, rtol=1e-4, atol=1e-4)
    inverse = torch.linalg.inv(moment)
    expected = torch.outer(more, inverse @ key) / (key @ inverse @ key)
    assert float((change - expected).norm() / expected.norm()) <= 1e-5

    def disturbance(other):
        return float(torch.trace(other @ moment @ other.T))

    plain = torch.outer(more, key) / (key @ key)
    torch.testing.assert_close(plain @ key, change @ key, rtol=1e-4, atol=1e-4)
    assert disturbance(change) < disturbance(plain)


@pytest.mark.parametrize("positions", ["text", "all"])
def test_the_covariance_is_the_second_moment_of_what_the_projection_is_given(vlm, question, width, positions):
    asked = [question, mw.datasets.demo_question("Big Ben", "country")]
    edit = mw.multedit(vlm, question, "Rome", 1, steps=3)
    seen = []
    handle = vlm.projection(2).register_forward_hook(lambda _m, args, _o: seen.append(args[0][0]))
    for each in asked:
        logits_of(vlm, each)
    handle.remove()
    keys = torch.cat(
        [k if positions == "all" else k[~vlm.encode(q).visual] for k, q in zip(seen, asked, strict=True)]
    ).double()
    moment = keys.T @ keys / len(keys)
    with edit:  # in a lower layer: it would change the keys
        found = key_covariance(vlm, asked, 2, positions=positions, ridge=0.5)
        assert vlm.side_terms.active == edit.terms
    expected = moment + 0.5 * moment.diagonal().mean() * torch.eye(width)
    torch.testing.assert_close(found.matrix.double(), expected, rtol=1e-4, atol=1e-5)
    assert (found.keys, found.layer) == (len(keys), 2)
    bare = key_covariance(vlm, asked, 2, positions=positions, ridge=0)
    torch.testing.assert_close(bare.matrix.double(), moment, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "decoder"),
    [("GPT-2", "no picture"), ("LLaVA-1.5", "Phi"), ("Qwen2-VL", "Qwen2"), ("Mllama (Llama 3.2 Vision)", "Llama")],
)
def test_in_other_families_the_change_is_what_a_changed_weight_is(family, decoder):
    other, asked = tiny(family, decoder)
    target = other.tokenizer.decode([int(logits_of(other, asked)[0, -1].argsort()[-2])]).strip() or "a"
    layer = max(0, len(other.layers) - 2)
    options = {"tokens": "first", "steps": 3, "lr": 1e-2, "stop": 1.0}
    for edit in (
        fine_tune(other, asked, target, layer, **options),
        lora(other, asked, target, layer, rank=2, **options),
        rome(other, asked, target, covariance=key_covariance(other, [asked], layer), tokens="first", steps=3, stop=1.0),
    ):
        assert edit.losses[-1] < edit.losses[0], edit.method
        before = logits_of(other, asked)
        with edit:
            held = logits_of(other, asked)
        assert torch.equal(logits_of(other, asked), before)
        with weights_changed(other, edit.change()):
            changed = logits_of(other, asked)
        assert float((held - before).abs().max()) > 1e-4, edit.method
        assert float((held - changed).abs().max()) <= 1e-5 * max(1.0, float(changed.abs().max())), edit.method


def test_what_is_trained_says_the_target_as_reached_says(vlm, question):
    for edit in (
        fine_tune(vlm, question, "Rome", 2, lr=2e-3),
        lora(vlm, question, "Rome", 2),
    ):
        assert edit.reached >= 0.99
        assert edit.warnings == ()
        with edit:
            assert mw.ask(vlm, question).text == "Rome"
            assert mw.ask(vlm, question).probability == pytest.approx(edit.reached, abs=1e-4)
        assert mw.ask(vlm, question).text == "Paris"


def test_what_does_not_reach_the_target_says_so(vlm, question):
    edit = fine_tune(vlm, question, "Rome", 2, steps=1, box=1e-6)
    assert edit.reached < 0.5
    assert "after 1 steps of constrained fine-tuning in layer 2" in edit.warnings[0]


def test_training_is_beside_what_is_applied(vlm, question):
    other = mw.multedit(vlm, question, "Rome", 2, steps=5)
    with other:
        edit = fine_tune(vlm, question, "Berlin", stop=1.0, **TRAINED)
        assert vlm.side_terms.active == other.terms
        chances = [mw.ask(vlm, question).probabilities[edit.target_ids[0]]]
        with edit:
            chances.append(mw.ask(vlm, question).probabilities[edit.target_ids[0]])
    assert len(edit.target_ids) == 1
    assert chances == pytest.approx([edit.probabilities[0], edit.reached], rel=1e-3)
    assert chances[1] > 2 * chances[0]


@pytest.mark.parametrize("method", ["multedit", "rome"])
def test_an_edit_made_beside_a_fixed_change_reaches_what_its_search_did(vlm, question, covariance, method):
    torch.manual_seed(0)
    beside = fine_tune(vlm, question, TARGET, 2, steps=1)
    beside = replace(beside, term=FixedTerm(2, 0.3 * torch.randn(beside.change()[beside.site].shape)))
    with beside:
        made = (
            mw.multedit(vlm, question, "Rome", 2, lam=0.0, steps=7)
            if method == "multedit"
            else rome(vlm, question, "Rome", covariance=covariance, steps=7)
        )
        with made:
            both = logits_of(vlm, question)[0, -1].softmax(-1)[made.target_ids[0]]
    with made:
        alone = logits_of(vlm, question)[0, -1].softmax(-1)[made.target_ids[0]]
    assert float(both) == pytest.approx(made.reached, rel=0.05)  # the change of the weight is felt at other tokens too
    assert float(alone) != pytest.approx(made.reached, rel=0.3)


METHODS = {"fine-tuning": fine_tune, "lora": lora, "multedit": mw.multedit}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_what_stops_training_leaves_the_model_as_it_was(vlm, question, method, how):
    def stop(step):
        if step.step == 1:
            raise how("enough")

    other = mw.multedit(vlm, question, "Rome", 2, steps=1)
    with other:
        with pytest.raises(how):
            METHODS[method](vlm, question, TARGET, layer=2, progress=stop)
        assert vlm.side_terms.active == other.terms


def test_an_error_in_the_middle_of_a_pass_leaves_the_model_as_it_was(vlm, question, monkeypatch):
    from mllm_widgets.editing import baselines

    def fail(*_, **__):
        assert len(vlm.side_terms.active) == 1
        raise RuntimeError("no memory")

    monkeypatch.setattr(baselines, "last_logits", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        fine_tune(vlm, question, TARGET, 2)


def test_training_tells_each_step_and_can_be_cancelled(vlm, question):
    token, told = CancelToken(), []

    def progress(step):
        told.append(step)
        if step.step == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        fine_tune(vlm, question, TARGET, 2, progress=progress, cancel=token)
    assert [step.step for step in told] == [0, 1, 2]
    assert [step.steps for step in told] == [25] * 3
    assert told[2].loss < told[0].loss


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_is_edited_meanwhile_ends_the_search(vlm, question, method):
    other = mw.multedit(vlm, question, "Rome", 2, steps=1)
    try:
        with pytest.raises(EditError, match="was edited during the search"):
            METHODS[method](vlm, question, TARGET, layer=2, progress=lambda _: other.apply())
    finally:
        other.revert()


def test_all_methods_are_measured_alike(vlm, question, covariance):
    cases = [Case(question, "Rome", paraphrases=["Name the city of this building."])]
    methods: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("fine-tuning", fine_tune, {"steps": 2}),
        ("constrained fine-tuning", fine_tune, {"steps": 2, "box": 1e-3}),
        ("lora", lora, {"steps": 2}),
        ("rome", rome, {"steps": 2, "covariance": covariance}),
    )
    for name, method, options in methods:
        table = edit_many(vlm, cases, method, unrelated=[question], layer=2, **options).to_dataframe()
        assert set(table["method"]) == {name}
        assert {"efficacy", "generalization", "specificity", "KL"} <= set(table["measure"])


@pytest.mark.parametrize(
    ("method", "change", "said"),
    [
        ("fine_tune", {"target": ""}, "adds no token"),
        ("fine_tune", {"target": "Paris"}, "answers already"),
        ("fine_tune", {"layer": 8}, "expected 0 to 7"),
        ("fine_tune", {"steps": 0}, "steps=0"),
        ("fine_tune", {"lr": -1}, "lr=-1"),
        ("fine_tune", {"box": 0}, "box=0"),
        ("fine_tune", {"box": "small"}, "box='small'"),
        ("fine_tune", {"lr": 1e37}, "smaller lr than 1e"),
        ("fine_tune", {"vlm": "demo"}, "vlm is a str"),
        ("lora", {"rank": 0}, "rank=0"),
        ("lora", {"rank": 129}, "rank=129"),
        ("lora", {"question": "which?"}, "question is a str"),
        ("rome", {"covariance": None}, "is a NoneType"),
        ("rome", {"covariance": torch.eye(4)}, r"is \(4, 4\)"),
        ("rome", {"covariance": -1}, "not positive definite"),
        ("rome", {"covariance": torch.nan}, "finite numbers"),
        ("rome", {"layer": 1}, "is of layer 2"),
        ("rome", {"target": "Paris"}, "answers already"),
        ("key_covariance", {"questions": []}, "questions is empty"),
        ("key_covariance", {"questions": ["which?"]}, r"questions\[0\] is a str"),
        ("key_covariance", {"questions": "which?"}, "questions is a str"),
        ("key_covariance", {"layer": None}, "layer=None"),
        ("key_covariance", {"positions": "some"}, "positions='some'"),
        ("key_covariance", {"ridge": -1}, "ridge=-1"),
        ("key_covariance", {"vlm": 3}, "vlm is a int"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(vlm, question, covariance, method, change, said):
    given = {"vlm": vlm, "layer": 2}
    if method == "key_covariance":
        given["questions"] = [question]
    else:
        given |= {"question": question, "target": "Rome", "steps": 2}
    if method == "rome":
        given["covariance"] = covariance
    if isinstance(change.get("covariance"), (int, float)):
        change = {"covariance": change["covariance"] * torch.eye(len(covariance.matrix))}
    with pytest.raises(EditError, match=said):
        getattr(mw.editing, method)(**{**given, **change})

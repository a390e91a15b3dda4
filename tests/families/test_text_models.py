"""Language models without pictures: the paper's control, on tiny random models of every class that is listed."""

from __future__ import annotations

import copy
import runpy
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import processors

import mllm_widgets as mw
from mllm_widgets.errors import FlowError, ModelError, QuestionError, TraceError
from mllm_widgets.render import draw_trace
from mllm_widgets.tracing import EmbeddingNoise, RepeatedToken, TokenSwap, prepare_trace, run_trace
from mllm_widgets.vlm.families import FAMILIES, text
from mllm_widgets.vlm.families.base import part
from tests.random_llava import build_processor, build_tokenizer
from tests.reference import SITES, drawn, reference_map

from .judge import TOLERANCE, assert_trace_equals_reference, assert_used_as_it_is, noise
from .tiny_text import MODELS, SLIDING, question, tiny_text

CHAT = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[answer]{% endif %}"
)


@pytest.mark.parametrize("kind", MODELS)
def test_map_equals_the_reference(kind):
    vlm = tiny_text(kind)
    setup = assert_trace_equals_reference(vlm, question())
    assert vlm.family.shares_prefix(vlm.model) is (kind not in SLIDING)
    assert setup.first == setup.encoded.constraint[0] > 0
    assert setup.start == (0 if kind in SLIDING else setup.first)
    assert (setup.continuation.prefix is None) is (kind in SLIDING)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize(
    "corruption",
    [
        TokenSwap("red hammer", positions="text_constraints"),
        RepeatedToken("river"),
        EmbeddingNoise(2.0, draws=2, seed=3),
    ],
    ids=["text constraint", "one token", "noise"],
)
def test_every_corruption_and_the_residual_stream_equal_the_reference(kind, corruption):
    vlm = tiny_text(kind)
    setup = prepare_trace(vlm, question(text_constraints=("built",)), corruption=corruption)
    is_noise = isinstance(corruption, EmbeddingNoise)
    added = drawn(vlm, 2.0, 2, 3, len(setup.changed)) if is_noise else None
    if kind == "gemma2" and added is not None:  # its embedding scales what the matrix holds, by the root of the width
        added = added * vlm.model.config.hidden_size**0.5
    places = [setup.changed[-1], setup.text_positions[-1]]
    restored = run_trace(setup, window=3, modules=SITES).restored.sel(token=places)
    for module in SITES:
        wanted = reference_map(vlm, setup, module, 3, added, places)
        assert np.abs(wanted - setup.corrupted).max() > 1e-3
        assert np.abs(restored.sel(module=module).values - wanted).max() <= TOLERANCE


def test_a_sliding_window_is_short_enough_to_matter():
    whole, sliding = tiny_text("mistral"), tiny_text("mistral, sliding")
    assert all(torch.equal(*pair) for pair in zip(whole.model.parameters(), sliding.model.parameters(), strict=True))
    one, other = (mw.causal_trace(vlm, question(), corruption="Taj Mahal").restored for vlm in (whole, sliding))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_constraint_may_be_the_first_token_of_all(kind):
    """GPT-2's tokenizer adds no first token; then there is no prefix, and nothing comes before."""
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    vlm = mw.load(tiny_text(kind).model, tokenizer, template="{question}")
    asked = question("This old bridge was built in", "This old bridge")
    setup = prepare_trace(vlm, asked, corruption="Taj Mahal")
    assert setup.encoded.constraint[0] == setup.first == setup.start == 0
    restored = run_trace(setup, window=3).restored
    for module in ("mlp", "self_attn"):
        wanted = reference_map(vlm, setup, module, 3)
        assert np.abs(wanted - setup.corrupted).max() > 0.01
        assert np.abs(restored.sel(module=module).values - wanted).max() <= TOLERANCE
    assert all(row.traced for row in mw.causal_trace(vlm, asked, corruption="Taj Mahal").rows)


def test_the_prompt_is_the_papers_without_its_picture():
    encoded = tiny_text("llama").encode(question())
    assert encoded.prompt == "USER: Where was this old bridge built? Answer in a few words.\nASSISTANT:"
    assert list(encoded.input_ids).count(1) == 1
    assert not encoded.visual.any()
    assert "".join(encoded.tokens[p].text for p in encoded.constraint).replace(" ", "") == "thisoldbridge"


@pytest.mark.parametrize("template", ["Q: {question}\nA:", "{image}\nQ: {question}\nA:", "Q: {image}{question}\nA:"])
def test_a_template_of_ones_own_needs_no_place_for_a_picture(template):
    vlm = mw.load(tiny_text("llama").model, build_tokenizer(), template=template)
    assert vlm.encode(question()).prompt == "Q: Where was this old bridge built\nA:"
    assert_trace_equals_reference(vlm, question(), windows=(1,), spread=0.01)


def test_a_chat_template_is_given_words_and_no_list():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT
    encoded = mw.load(tiny_text("llama").model, tokenizer).encode(question())
    assert encoded.prompt == "<s>[user] Where was this old bridge built [answer]"
    assert list(encoded.input_ids).count(1) == 1
    assert "".join(encoded.tokens[p].text for p in encoded.constraint).replace(" ", "") == "thisoldbridge"


def test_token_types_are_left_out():
    """GPT-2 would add an embedding for each."""
    tokenizer = build_tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in tokenizer("a red ball")
    vlm = mw.load(tiny_text("gpt2").model, tokenizer)
    assert set(vlm.encode(question()).inputs) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_answer_is_the_models_own(kind):
    vlm = tiny_text(kind)
    ids = vlm.tokenizer(vlm.encode(question()).prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = vlm.model(input_ids=ids).logits[0, -1].softmax(-1)
    answer = mw.ask(vlm, question(), max_new_tokens=3)
    assert answer.token_id == int(wanted.argmax())
    assert abs(answer.probability - float(wanted.max())) <= TOLERANCE


def test_a_tokenizer_without_padding_answers():
    tokenizer = build_tokenizer()
    tokenizer.pad_token = None
    vlm = mw.load(tiny_text("gpt2").model, tokenizer)
    assert mw.ask(vlm, question(), max_new_tokens=2).token_id == mw.ask(tiny_text("gpt2"), question()).token_id


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_folder_loads_and_its_script_prints_the_cell(kind, tmp_path, capsys):
    given = tiny_text(kind)
    given.model.save_pretrained(tmp_path / "model")
    given.tokenizer.save_pretrained(tmp_path / "model")
    vlm = mw.load(str(tmp_path / "model"), dtype="float32")
    assert type(vlm.model) is type(given.model)
    trace = mw.causal_trace(vlm, question(), corruption="Taj Mahal", window=3, modules=SITES)
    assert (
        np.abs(
            trace.restored
            - mw.causal_trace(given, question(), corruption="Taj Mahal", window=3, modules=SITES).restored
        ).max()
        <= TOLERANCE
    )
    for module in SITES:
        script = tmp_path / f"{module}.py"
        script.write_text(trace.to_code(layer=1, token=trace.constraint[-1], module=module))
        assert "Image" not in script.read_text()
        runpy.run_path(str(script))
        wanted = float(trace.restored.sel(module=module, layer=1, token=trace.constraint[-1]))
        assert abs(float(capsys.readouterr().out.splitlines()[-1]) - wanted) <= TOLERANCE
        assert abs(wanted - trace.corrupted) > 1e-3
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="its weights or its processor cannot be loaded"):
        mw.load(tmp_path / "model")


def test_an_nnsight_model_is_taken_as_it_is():
    from nnsight import TransformersModel

    plain = tiny_text("llama")
    wrapped = TransformersModel(plain.model, task="text-generation", tokenizer=build_tokenizer())
    vlm = mw.load(wrapped)
    assert vlm.nnsight is wrapped
    assert vlm.tokenizer is vlm.processor is wrapped.tokenizer
    ours, theirs = (mw.causal_trace(v, question(), corruption="Taj Mahal").restored for v in (vlm, plain))
    assert np.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt-neox"])
def test_the_model_is_used_as_it_is(kind):
    assert_used_as_it_is(tiny_text(kind), question())


@pytest.mark.parametrize("kind", MODELS)
def test_the_projections_are_where_the_entry_says(kind):
    vlm = tiny_text(kind)
    family, config = vlm.family, vlm.model.config
    attention: Any = vlm.block(1, "self_attn")
    mlp = vlm.block(1, "mlp")
    with torch.no_grad():
        inner = torch.randn(1, 1, part(attention, family.output).weight.numel() // config.hidden_size)
        assert part(attention, family.output)(inner).shape[-1] == config.hidden_size
        assert part(mlp, family.down)(torch.randn(1, 1, 70)).shape[-1] == config.hidden_size
        values = part(attention, family.value)(torch.randn(1, 1, config.hidden_size)).shape[-1]
    heads = getattr(config, "num_key_value_heads", 6)
    fused = "one projection" in family.limits
    assert values == (3 * config.hidden_size if fused else heads * attention.head_dim)


# how each writes a head's values: (positions, inner) -> (positions, heads, head width)
VALUES = {
    "llama": lambda given: given.unflatten(-1, (2, 8)).repeat_interleave(3, dim=1),
    "gpt2": lambda given: given.chunk(3, dim=-1)[2].unflatten(-1, (6, 8)),
    "gpt-neox": lambda given: given.unflatten(-1, (6, 24)).chunk(3, dim=-1)[2],
}


@pytest.mark.parametrize("kind", VALUES)
def test_contributions_are_those_of_eager_maps_and_of_the_values_in_the_entry(kind):
    vlm = tiny_text(kind)
    flow = mw.attention_contributions(vlm, question(), target="last")
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    eager, seen = mw.load(model, vlm.tokenizer), {}
    attention = eager.block(1, "self_attn")
    for name, module in (("map", attention), ("values", part(attention, vlm.family.value))):
        module.register_forward_hook(lambda _m, _i, given, name=name: seen.update({name: given}))
    output: Any = part(attention, vlm.family.output)
    with torch.no_grad():
        model(**vlm.encode(question()).inputs, use_cache=False)
        mixed = seen["map"][1][0, :, -1].T[..., None] * VALUES[kind](seen["values"][0])
        nothing = output(torch.zeros(1, 1, 48))
        wanted = (output(mixed.flatten(1)[None]) - nothing)[0].norm(dim=-1)
    assert wanted.std() > 0.01
    assert np.abs(flow.norms.sel(layer=1).values - wanted.numpy()).max() <= TOLERANCE
    assert flow.image_size is flow.geometry is None


@pytest.mark.parametrize("kind", MODELS)
def test_contributions_sum_to_the_attentions_output(kind):
    """Or they would be refused."""
    flow = mw.attention_contributions(tiny_text(kind), question())
    assert (flow.norms.sel(token=flow.norms.token > flow.targets[-1]) == 0).all()
    assert (flow.norms > 0.1).any()
    with pytest.raises(FlowError, match="no visual tokens in its sequence, so there are no patches"):
        flow.patches(0)


def test_all_are_listed_as_models_without_pictures():
    table = mw.families()
    listed = table[table["pictures"] == "none"]
    mine = {family.name for family in FAMILIES.values() if isinstance(family, text.TextFamily)}
    assert set(listed.index) == mine
    assert {type(tiny_text(kind).model).__name__ for kind in MODELS} == set(", ".join(listed["classes"]).split(", "))
    assert not listed["geometry"].any()


def test_a_heatmap_and_a_picture_have_rows_of_words_only():
    trace = mw.causal_trace(tiny_text("gpt2"), question(), corruption="Taj Mahal")
    heatmap = mw.TraceHeatmap(trace)
    try:
        assert [row["visual"] for row in heatmap.rows] == [False] * len(trace.rows)
        assert [row["column"] for row in heatmap.rows] == list(range(len(trace.rows)))
        assert heatmap.picture().size == draw_trace(trace, "mlp").image().size
        heatmap.window = 3
        assert heatmap.wait(20)
        wanted = mw.causal_trace(tiny_text("gpt2"), question(), corruption="Taj Mahal", window=3).restored
        assert heatmap.trace is not None
        assert np.array_equal(heatmap.trace.restored, wanted)
    finally:
        heatmap.close()


# --- wrong arguments --------------------------------------------------------------------------------------------------------


def test_a_question_with_a_picture_is_refused():
    asked = mw.Question(noise(20, 20), "Where was this old bridge built", constraint="this old bridge")
    for ask in (mw.ask, mw.causal_trace):
        with pytest.raises(
            QuestionError, match=r"has a picture, and LlamaForCausalLM .* expected mw\.Question\(None, text"
        ):
            ask(tiny_text("llama"), asked)


def test_a_language_model_has_no_geometry_and_needs_no_control():
    vlm = tiny_text("llama")
    with pytest.raises(ModelError, match="LlamaForCausalLM is a language model: it reads no picture"):
        vlm.geometry(question())
    with pytest.raises(TraceError, match="every trace of it is text-only"):
        mw.causal_trace(vlm, question(), corruption="Taj Mahal", control="text-only")
    with pytest.raises(FlowError, match="control='blank' asks about another picture, and the question has none"):
        mw.attention_contributions(vlm, question(), control="blank")
    with pytest.raises(TraceError, match="positions='visual' asks for visual tokens, and this prompt"):
        mw.causal_trace(vlm, question(), corruption=EmbeddingNoise(positions="visual"))


def test_a_language_model_in_memory_needs_its_tokenizer():
    model = tiny_text("llama").model
    with pytest.raises(ModelError, match=r"processor is missing; a language model .*AutoTokenizer"):
        mw.load(model)
    with pytest.raises(ModelError, match=r"processor is a LlavaProcessor; a language model .*AutoTokenizer"):
        mw.load(model, build_processor())


def test_a_template_without_the_question_is_refused():
    vlm = mw.load(tiny_text("llama").model, build_tokenizer(), template="{image} Where?")
    with pytest.raises(ModelError, match="is neither a named template"):
        vlm.encode(question())

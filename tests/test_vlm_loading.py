"""What `mw.load` takes and refuses, and what `mw.ask` and `mw.causal_trace` say of wrong arguments."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import ConstraintError, MllmWidgetsError, ModelError, QuestionError, TraceError

from .random_llava import build_model, build_processor, random_question, random_vlm


def encoder():
    """A model that neither takes a picture nor goes on with a text."""
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, hidden_dim=20, n_layers=2, n_heads=2))


def test_a_checkpoint_folder_loads_and_answers_as_its_model_does(tmp_path):
    vlm = random_vlm()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = mw.load(tmp_path, dtype=torch.float32)
    one, other = (mw.ask(each, random_question(), max_new_tokens=2) for each in (vlm, loaded))
    assert one.text == other.text
    assert np.allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert not loaded.model.training
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="its weights or its processor cannot be loaded"):
        mw.load(tmp_path)


def test_an_nnsight_model_is_taken_as_it_is():
    from nnsight import TransformersModel

    processor = build_processor()
    wrapped = TransformersModel(
        build_model(len(processor.tokenizer)),
        task="image-text-to-text",
        tokenizer=processor.tokenizer,
        processor=processor,
        image_processor=processor.image_processor,
    )
    vlm = mw.load(wrapped, processor)
    assert vlm.nnsight is wrapped
    other = random_vlm()
    ours, theirs = (mw.causal_trace(v, random_question(), corruption="Taj Mahal").restored for v in (vlm, other))
    assert np.abs(ours - theirs).max() <= 1e-5


def test_the_dtype_asked_for_is_the_dtype_loaded():
    assert mw.load("demo").model.dtype == torch.float32
    assert mw.load("demo", dtype="bfloat16").model.dtype == torch.bfloat16


def test_weights_split_among_processes_are_refused(tmp_path, monkeypatch):
    vlm = random_vlm()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"tp_plan splits the weights among processes .* expected device_map='auto'"):
        mw.load(tmp_path, tp_plan="auto")
    monkeypatch.setattr(vlm.model, "_tp_size", 2, raising=False)  # what transformers leaves on a model it has split
    with pytest.raises(ModelError, match="model splits the weights among processes"):
        mw.load(vlm.model, vlm.processor)


def test_a_model_that_neither_sees_nor_speaks_is_refused():
    words = "DistilBertModel, which is neither a vision-language model nor a language model"
    for processor in (None, build_processor(), build_processor().tokenizer):
        with pytest.raises(ModelError, match=words):
            mw.load(encoder(), processor)


def test_a_folder_of_a_model_that_neither_sees_nor_speaks_is_refused(tmp_path):
    encoder().config.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match="is a 'distilbert' model, which neither takes a picture nor goes on with a text"
    ):
        mw.load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        mw.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_type"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        mw.load(tmp_path)
    with pytest.raises(ModelError, match="misspelt, or the machine offline"):
        mw.load("no-such-model")


def test_a_model_in_memory_needs_its_processor():
    model = build_model(420)
    with pytest.raises(ModelError, match="processor is missing; a model in memory needs the processor"):
        mw.load(model)
    with pytest.raises(ModelError, match="without a tokenizer"):
        mw.load(model, build_processor().tokenizer)
    with pytest.raises(ModelError, match="dtype cannot be given with a model already in memory"):
        mw.load(model, build_processor(), dtype="float16")


@pytest.mark.parametrize("model", [3, None, object(), {"model": 1}])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ModelError, match=f"model is a {type(model).__name__}; expected a name"):
        mw.load(model)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 0}, "window=0 is outside 1 to 6"),
        ({"window": 99}, "window=99 is outside 1 to 6"),
        ({"window": -1}, "window=-1 is outside 1 to 6"),
        ({"window": True}, "window=True is not a whole number"),
        ({"window": 1.5}, "window=1.5 is not a whole number"),
        ({"window": "3"}, "window='3' is not a whole number"),
        ({"window": None}, "window=None is not a whole number"),
        ({"modules": ("mlp", "heads")}, "unknown: .'heads'"),
        ({"modules": "resid"}, "unknown: .'resid'"),
        ({"modules": ()}, "at least one"),
        ({"modules": ("mlp", "mlp")}, "at most once"),
        ({"batch_size": 0}, "batch_size=0 is not a count"),
        ({"batch_size": "8"}, "batch_size='8' is not a count"),
        ({"batch_size": 2.0}, "batch_size=2.0 is not a count"),
        ({"corruption": ""}, "corruption='' is empty"),
        ({"corruption": 3}, "corruption=3 is no text"),
        ({"corruption": "this old bridge"}, "has the same tokens as the constraint"),
        ({"corruption": " this old bridge "}, "has the same tokens as the constraint"),
        ({"answer": ""}, "answer='' adds no token"),
        ({"answer": "  \n"}, "adds no token"),
        ({"answer": 7}, "answer=7 is no text"),
    ],
)
def test_wrong_trace_arguments(arguments, words):
    with pytest.raises(TraceError, match=words):
        mw.causal_trace(random_vlm(), random_question(), **{"corruption": "Taj Mahal", **arguments})


def test_what_is_no_vlm_or_no_question_is_refused():
    with pytest.raises(TraceError, match=r"expected what mw.load\(\) returns"):
        mw.causal_trace(random_vlm().model, random_question(), corruption="Paris")
    with pytest.raises(TraceError, match="question is a str; expected mw"):
        mw.causal_trace(random_vlm(), "What is this?", corruption="Paris")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TraceError, match="no constraint, so there is nothing to corrupt"):
        mw.causal_trace(random_vlm(), mw.Question(np.zeros((8, 8)), "What is this?"), corruption="Paris")


def test_a_named_answer_is_scored_at_its_first_token():
    vlm, question = random_vlm(), random_question()
    plain, spaced = (mw.causal_trace(vlm, question, corruption="Taj Mahal", answer=a) for a in ("Paris", " Paris "))
    assert plain.answer_token.strip() == "Par"
    assert np.array_equal(plain.restored, spaced.restored)
    assert any("not the model's own first choice" in warning for warning in plain.warnings)


def test_an_answer_that_melts_into_the_prompt_is_refused():
    vlm = mw.load(random_vlm().model, random_vlm().processor, template="{image}{question} ")
    with pytest.raises(TraceError, match="changes the last token of the prompt"):
        mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", answer="Paris")


@pytest.mark.parametrize("error", [ConstraintError, ModelError, QuestionError, TraceError])
def test_every_error_is_a_value_error(error):
    assert issubclass(error, MllmWidgetsError)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(("name", "meant"), [("demmo", "demo"), ("Demo-Ordinry", "demo-ordinary")])
def test_a_misspelt_demo_model_is_guessed_without_asking_the_network(name, meant, monkeypatch):
    from transformers import AutoConfig

    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("asked for a config"))
    with pytest.raises(ModelError, match=f"Did you mean '{meant}'"):
        mw.load(name)


def test_asking_without_a_model_or_a_question_is_a_sentence():
    vlm = random_vlm()
    with pytest.raises(QuestionError, match=r"question is a str; expected mw\.Question"):
        mw.ask(vlm, "Which city is this?")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelError, match=r"vlm is a Question; expected what mw\.load"):
        mw.ask(random_question(), vlm)  # pyright: ignore[reportArgumentType]

"""The registry as users meet it: what is listed, and a model class of one's own."""

from __future__ import annotations

import pytest

import mllm_widgets as mw
from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.families import FAMILIES
from tests.random_llava import build_model, build_processor, random_question, random_vlm


class OwnVLM(type(build_model(420))):
    """Somebody's class, built like LLaVA."""


@pytest.fixture
def own_family():
    yield lambda family: mw.register_family(family)
    for name in [name for name in FAMILIES if name.startswith("Own")]:
        del FAMILIES[name]


def own_model():
    model = build_model(len(build_processor().tokenizer))
    model.__class__ = OwnVLM
    return model


def test_every_class_is_listed_with_how_it_was_checked():
    table = mw.families()
    assert table.index.is_unique
    listed = [name for classes in table["classes"] for name in classes.split(", ")]
    assert sorted(listed) == sorted(FAMILIES)
    assert (table["checked"].str.len() > 20).all()
    assert table.loc["LLaVA-1.5", ["prefix", "geometry"]].tolist() == ["shared", True]


def test_a_class_nobody_registered_is_refused_with_how_to_register_it(own_family):
    with pytest.raises(ModelError) as error:
        mw.load(own_model(), build_processor())
    said = str(error.value)
    assert "model is a OwnVLM" in said
    assert "LlavaForConditionalGeneration" in said
    # what it says to do works
    start = said.index("mw.register_family(")
    family = eval(said[start:].rstrip("."), {"mw": mw})
    assert isinstance(family, mw.Family)
    trace, judge = (
        mw.causal_trace(vlm, random_question(), corruption="Taj Mahal").restored
        for vlm in (mw.load(own_model(), build_processor()), random_vlm())
    )
    assert abs(trace - judge).max() <= 1e-5
    row = mw.families().loc["OwnVLM"]
    assert row["classes"] == "OwnVLM"
    assert not row["geometry"]
    with pytest.raises(ModelError, match="OwnVLM says nothing about where its visual tokens lie"):
        mw.load(own_model(), build_processor()).geometry(random_question())


def test_parts_that_are_not_where_an_entry_says_are_named(own_family):
    own_family(mw.Family("Own", classes=("OwnVLM",), decoder="model.text_model"))
    with pytest.raises(ModelError, match=r"without the parts of Own: looked for model\.text_model\.layers\.0\.mlp"):
        mw.load(own_model(), build_processor())


def test_an_entry_that_took_a_class_over_is_the_one_listed(own_family):
    own_family(mw.Family("Own one", classes=("OwnA", "OwnB")))
    own_family(mw.Family("Own two", classes=("OwnB",)))
    assert mw.families()["classes"].loc[["Own one", "Own two"]].tolist() == ["OwnA", "OwnB"]

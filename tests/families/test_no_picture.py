"""Vision-language models asked without a picture, and `to_code` of every family, with one and without."""

from __future__ import annotations

import runpy
from collections.abc import Callable

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import ModelError, QuestionError, TraceError
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.vlm.families import FAMILIES
from tests.random_llava import random_question, random_vlm
from tests.reference import MODULES, reference_map

from . import test_gemma, test_idefics, test_mllama, tiny_llava
from .judge import TOLERANCE, noise
from .random_internvl import random_internvl
from .random_qwen import random_qwen
from .tiny_text import question

VLMS: dict[str, Callable[[], mw.VLM]] = {
    "LLaVA-1.5": tiny_llava.llava,
    "LLaVA-NeXT": tiny_llava.llava_next,
    "LLaVA-OneVision": tiny_llava.llava_onevision,
    "Gemma 3": lambda: test_gemma.vlm_of("gemma3-mixed"),
    "PaliGemma": lambda: test_gemma.vlm_of("paligemma"),
    "Idefics3, SmolVLM": lambda: test_idefics.vlm_of("idefics3"),
    "InternVL": lambda: random_internvl("qwen2"),
    "Mllama (Llama 3.2 Vision)": test_mllama.vlm,
    "Qwen2-VL": lambda: random_qwen("Qwen2-VL"),
    "Qwen2.5-VL": lambda: random_qwen("Qwen2.5-VL"),
    "Qwen3-VL": lambda: random_qwen("Qwen3-VL"),
}


def asked(name: str) -> dict[str, mw.Question]:
    """The question with a picture, and without where the family can do without."""
    with_one = mw.Question(noise(60, 40), "Where was this old bridge built", constraint="this old bridge")
    required = VLMS[name]().family.pictures == "required"
    return {"picture": with_one} if required else {"picture": with_one, "none": question()}


@pytest.mark.parametrize("name", VLMS)
def test_maps_without_a_picture_equal_the_reference(name):
    vlm = VLMS[name]()
    if vlm.family.pictures == "required":
        with pytest.raises(QuestionError, match=r"does not run without one; expected mw\.Question\(image, text\)"):
            mw.causal_trace(vlm, question(), corruption="Taj Mahal")
        return
    setup = prepare_trace(vlm, question(), corruption="Taj Mahal")
    assert not setup.encoded.visual.any()
    assert not [name for name in setup.encoded.inputs if "pixel" in name or "image" in name]
    places = [setup.encoded.constraint[-1], setup.text_positions[-1]]
    for window in (1, 3):
        restored = run_trace(setup, window=window).restored.sel(token=places)
        for module in MODULES:
            wanted = reference_map(vlm, setup, module, window, positions=places)
            assert np.abs(wanted - setup.corrupted).max() > 1e-3
            assert np.abs(restored.sel(module=module).values - wanted).max() <= TOLERANCE


@pytest.mark.parametrize("name", VLMS)
def test_to_code_prints_the_cell(name, tmp_path, capsys):
    vlm = VLMS[name]()
    for kind, one in asked(name).items():
        trace = mw.causal_trace(vlm, one, corruption="Taj Mahal", window=3, modules=(*MODULES, "residual"))
        token = trace.constraint[-1]
        for module in trace.modules:
            # a file for each: nnsight reads a file's source once
            script = tmp_path / f"{kind}_{module}.py"
            script.write_text(trace.to_code(layer=1, token=token, module=module))
            assert ("Image.open" in script.read_text()) is (kind == "picture")
            runpy.run_path(str(script), {"vlm": vlm})
            wanted = float(trace.restored.sel(module=module, layer=1, token=token))
            assert abs(float(capsys.readouterr().out) - wanted) <= TOLERANCE


def test_every_listed_family_is_here():
    assert set(VLMS) == {family.name for family in FAMILIES.values() if family.pictures != "none"}


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (None, "USER: Where was this old bridge built? Answer in a few words.\nASSISTANT:"),
        ("{image}{question}:", "Where was this old bridge built:"),
        ("Look: {image}\n{question}", "Look: \nWhere was this old bridge built"),
        ("Q {question}\n{image}\nA", "Q Where was this old bridge built\nA"),
    ],
)
def test_the_picture_leaves_the_prompt_with_the_line_it_has_to_itself(template, prompt):
    vlm = random_vlm(template)
    assert vlm.encode(question()).prompt == prompt
    assert mw.ask(vlm, question(), max_new_tokens=2).token_id == mw.ask(vlm, question()).token_id


def test_no_picture_is_the_control_where_the_picture_alone_is_left_out():
    vlm = random_vlm("Q:{image} {question}:")
    without, control = (
        mw.causal_trace(vlm, one, corruption="Taj Mahal", control=control)
        for one, control in ((question(), None), (random_question(), "text-only"))
    )
    assert without.input_ids.tolist() == control.input_ids.tolist()
    assert np.abs(without.restored - control.restored).max() <= TOLERANCE
    assert np.abs(without.indirect_effect).max() > 0.02


def test_a_question_without_a_picture_has_no_geometry_and_no_control():
    with pytest.raises(QuestionError, match="the question has no picture, so none of its tokens lies on one"):
        random_vlm().geometry(question())
    with pytest.raises(TraceError, match="leaves the picture out, and the question has none"):
        mw.causal_trace(random_vlm(), question(), corruption="Taj Mahal", control="text-only")


def test_a_template_with_two_pictures_is_refused_without_one_too():
    with pytest.raises(ModelError, match="is neither a named template"):
        random_vlm("{image}{image}{question}").encode(question())

"""One tiny random model for every family and decoder that is traced differently, with a question its map is not flat for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch

import mllm_widgets as mw

from . import random_internvl, random_qwen, test_gemma, test_idefics, test_mllama, tiny_llava, tiny_text

LLAVA, QWEN = tiny_llava.question, random_qwen.random_question
# family -> what its model is built with -> (model, question)
TINY: dict[tuple[str, str], tuple[Callable[[], mw.VLM], Callable[[], mw.Question]]] = {
    ("LLaVA-1.5", "Llama"): (lambda: tiny_llava.llava("llama"), LLAVA),
    ("LLaVA-1.5", "Qwen2"): (lambda: tiny_llava.llava("qwen2"), LLAVA),
    ("LLaVA-1.5", "Phi"): (lambda: tiny_llava.llava("phi"), LLAVA),
    ("LLaVA-1.5", "Mistral, sliding"): (lambda: tiny_llava.llava("mistral, sliding"), LLAVA),
    ("LLaVA-NeXT", "Llama"): (tiny_llava.llava_next, LLAVA),
    ("LLaVA-OneVision", "Qwen2"): (tiny_llava.llava_onevision, LLAVA),
    ("Qwen2-VL", "Qwen2"): (lambda: random_qwen.random_qwen("Qwen2-VL"), QWEN),
    ("Qwen2.5-VL", "Qwen2"): (lambda: random_qwen.random_qwen("Qwen2.5-VL"), QWEN),
    ("Qwen3-VL", "Qwen3"): (lambda: random_qwen.random_qwen("Qwen3-VL"), QWEN),
    ("InternVL", "Qwen2"): (random_internvl.random_internvl, lambda: QWEN(size=(70, 40))),
    ("Idefics3, SmolVLM", "Idefics3"): (lambda: test_idefics.vlm_of("idefics3"), lambda: test_idefics.question(70, 24)),
    ("Idefics3, SmolVLM", "SmolVLM"): (lambda: test_idefics.vlm_of("smolvlm"), lambda: test_idefics.question(70, 24)),
    ("Gemma 3", "sliding and full"): (lambda: test_gemma.vlm_of("gemma3-mixed"), test_gemma.question),
    ("Gemma 3", "full"): (lambda: test_gemma.vlm_of("gemma3-full"), test_gemma.question),
    ("PaliGemma", "Gemma"): (lambda: test_gemma.vlm_of("paligemma"), test_gemma.question),
    ("PaliGemma", "Gemma 2"): (lambda: test_gemma.vlm_of("paligemma2"), test_gemma.question),
    ("Mllama (Llama 3.2 Vision)", "Llama"): (test_mllama.vlm, test_mllama.question),
}
TEXT = {
    ("Llama (Vicuna)", "no picture"): "llama",
    ("Mistral", "no picture"): "mistral",
    ("Qwen2, Qwen3", "no picture"): "qwen3",
    ("Phi", "no picture"): "phi",
    ("Gemma 2", "no picture"): "gemma2",
    ("GPT-2", "no picture"): "gpt2",
    ("GPT-NeoX (Pythia)", "no picture"): "gpt-neox",
}
TINY |= {key: (functools.partial(tiny_text.tiny_text, kind), tiny_text.question) for key, kind in TEXT.items()}


@functools.cache
def tiny(family: str, decoder: str) -> tuple[mw.VLM, mw.Question]:
    """A model in float32 and its question."""
    build, question = TINY[family, decoder]
    return build(), question()


def in_dtype(vlm: mw.VLM, dtype: torch.dtype) -> tuple[mw.VLM, mw.VLM]:
    """The model in another precision, and in float32 with the same rounded weights.

    What is no weight stays as it is, as when a checkpoint is loaded: rotary frequencies are float32 in every precision.
    """
    made = []
    for last in (dtype, torch.float32):
        model = copy.deepcopy(vlm.model)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype).to(last)
        made.append(mw.load(model, vlm.processor, template=vlm.template))
    return made[0], made[1]

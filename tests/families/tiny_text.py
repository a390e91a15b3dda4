"""Language models with random weights, one of every class that is listed."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import mllm_widgets as mw
from mllm_widgets.vlm.families.base import part
from tests.random_llava import build_tokenizer

SIZE: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "initializer_range": 0.2}
SIZE |= {"intermediate_size": 70, "max_position_embeddings": 128, "tie_word_embeddings": False}
SIZE |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
# where sub-blocks stand side by side, the MLPs of the first layer do not see what changed, and those of the last reach one token
DEEPER = {**SIZE, "num_hidden_layers": 5}
GROUPED = {**SIZE, "num_key_value_heads": 2}
HALF_ROPE: Any = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
NEOX_ROPE: Any = {**HALF_ROPE, "partial_rotary_factor": 0.25}
GEMMA = {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 16, "num_hidden_layers": 4}
# name -> (class, configuration without its vocabulary, seed with which answers are confident, and moved by the words)
MODELS: dict[str, tuple[Any, Any, int]] = {
    "llama": (LlamaForCausalLM, functools.partial(LlamaConfig, **GROUPED), 1),
    "mistral": (MistralForCausalLM, functools.partial(MistralConfig, **GROUPED, sliding_window=None), 1),
    "mistral, sliding": (MistralForCausalLM, functools.partial(MistralConfig, **GROUPED, sliding_window=16), 1),
    "qwen2": (Qwen2ForCausalLM, functools.partial(Qwen2Config, **GROUPED), 2),
    "qwen3": (Qwen3ForCausalLM, functools.partial(Qwen3Config, **GROUPED, head_dim=10), 1),
    "phi": (PhiForCausalLM, functools.partial(PhiConfig, **DEEPER, rope_parameters=HALF_ROPE), 3),
    "gemma2": (Gemma2ForCausalLM, functools.partial(Gemma2Config, **{**GROUPED, **GEMMA}), 1),
    "gpt2": (GPT2LMHeadModel, functools.partial(GPT2Config, **{**SIZE, "n_inner": 70}), 2),
    "gpt-neox": (GPTNeoXForCausalLM, functools.partial(GPTNeoXConfig, **DEEPER, rope_parameters=NEOX_ROPE), 3),
    "gpt-neox, in a row": (
        GPTNeoXForCausalLM,
        functools.partial(GPTNeoXConfig, **SIZE, rope_parameters=NEOX_ROPE, use_parallel_residual=False),
        1,
    ),
}
SLIDING = ("mistral, sliding", "gemma2")


@functools.cache
def tiny_text(kind: str) -> mw.VLM:
    """A model of `MODELS` as users get theirs: objects in memory, through `mw.load`."""
    model, config, seed = MODELS[kind]
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    made = model(config(vocab_size=len(tokenizer)))
    with torch.no_grad():  # biases begin as zeros, and flat maps would agree with anything
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
        made.lm_head.weight *= 3
    vlm = mw.load(made.eval(), tokenizer)
    with torch.no_grad():
        for layer in range(len(vlm.layers)):
            part(vlm.block(layer, "mlp"), vlm.family.down).weight *= 2
    return vlm


def question(text: str = "Where was this old bridge built", constraint: str = "this old bridge", **more) -> mw.Question:
    """A question without a picture."""
    return mw.Question(None, text, constraint=constraint, **more)

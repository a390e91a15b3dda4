"""Getting a `VLM` from a name, a folder, or objects already in memory."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mllm_widgets.errors import ModelError

from .families import Family, family_of
from .model import VLM
from .processors import load_processor, load_tokenizer
from .remote import Remote, skeleton

DEMO_MODELS = Path(__file__).resolve().parent.parent / "demo" / "models"
DEMO_NAMES = ("demo", "demo-ordinary")


def load(
    model: Any = "demo",
    processor: Any = None,
    *,
    template: str | None = None,
    remote: bool | str = False,
    **options: Any,
) -> VLM:
    """Load a vision-language model, or a language model.

    Parameters
    ----------
    model: "demo" (bundled, no download), "demo-ordinary" (its twin), a Hugging Face id or folder, a Hugging Face model, or an
        nnsight `TransformersModel`.
    processor: the processor that belongs to a model passed as an object; a language model's is its tokenizer.
    template: the prompt template, see `mllm_widgets.vlm.prompts.render`; "paper" is the paper's own.
    remote: True loads no weights: `mw.ask` and `mw.causal_trace` run on NDIF, through nnsight; a URL names another such server, and "local" rehearses
        that in this process. See docs/remote.md.
    options: passed to `from_pretrained` (dtype, device_map, quantization_config, trust_remote_code ...).

    Raises
    ------
    ModelError: for an unknown name, an unreadable folder, or a model of neither kind; for a server that cannot be asked.

    Examples
    --------
    >>> load("demo").name
    'demo'
    """
    elsewhere = None if remote is False else Remote(remote)
    if elsewhere is not None:
        elsewhere.check()
    if isinstance(model, (str, os.PathLike)):
        return _load_name(os.fspath(model), template, options, elsewhere)
    if elsewhere is not None:
        raise ModelError(
            f"remote={remote!r} names a model that a server has, and model is a {type(model).__name__} in memory; expected its Hugging Face id."
        )
    if options:
        raise ModelError(
            f"{', '.join(options)} cannot be given with a model already in memory; they are options of loading."
        )
    wrapped = None
    if hasattr(model, "_module") and hasattr(model, "trace"):  # an nnsight wrapper
        wrapped, processor = model, processor or getattr(model, "processor", None) or getattr(model, "tokenizer", None)
        model = model._module
    if not hasattr(model, "config") or not hasattr(model, "forward"):
        raise ModelError(
            f"model is a {type(model).__name__}; expected a name, a folder, a Hugging Face model or an nnsight TransformersModel."
        )
    _check_undivided(model)
    _check_processor(family_of(model), processor)  # a model that cannot be traced is refused as such first
    vlm = VLM(model, processor, name=getattr(model.config, "_name_or_path", "") or "", template=template)
    if wrapped is not None:
        vlm._nnsight = wrapped
    return vlm


def _check_undivided(model: Any, options: Any = ()) -> None:
    """Raises ModelError for weights that are, or would be, split among processes."""
    asked = [option for option in ("tp_plan", "distributed_config") if option in options]
    if asked or (getattr(model, "tp_size", None) or 1) > 1:
        raise ModelError(
            f"{', '.join(asked) or 'model'} splits the weights among processes (tensor parallel), where a sub-block's inputs are one process's share and nnsight "
            "0.8 does not find its way; expected device_map='auto', which divides a model over the GPUs of one process layer by layer, or remote=, where a "
            "server splits it."
        )


def _check_processor(family: Family, processor: Any) -> None:
    """Raises ModelError where a model in memory did not come with what it was trained with."""
    from transformers import PreTrainedTokenizerBase

    got = "missing" if processor is None else f"a {type(processor).__name__}"
    if family.pictures == "none":
        if not isinstance(processor, PreTrainedTokenizerBase):
            raise ModelError(
                f"processor is {got}; a language model in memory needs the tokenizer it was trained with: "
                "mw.load(model, AutoTokenizer.from_pretrained(...))."
            )
    elif not hasattr(processor, "tokenizer"):
        raise ModelError(
            f"processor is {got}{' without a tokenizer' if processor is not None else ''}; a model in memory needs the processor it was trained "
            "with: mw.load(model, AutoProcessor.from_pretrained(...))."
        )


def _load_name(name: str, template: str | None, options: dict[str, Any], remote: Remote | None = None) -> VLM:
    import torch
    from transformers import AutoConfig

    demo = name in DEMO_NAMES
    near = difflib.get_close_matches(name.lower(), DEMO_NAMES, n=1, cutoff=0.75)
    if near and not demo and not Path(name).exists():
        # no Hugging Face id is written like this, and asking for it would take half a minute where there is no network
        raise ModelError(f"model={name!r} is no model. Did you mean {near[0]!r}?")
    source = str(DEMO_MODELS / name) if demo else name
    if remote is not None and remote.where is True and (demo or Path(name).exists()):
        raise ModelError(
            f"model={name!r} lies on this machine, and {remote.host} knows models by their Hugging Face id; expected one that it serves, or "
            "remote='local'."
        )
    if remote is None:
        _check_undivided(None, options)
    if demo:
        options = {"dtype": torch.float32, **options}
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=options.get("trust_remote_code", False))
        except Exception as error:
            raise ModelError(
                f"model={name!r} cannot be loaded ({_first_line(error)}). Expected 'demo', 'demo-ordinary', a folder with a "
                "config.json, or a Hugging Face id; the name may be misspelt, or the machine offline."
            ) from error
        kind, read = _kind(name, config, options.get("trust_remote_code", False))
        try:
            model: Any = kind.from_pretrained(source, **options) if remote is None else None
            processor = read(source, config, options.get("trust_remote_code", False))
            wrapped = None if remote is None else skeleton(source, processor, options, remote.where)
            model = model if wrapped is None else wrapped._module
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"model={name!r} has a configuration, but its weights or its processor cannot be loaded ({_first_line(error)}). Expected "
                "a complete checkpoint; a file may be missing, or an option of from_pretrained wrong."
            ) from error
        if read is load_processor and not hasattr(processor, "tokenizer"):
            raise ModelError(
                f"model={name!r} has no processor for pictures and text, only a {type(processor).__name__}; expected a folder with a "
                "processor_config.json or preprocessor_config.json, and a tokenizer."
            )
    model.eval()
    card = Path(source) / "README.md"
    vlm = VLM(
        model,
        processor,
        name=name,
        template=template,
        card=card.read_text() if demo and card.exists() else "",
        remote=remote,
    )
    vlm._nnsight = wrapped
    return vlm


def _kind(name: str, config: Any, trust_remote_code: bool) -> tuple[Any, Callable[[str, Any, bool], Any]]:
    """The class that loads a configuration's model, and the function that loads its processor.

    Raises ModelError for a model that answers neither questions about pictures nor questions alone.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    # pictures first: some of their models are listed as language models too
    if type(config) in AutoModelForImageTextToText._model_mapping:
        return AutoModelForImageTextToText, load_processor
    if type(config) in AutoModelForCausalLM._model_mapping:
        return AutoModelForCausalLM, load_tokenizer
    if trust_remote_code:  # a class nobody lists; taken for one with pictures
        return AutoModelForImageTextToText, load_processor
    raise ModelError(
        f"model={name!r} is a {config.model_type!r} model, which neither takes a picture nor goes on with a text; expected a "
        "vision-language model such as 'llava-hf/llava-1.5-7b-hf', or a language model such as 'lmsys/vicuna-7b-v1.5'."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no advice about image processors and no log of retries on the user's screen while loading."""
    from transformers.utils import logging as hf

    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    bars, levels = hf.is_progress_bar_enabled(), [logger.level for logger in loggers]
    hf.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            hf.enable_progress_bar()

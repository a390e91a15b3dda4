"""What a result was made with, as plain values that travel with it: through pickles, files, widgets and pictures.

It may be shown to anybody: there is no picture in it (its size and a digest of its pixels tell whether it is the same one), and of a model's folder on
somebody's machine only the last part.  Keys that mean nothing for a result are not there; docs/data_format.md lists them all.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import ntpath
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

    from .vlm.model import VLM
    from .vlm.question import Question

PACKAGES = ("mllm_widgets", "torch", "transformers", "nnsight")


class Provenance(dict):
    """A dict that stays as it is: plain values, lists as tuples, all the way down.

    Examples
    --------
    >>> made = Provenance({"model": "demo", "window": 1})
    >>> made["model"], Provenance(made, window=3)["window"]
    ('demo', 3)
    >>> made["window"] = 3
    Traceback (most recent call last):
    TypeError: provenance says what a result was made with and does not change; Provenance(provenance, key=value) is a copy with other values.
    """

    def __init__(self, values: Mapping[str, Any] = {}, /, **more: Any) -> None:
        super().__init__({str(key): _plain(value) for key, value in {**values, **more}.items()})

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "provenance says what a result was made with and does not change; Provenance(provenance, key=value) is a copy with other values."
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def to_json(self) -> str:
        """As JSON in ASCII: what pictures carry."""
        return json.dumps(self, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Provenance(value)
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return tuple(_plain(each) for each in value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def made_with(vlm: VLM, question: Question | None = None, **more: Any) -> Provenance:
    """What something computed now was made with: model, question, versions and date, and `more` where it is not None.

    It reads which edits the model has, unless `edits` are given, so call it where the model cannot change meanwhile.
    """
    found: dict[str, Any] = {**_model(vlm), **(_question(question) if question is not None else {})}
    if "edits" not in more:
        found["edits"] = edits_of(vlm)
    found |= {key: value for key, value in more.items() if value is not None}
    return dated(Provenance(found, versions=versions()))


def dated(made: Provenance, **more: Any) -> Provenance:
    """The same with the time of now, and `more` where it is not None."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {key: value for key, value in {**made, **more}.items() if value is not None or key in made}
    last = {key: found.pop(key) for key in ("versions", "date") if key in found}
    return Provenance(found, **{**last, "date": now})


def model_facts(vlm: VLM) -> dict[str, Any]:
    """What tells one loaded model from another, as JSON has it: revision, architecture, dtype, device, quantisation, template, edits."""
    found = {**_model(vlm), "edits": list(edits_of(vlm))}
    return {key: value for key, value in found.items() if key != "model"}


def public_name(name: str) -> str:
    """A model's name as others may see it: of a folder on this machine, the last part alone."""
    # also Windows' own way of writing one, wherever this runs
    if Path(name).is_absolute() or ntpath.isabs(name) or name.startswith(("~", ".")) or Path(name).is_dir():
        return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name
    return name


def picture(image: Image.Image | None) -> dict[str, Any] | None:
    """A picture's size and a digest of its pixels."""
    if image is None:
        return None
    return {"size": image.size, "sha256": hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()}


@functools.cache
def versions() -> Provenance:
    """Of the packages that compute, and of Python."""
    return Provenance({package: _version(package) for package in PACKAGES}, python=platform.python_version())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # this package, in a checkout that was never installed
        return getattr(sys.modules.get(package), "__version__", None)


def _model(vlm: VLM) -> dict[str, Any]:
    config, model = vlm.model.config, vlm.model
    places = getattr(model, "hf_device_map", None) or {"": vlm.device}
    devices = sorted({_kind(place) for place in places.values()})
    quantised = getattr(config, "quantization_config", None)
    method = getattr(quantised, "quant_method", None) or (isinstance(quantised, dict) and quantised.get("quant_method"))
    return {
        "model": public_name(vlm.name),
        "revision": getattr(config, "_commit_hash", None) or _demo_weights(vlm),
        "architecture": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": " + ".join(devices) if vlm.remote is None else vlm.remote.host,
        **({"quantised": str(getattr(method, "value", method))} if method else {}),
        **({} if vlm.template is None else {"template": vlm.template}),
    }


def _kind(place: Any) -> str:
    """A device without its number; a GPU's number alone is what device maps call it by."""
    return "cuda" if isinstance(place, int) else str(getattr(place, "type", place)).split(":")[0]


def _demo_weights(vlm: VLM) -> str | None:
    """The bundled models have no commit: the digest of their weights says which ones these are."""
    from .vlm.loading import DEMO_MODELS, DEMO_NAMES

    return _digest(str(DEMO_MODELS / vlm.name / "model.safetensors")) if vlm.name in DEMO_NAMES else None


@functools.cache
def _digest(path: str) -> str | None:
    place = Path(path)
    return f"sha256:{hashlib.sha256(place.read_bytes()).hexdigest()}" if place.exists() else None


def edits_of(vlm: VLM) -> tuple[str, ...]:
    """The edits that a model has now, in words."""
    with vlm.lock:
        applied = [_said(term) for term in vlm.side_terms.active]
        return (*applied, *("an edit in its weights" for _ in vlm.side_terms.baked))


def _said(term: Any) -> str:
    if hasattr(term, "key"):
        return f"a rank-one edit of the MLP of layer {term.layer}, lam {term.lam:g}"
    return f"a change of the MLP's weight of layer {term.layer}"


def _question(question: Question) -> dict[str, Any]:
    found = {
        "question": question.text,
        "constraint": question.constraint,
        "text_constraints": question.text_constraints,
    }
    kept = {key: value for key, value in found.items() if value}
    return {
        **kept,
        **({"occurrence": question.occurrence} if question.occurrence else {}),
        "picture": picture(question.image),
    }

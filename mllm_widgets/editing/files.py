"""Edits as files: one safetensors file with the tensors and, as JSON in its header, everything else.

Header: "format" and "version" say what it is, "content" is the JSON: the model the edits belong to, one record an edit, the versions of the packages that
made it, and for each layer how its sample was taken.  Tensors: `{n}.{name}` of edit n (`TENSORS` of its term and of itself; "losses" and "probabilities" in
float64), `layer.{l}` (rows, columns) some of the weights that the edits were made on.  Nothing in it can be run, and the picture is not in it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mllm_widgets.errors import EditError, MllmWidgetsError, SaveError
from mllm_widgets.results import Answer
from mllm_widgets.saving import places
from mllm_widgets.vlm.asking import vocabulary
from mllm_widgets.vlm.loading import DEMO_NAMES
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import FixedTerm, RidgeTerm, Term

from . import belonging
from .edit import Applicable, Edit, Edits, check_lam

FORMAT, VERSION = "mllm_widgets edit", 1
TERM = {"ridge": ("key", "residual"), "fixed": ("left", "right")}
OWN = ("key", "before", "value")
PACKAGES = ("mllm_widgets", "torch", "transformers", "safetensors")


def save(edits: Applicable, path: Any, overwrite: bool = False) -> None:
    """See `Applicable.save`."""
    place = path_of(path, "path")
    if place.is_dir():
        raise EditError(f"path={str(place)!r} is a folder; expected the name of a file, such as 'rome.safetensors'.")
    if place.exists() and not overwrite:
        raise EditError(f"path={str(place)!r} exists already; expected a new name, or overwrite=True to replace it.")
    vlm = edits.vlm
    members = edits.edits if isinstance(edits, Edits) else (edits,)
    records, tensors = [], {}
    for number, edit in enumerate(members):
        assert isinstance(edit, Edit)
        records.append(_record(edit))
        tensors |= {f"{number}.{name}": value for name, value in _tensors(edit).items()}
    samples = {layer: belonging.sample(vlm, layer, edits.terms) for layer in sorted({t.layer for t in edits.terms})}
    tensors |= {f"layer.{layer}": sample.values for layer, sample in samples.items()}
    name, revision = model_name(vlm)
    content = {
        "several": isinstance(edits, Edits),
        "model": {
            **belonging.described(vlm),
            "name": vlm.name if vlm.name in DEMO_NAMES else name,
            "revision": revision,
        },
        "samples": {layer: sample.described() for layer, sample in samples.items()},
        "edits": records,
        "packages": {name: _version(name) for name in PACKAGES},
    }
    header = {"format": FORMAT, "version": str(VERSION), "content": json.dumps(content, ensure_ascii=False)}
    write_tensors(place, tensors, header)


def load_edit(path: Any, vlm: VLM, image: Any = None) -> Any:
    """An edit, or several, from a file that `edit.save` wrote; it is not applied yet.

    The file says which model it belongs to, and the model is asked: its class, its number of layers, the widths of the layer's projection, and some of the
    projection's weights, which must be the same but for rounding to another dtype.  Of a quantised weight, and of one that is kept on disk, the outputs
    that it gives are compared, and only roughly; the edits applied to the model at the time do not count, those baked into its weights do.

    Parameters
    ----------
    path: of the file.
    vlm: the model it was made on, in any precision, quantised or divided over devices as it may be.
    image: the picture of the question, which is not in the file; for several edits a list of pictures, one an edit, or one for all.

    Returns
    -------
    Edit, or Edits where several were saved.  Without `image`, `edit.question` has the words only; that is enough to apply the edit, not to ask its question.

    Raises
    ------
    EditError: for a file that is missing, no edit, damaged or of a later version, and for another model.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> mw.multedit(vlm, question, "Rome", layer=2).save("rome.safetensors")
    >>> with mw.load_edit("rome.safetensors", vlm): mw.ask(vlm, question).text
    'Rome'
    """
    if not isinstance(vlm, VLM):
        raise EditError(f"vlm is a {type(vlm).__name__}; expected what mw.load() returns.")
    place = path_of(path, "path")
    content, tensors = _read(place)
    with _damaged(place):
        pictures = _pictures(image, len(content["edits"]))
        belonging.check_model(vlm, place, content["model"])
        made = [_edit(vlm, n, record, tensors, pictures[n]) for n, record in enumerate(content["edits"])]
        for layer in sorted({edit.layer for edit in made}):
            belonging.check_sample(vlm, place, layer, content["samples"][str(layer)], tensors[f"layer.{layer}"])
        return Edits(made) if content["several"] else made[0]


def _record(edit: Edit) -> dict[str, Any]:
    """What is no tensor of an edit."""
    question, answer = edit.question, edit.answer
    return {
        "term": "ridge" if isinstance(edit.term, RidgeTerm) else "fixed",
        "method": edit.method,
        "layer": edit.layer,
        "site": edit.site,
        "position": edit.position,
        "lam": edit.term.lam,
        "target": edit.target,
        "target_ids": [int(token) for token in edit.target_ids],
        "reached": float(edit.reached),
        "reason": edit.reason,
        "warnings": list(edit.warnings),
        "question": {
            "text": question.text,
            "constraint": question.constraint,
            "text_constraints": list(question.text_constraints),
            "answer": question.answer,
            "occurrence": question.occurrence,
        },
        "answer": {
            "text": answer.text,
            "token": answer.token,
            "token_id": int(answer.token_id),
            "probability": float(answer.probability),
        },
    }


def _tensors(edit: Edit) -> dict[str, Tensor]:
    """The tensors of an edit, those of its term with "term." before them."""
    kind = "ridge" if isinstance(edit.term, RidgeTerm) else "fixed"
    found: dict[str, Any] = {f"term.{name}": getattr(edit.term, name) for name in TERM[kind]}
    found |= {name: getattr(edit, name) for name in OWN}
    found |= {name: torch.tensor(getattr(edit, name), dtype=torch.float64) for name in ("losses", "probabilities")}
    found["answer"] = torch.from_numpy(np.array(edit.answer.probabilities, dtype=np.float32))
    return {name: value for name, value in found.items() if value is not None}


def _edit(vlm: VLM, number: int, record: Any, tensors: dict[str, Tensor], image: Any) -> Edit:
    """The edit of a record and its tensors; what is not there or not of its kind raises any error, which `_damaged` makes a sentence."""
    own = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{number}.")}
    layer = range(len(vlm.layers)).index(record["layer"])
    d, d_ff = belonging.widths(vlm, layer)
    term = _term(record, own, layer, (d, d_ff))
    for name, shape in zip(OWN, ((d_ff,), (d,), (d,)), strict=True):
        if name in own:
            _check(own[name], shape)
    words, said = record["question"], record["answer"]
    probabilities = own["answer"].numpy()
    return Edit(
        vlm=vlm,
        question=Question(image, **{**words, "text_constraints": tuple(words["text_constraints"])}),
        target=str(record["target"]),
        target_ids=tuple(int(token) for token in record["target_ids"]),
        layer=layer,
        position=int(record["position"]),
        term=term,
        answer=Answer(**said, probabilities=probabilities, vocabulary=vocabulary(vlm.tokenizer, len(probabilities))),
        losses=tuple(own["losses"].tolist()),
        probabilities=tuple(own["probabilities"].tolist()),
        reached=float(record["reached"]),
        method=str(record["method"]),
        reason=str(record["reason"]),
        warnings=tuple(str(warning) for warning in record["warnings"]),
        **{name: own.get(name) for name in OWN},
    )


def _term(record: Any, own: dict[str, Tensor], layer: int, shape: tuple[int, int]) -> Term:
    d, d_ff = shape
    if record["term"] == "ridge":
        _check(own["term.key"], (d_ff,))
        _check(own["term.residual"], (d,))
        return RidgeTerm(layer, own["term.key"], own["term.residual"], check_lam(record["lam"]))
    left, right = own["term.left"], own.get("term.right")
    _check(left, (d, d_ff if right is None else left.shape[1]))
    if right is not None:
        _check(right, (left.shape[1], d_ff))
    return FixedTerm(layer, left, right)


def _check(value: Tensor, shape: tuple[int, ...]) -> None:
    if value.shape != shape or value.dtype != torch.float32 or not torch.isfinite(value).all():
        raise ValueError(f"a tensor of {tuple(value.shape)} in {value.dtype}, where finite float32 {shape} is expected")


def _pictures(image: Any, count: int) -> list[Any]:
    """One picture, or None, for each edit."""
    if not isinstance(image, (list, tuple)):
        return [image] * count
    if len(image) != count:
        raise EditError(f"image holds {len(image)} pictures, and the file {count} edits; expected one for each.")
    return list(image)


def _read(place: Path) -> tuple[Any, dict[str, Tensor]]:
    """The content and the tensors of a file.

    Raises EditError for one that is not there or none of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not place.is_file():
        what = "is a folder" if place.is_dir() else "does not exist"
        raise EditError(f"path={str(place)!r} {what}; expected a file that edit.save(path) wrote.")
    try:
        with safe_open(place, framework="pt") as file:
            header = file.metadata() or {}
            # copies, for they lie where vectors of the processor begin: the same sums to the bit as before
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise EditError(
            f"path={str(place)!r} cannot be read as safetensors ({error}); expected a file that edit.save(path) wrote. It may be cut short or damaged."
        ) from error
    if header.get("format") != FORMAT:
        raise EditError(f"path={str(place)!r} holds tensors, but no edit; expected a file that edit.save(path) wrote.")
    with _damaged(place):
        if int(header["version"]) > VERSION:
            raise EditError(
                f"path={str(place)!r} is of version {header['version']} of the format, and this mllm_widgets reads up to {VERSION}; install a later one."
            )
        return json.loads(header["content"]), tensors


@contextlib.contextmanager
def _damaged(place: Path) -> Iterator[None]:
    """Anything but a sentence of ours that comes up while a file's content is taken apart means that it is damaged."""
    try:
        yield
    except EditError:
        raise
    except (MllmWidgetsError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EditError(
            f"path={str(place)!r} is damaged: it says that it is an edit, but not all of it is there ({type(error).__name__}: {error})."
        ) from error


def path_of(path: Any, argument: str) -> Path:
    """A path as users write it.

    Raises EditError for what is none.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise EditError(f"{argument}={path!r} is no path; expected a text or a pathlib.Path.")
    return Path(path).expanduser()


def written(place: Path, write: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all: beside its place first, then put there.

    Raises EditError where nothing can be written.
    """
    from safetensors import SafetensorError

    try:
        places.written(place, write)
    except SaveError as error:
        raise EditError(str(error)) from error
    except SafetensorError as error:
        raise EditError(f"path={str(place)!r} cannot be written ({error}).") from error


def write_tensors(place: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """A safetensors file of copies: tensors that share memory, or are not in a row, cannot be written."""
    from safetensors.torch import save_file

    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    written(place, lambda part: save_file(copies, part, header))


def model_name(vlm: VLM) -> tuple[str | None, str | None]:
    """(name, revision) under which others find the model; None where it has none, as the demo models and objects in memory."""
    known = vlm.name not in (*DEMO_NAMES, type(vlm.model).__name__)
    return (vlm.name if known else None, getattr(vlm.model.config, "_commit_hash", None) if known else None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

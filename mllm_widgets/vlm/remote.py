"""A model that is served elsewhere: NDIF, or a server of one's own, through nnsight.

Here are its configuration and its processor; its weights are not.  A run is an nnsight trace whose block is sent as source with the few tensors it
names, and what it saves comes back.  The blocks name nothing of this package, so a server needs nnsight, torch and transformers alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mllm_widgets.errors import ModelError

from .processors import tokenizer_of

if TYPE_CHECKING:
    from .model import VLM, Encoding

LOCAL = "local"  # a rehearsal: the request is written and read back, and runs in this process
PLACING = ("device_map", "max_memory", "offload_folder", "quantization_config", "tp_plan", "distributed_config")
SHOWN_LINES = 3  # of what a failed job reports, from its end


@dataclass(frozen=True)
class Remote:
    """Where a model runs.

    where: True (the host of nnsight's configuration, NDIF's by default), the URL of a server, or "local".
    """

    where: bool | str

    @property
    def host(self) -> str:
        """The server's URL; "local" for a rehearsal."""
        from nnsight.schema.config import CONFIG

        return CONFIG.API.HOST if self.where is True else str(self.where)

    def check(self) -> None:
        """Raises ModelError for a `remote` that is no place or has a password in it, and for NDIF without a key."""
        if self.where is not True and not isinstance(self.where, str):
            raise ModelError(f"remote={self.where!r} is no place; expected True (NDIF), a server's URL, or 'local'.")
        if self.where != LOCAL and not self.host.startswith(("http://", "https://")):
            raise ModelError(
                f"remote={self.host!r} is no URL; expected one that begins with http:// or https://, True for NDIF, or 'local'."
            )
        if "@" in self.host.split("://")[-1].split("/")[0]:  # not repeated here: an output is saved, too
            raise ModelError(
                "remote= is a URL with a user or a password in it, and where a model runs is saved with every trace; leave them out of it."
            )
        if self.host.rstrip("/").endswith("ndif.us") and not _key():
            raise ModelError(
                "remote=True asks NDIF, which takes an API key, and there is none: get one at https://login.ndif.us, then set NDIF_API_KEY in the "
                "environment before Python starts, or run nnsight.login() once. remote='local' rehearses a run in this process without one."
            )

    @contextlib.contextmanager
    def job(self, vlm: VLM) -> Iterator[dict[str, Any]]:
        """Arguments of the trace or session that is sent; the model is held meanwhile.

        Raises
        ------
        ModelError: where the server cannot be reached, refuses the key, does not serve the model, or the run fails there.
        """
        with vlm.lock, torch.inference_mode(), self._said(vlm):
            if self.where == LOCAL:
                from .rehearsal import Rehearsal

                yield {"backend": Rehearsal(vlm.nnsight)}
            else:
                yield {"remote": self.where}

    @contextlib.contextmanager
    def _said(self, vlm: VLM) -> Iterator[None]:
        """What goes wrong on the way, as a sentence."""
        if self.where == LOCAL:
            yield
            return
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
        from nnsight.intervention.backends.remote import RemoteError
        from websocket import WebSocketBadStatusException, WebSocketException

        try:
            yield
        except RemoteError as error:
            raise ModelError(self._failed(vlm, str(error))) from error
        except WebSocketBadStatusException as error:
            raise ModelError(
                f"{self.host} refused the connection (HTTP {error.status_code}); the API key may be wrong, or the URL that of something else."
            ) from error
        except (HFValidationError, OfflineModeIsEnabled, HfHubHTTPError) as error:
            raise ModelError(
                f"{vlm.name!r} cannot be found on the Hugging Face Hub ({_line(error)}), and {self.host} knows models by their id there; the name may be "
                "misspelt or a folder, or the machine offline."
            ) from error
        except (WebSocketException, httpx.HTTPError, OSError) as error:
            raise ModelError(
                f"{self.host} cannot be reached, or the connection broke ({_line(error)}); the machine may be offline, or the server down: "
                "print(nnsight.status()). Nothing was computed here."
            ) from error

    def _failed(self, vlm: VLM, description: str) -> str:
        """Why a job failed: a model that is not served is the likeliest cause, and the server knows which are."""
        lines = [line for line in description.strip().splitlines() if line.strip()][-SHOWN_LINES:]
        reported = " / ".join(line.strip() for line in lines)[:600] or "it says nothing"
        served = self.served()
        if served is not None and vlm.name not in served:
            return (
                f"{vlm.name!r} is not served by {self.host}, which says: {reported}. It serves {', '.join(sorted(served)) or 'nothing now'}; load one of "
                "these, or this one without remote=."
            )
        advice = ""
        if "out of memory" in description.lower():
            advice = " Fewer runs in one pass need less memory: pass a smaller batch_size."
        return f"the run failed on {self.host}, which says: {reported}.{advice}"

    def served(self) -> set[str] | None:
        """Hub ids of the models a server has running; None where it does not say."""
        import httpx

        try:
            found = httpx.get(f"{self.host}/status", timeout=30).raise_for_status().json()["deployments"].values()
            return {one["repo_id"] for one in found if one.get("application_state") == "RUNNING"}
        except (httpx.HTTPError, OSError, ValueError, KeyError, AttributeError, TypeError):
            return None


def _key() -> str | None:
    from nnsight.schema.config import CONFIG

    return CONFIG.API.APIKEY


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__


def skeleton(name: str, processor: Any, options: dict[str, Any], where: bool | str) -> Any:
    """An nnsight model without weights, with the parts of the processor here.

    Raises
    ------
    ModelError: for options that place weights, which are the server's.
    """
    from nnsight import TransformersModel

    from .wrapping import pipeline_parts

    placing = [option for option in PLACING if option in options]
    if placing and where != LOCAL:
        raise ModelError(
            f"{', '.join(placing)} cannot be given with remote={where!r}: no weight is loaded here, and the server has placed its own. Leave it out."
        )
    # nnsight's own class, by whose name a server knows the model
    return TransformersModel(name, **pipeline_parts(processor), **options)


def generated(vlm: VLM, encoded: Encoding, max_new_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens (new,), logits (vocabulary,) of the first of them), by greedy decoding where the model is."""
    assert vlm.remote is not None
    nn, inputs, end = vlm.nnsight, encoded.inputs, tokenizer_of(vlm.processor).pad_token_id
    before = inputs["input_ids"].shape[1]
    with (
        vlm.remote.job(vlm) as job,
        nn.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=end,
            **job,
        ) as tracer,
    ):
        made = tracer.result
        tokens = made.sequences[0, before:].cpu().save()
        first = made.logits[0][0].float().cpu().save()
    return tokens, first

"""The runs of a trace where the model is served: plain full passes, sent as nnsight sessions.

What makes a map quick here (engine.md) needs the weights and the stored keys in this process.  A server is sent the procedure itself: one job runs the clean
prompt, keeps the outputs that will be restored, and runs the corrupted prompt with them, many restored runs a pass.  The outputs never travel: what goes
is the prompt and which cells to restore, what comes back is a few numbers a run.  A job names nothing of this package.

With `remote="local"`, or weights that are here, the same graphs run in this process; the tests hold them against plain hooks.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .asked import Asked, asked_of, measured
from .continuation import Continuation
from .corruption import Corruption, EmbeddingNoise
from .corruption.pictures import look
from .engine import Cells, places
from .runs import SITES
from .setup import TraceSetup

JOB_CELLS = 512  # restored runs in one job, so that a map is not lost to a server's time limit
PASS_ROWS = 16  # of them in one pass: whole prompts, on a GPU that others use too

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class RemoteSetup(TraceSetup):
    """A setup of which the runs are elsewhere: the prompts are all there is of it.

    clean_inputs: what the model takes for the clean prompt, corrupted_inputs: for each draw's corrupted one.
    """

    clean_inputs: Inputs = field(default_factory=dict, repr=False)
    corrupted_inputs: tuple[Inputs, ...] = field(default=(), repr=False)

    @property
    def draws(self) -> tuple[TraceSetup, ...]:
        """One setup for each draw of the corruption."""
        if len(self.corrupted_inputs) == 1:
            return (self,)
        return tuple(replace(self, corrupted_inputs=(inputs,)) for inputs in self.corrupted_inputs)


def prepare_remote(
    vlm: VLM,
    question: Question,
    corruption: Corruption,
    answer: str | None = None,
    control: str | None = None,
    *,
    target: str | None = None,
    score: str = "probability",
    contrast: str | None = None,
) -> RemoteSetup:
    """Run the clean and the corrupted prompt where the model is; see `prepare_trace`.

    Raises
    ------
    TraceError: for noise on embeddings, whose size is measured by weights that are not here.
    """
    if isinstance(corruption, EmbeddingNoise):
        raise TraceError(
            f"corruption=EmbeddingNoise is measured in standard deviations of the embedding matrix, and the weights of {vlm.name!r} are not here; expected "
            "words ('Taj Mahal', TokenSwap, RepeatedToken) or another picture (OtherImage, PixelNoise), or a model loaded without remote=."
        )
    asked = asked_of(vlm, question, corruption, answer, target, control)
    inputs = (asked.encoded.inputs, *corrupted_inputs(vlm, asked))
    rows = first_runs(vlm, inputs, asked.scored)
    nothing = torch.empty(1, 0, 0)
    return RemoteSetup(
        **measured(vlm, asked, rows[0], rows[1:], score, contrast),
        continuation=Continuation(0, None, None, {}, asked.scored),
        clean_embeds=nothing,
        corrupted_embeds=nothing.expand(len(inputs) - 1, 0, 0),
        clean_outputs={},
        state=vlm.state,
        clean_inputs=inputs[0],
        corrupted_inputs=inputs[1:],
    )


def corrupted_inputs(vlm: VLM, asked: Asked) -> list[Inputs]:
    """What the model takes for the corrupted prompt, draw by draw."""
    clean, plan = asked.encoded.inputs, asked.plan
    if not plan.pictures:
        ids = torch.as_tensor(asked.corrupted_input_ids, dtype=clean["input_ids"].dtype)[None]
        return [{**clean, "input_ids": ids}]
    made = [look(vlm, asked.question, picture, plan.input_ids) for picture in plan.pictures]
    return [vlm.family.answered(one, asked.said.tolist()) if len(asked.said) else one for one in made]


def repeated(*rows: Inputs) -> Inputs:
    """Inputs of a batch, one row after the other."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


@contextlib.contextmanager
def job_of(vlm: VLM):
    """Where a graph runs: arguments of its trace, empty for a model whose weights are here."""
    if vlm.remote is None:
        with vlm.running():
            yield {}
    else:
        with vlm.remote.job(vlm) as job:
            yield job


def first_runs(vlm: VLM, inputs: tuple[Inputs, ...], scored: int) -> torch.Tensor:
    """Logits (prompts, scored, vocabulary), float32, of whole prompts."""
    nn, batch = vlm.nnsight, repeated(*inputs)
    with job_of(vlm) as job, nn.trace(**batch, use_cache=False, logits_to_keep=scored, **job):
        logits = nn.output.logits[:, -scored:].float().cpu().save()
    return logits  # noqa: RET504 - a trace cannot return


def restored_scores_remote(
    setup: RemoteSetup, modules: tuple[str, ...], cells: Cells, window: int, batch_size: int, sever: str | None = None
) -> np.ndarray:
    """Scores (n,) of cells, in one job."""
    vlm, rows = setup.vlm, min(batch_size, PASS_ROWS)
    passes = [cells[at : at + rows] for at in range(0, len(cells), rows)]
    planned = [[*places(setup, modules, one, window, sever)] for one in passes]
    # only what will be written is kept, at the positions where it will be
    needed = sorted({int(p) for plan in planned for place in plan for p in place.positions})
    index = {position: number for number, position in enumerate(needed)}
    sites = [site for site in SITES if any(place.module == site for plan in planned for place in plan)]
    writes = [
        {
            (place.layer, sites.index(place.module)): (
                torch.as_tensor(place.rows),
                torch.as_tensor(place.positions),
                torch.as_tensor(place.runs),
                torch.as_tensor([index[int(p)] for p in place.positions]),
            )
            for place in plan
        }
        for plan in planned
    ]
    sources = (setup.clean_inputs, *setup.corrupted_inputs) if sever else (setup.clean_inputs,)
    logs = run_job(
        vlm,
        repeated(*sources),
        setup.corrupted_inputs[0],
        sites,
        needed,
        writes,
        [len(one) for one in passes],
        setup.score.asked,
    )
    return setup.score.of_logs(logs).numpy()


def run_job(
    vlm: VLM,
    sources: Inputs,
    corrupted: Inputs,
    sites: list[str],
    needed: list[int],
    writes: list[dict[tuple[int, int], tuple[torch.Tensor, ...]]],
    counts: list[int],
    asked: tuple[tuple[int, int], ...],
) -> torch.Tensor:
    """Log-probabilities (runs, asked), float32, of restored runs: the session that is sent.

    Parameters
    ----------
    sources: the runs whose outputs are restored, in one batch; the clean one first.
    needed: sequence positions that are kept of them.
    writes: for each pass, (layer, site) -> rows, positions, which source, which of `needed`: (n,) each.
    counts: runs in each pass.
    asked: (how many positions before the last, token) whose log-probability scores a run.
    """
    nn = vlm.nnsight
    blocks = [[part(nn, vlm.site(layer, site)) for site in sites] for layer in range(len(vlm.layers))]
    back, tokens = (torch.tensor(column) for column in zip(*asked, strict=True))
    scored, positions = int(back.max()) + 1, torch.tensor(needed)
    wanted = {site for plan in writes for site in plan}
    with job_of(vlm) as job, nn.session(**job):
        kept = {}
        with nn.trace(**sources, use_cache=False, logits_to_keep=1):
            for layer, row in enumerate(blocks):
                for site, block in enumerate(row):
                    if (layer, site) in wanted:
                        output = block.output
                        output = output[0] if isinstance(output, tuple) else output
                        kept[layer, site] = output[:, positions.to(output.device)].clone()
        found = []
        for count, plan in zip(counts, writes, strict=True):
            batch = {}
            for name, value in corrupted.items():
                batch[name] = value.repeat(count, *[1] * (value.dim() - 1))
            with nn.trace(**batch, use_cache=False, logits_to_keep=scored):
                for layer, row in enumerate(blocks):
                    for site, block in enumerate(row):
                        if (layer, site) in plan:
                            rows, at, run, which = plan[layer, site]
                            output = block.output
                            output = output[0] if isinstance(output, tuple) else output
                            values = kept[layer, site].to(output.device)
                            output[rows.to(output.device), at.to(output.device)] = values[
                                run.to(output.device), which.to(output.device)
                            ]
                logits = nn.output.logits[:, -scored:].float().cpu()
            found.append(logits.log_softmax(-1)[:, scored - 1 - back, tokens])
        logs = torch.cat(found).save()  # pyright: ignore[reportAttributeAccessIssue] - nnsight gives it to every object
    return logs  # noqa: RET504 - a trace cannot return

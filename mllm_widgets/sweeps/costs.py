"""What a sweep will take, before it is run: from what a small one took, or from the arithmetic of a model's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mllm_widgets.errors import DatasetError

from .run import Run


def _check(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise DatasetError(f"{name}={value!r} is not possible; expected a number above 0.")
    return float(value)


@dataclass(frozen=True)
class TraceWork:
    """The arithmetic of one traced question: matrix products with weights, which are nearly all of it; attention and what a pass costs whatever is in it are left out.

    Parameters
    ----------
    layers: of the decoder. layer_parameters: weights of one of them.
    positions: of the prompt, visual tokens too. suffix: of them from the constraint on, which are traced.
    modules: sub-blocks that are restored.
    picture_flops: of the vision tower for one picture.
    asked: tokens of an answer; 0 if questions are not asked.
    """

    layers: int
    layer_parameters: int
    positions: int
    suffix: int
    modules: int = 2
    picture_flops: float = 0.0
    asked: int = 3

    def __post_init__(self) -> None:
        for name in ("layers", "layer_parameters", "positions", "suffix", "modules"):
            _check(name, getattr(self, name))
        if self.suffix > self.positions:
            raise DatasetError(
                f"suffix={self.suffix} is more than positions={self.positions}; expected how many of those are traced."
            )

    @property
    def cells(self) -> int:
        """Restored runs."""
        return self.modules * self.layers * self.suffix

    @property
    def parts(self) -> dict[str, float]:
        """Floating-point operations, by what they are for.

        A token that passes a layer takes two for each of its weights.  A restored run has the tokens from the restored one on, and the layers from the restored
        one on; the clean run has all; the corrupted one, and the clean one continued, the suffix.
        """
        each = 2.0 * self.layer_parameters
        restored = self.suffix * (self.suffix + 1) // 2 * (self.layers * (self.layers + 1) // 2) * self.modules
        asking = each * (self.positions + self.asked - 1) * self.layers + self.picture_flops if self.asked else 0.0
        return {
            "restored runs": each * restored,
            "clean and corrupted run": each * (self.positions + 2 * self.suffix) * self.layers + self.picture_flops,
            "asking": asking,
        }

    @property
    def flops(self) -> float:
        """Floating-point operations of one question."""
        return sum(self.parts.values())


# Basu et al.'s model.  Positions: 576 of the picture and 37 of the template and the question.  Suffix: from the constraint to the prompt's end in 66 released rows, each
# subset weighted by its size, the root of the mean square; 1.25 tokens a word and 5 of the template's end.
LLAVA_7B = TraceWork(
    layers=32,
    layer_parameters=4 * 4096**2 + 3 * 4096 * 11008,
    positions=613,
    suffix=13,
    picture_flops=2.0 * (23 * 12 * 1024**2 * 577 + 20_979_712 * 576),
)


@dataclass(frozen=True)
class Cost:
    """What a sweep takes (`mw.sweeps.cost`).

    seconds: of one question on one worker. hours: by the clock, with all workers. worker_hours: summed over them. cells: restored runs; None if they are not known.
    money: worker_hours times the price; None without a price.
    """

    questions: int
    seconds: float
    hours: float
    worker_hours: float
    cells: int | None = None
    money: float | None = None

    def __str__(self) -> str:
        paid = "" if self.money is None else f", {self.money:,.2f} to pay"
        return f"{self.questions:,} questions at {self.seconds:.3g} s: {self.hours:.3g} h by the clock, {self.worker_hours:.3g} h of workers{paid}"


def cost(
    measured: Run | TraceWork | float,
    questions: int = 9464,
    *,
    workers: int = 1,
    price: float | None = None,
    tflops: float | None = None,
) -> Cost:
    """Hours, and money, for that many questions.

    Run a few questions first: what they took on the machine itself is better than any arithmetic.

    Parameters
    ----------
    measured: a run of a few questions, of which the mean of `seconds` counts (all measures together); the seconds of one question; or a `TraceWork`
        such as `LLAVA_7B`, with `tflops`.
    questions: how many; VQA-Constraints has 9,464.
    workers: how many share them, evenly, each as fast as the one measured.
    price: of a worker for an hour, in whatever currency.
    tflops: 10^12 operations a second that a worker reaches in such passes, which is a fraction of what its maker states.

    Raises
    ------
    DatasetError: for a run without results, a `TraceWork` without `tflops`, or counts that are none.

    Examples
    --------
    >>> print(cost(0.5, 9464, workers=8, price=2.0))
    9,464 questions at 0.5 s: 0.164 h by the clock, 1.31 h of workers, 2.63 to pay
    """
    for name, value in (("questions", questions), ("workers", workers), ("price", price), ("tflops", tflops)):
        if name in ("questions", "workers") or (value is not None and not (name == "price" and value == 0)):
            _check(name, value)
    cells = None
    if isinstance(measured, TraceWork):
        if tflops is None:
            raise DatasetError(
                f"tflops={tflops!r}: a TraceWork counts operations; expected how many 10^12 a worker does in a second."
            )
        seconds, cells = measured.flops / (tflops * 1e12), measured.cells * questions
    elif isinstance(measured, Run):
        table = measured.questions()
        done = table.loc[table["status"] == "done"]
        if not len(done):
            raise DatasetError(
                f"the run in {str(measured.folder)!r} has no question that was done, so it tells no time."
            )
        per_question = done.groupby(["id", "model"])["seconds"].sum()
        seconds = float(per_question.mean())
        cells = round(len(measured.cells(["id"])) / len(per_question) * questions)
    else:
        seconds = _check("measured", measured)
    worker_hours = questions * seconds / 3600
    return Cost(
        questions, seconds, worker_hours / workers, worker_hours, cells, None if price is None else price * worker_hours
    )

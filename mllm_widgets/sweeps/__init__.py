"""Sweeps: one measure over many questions, kept in Parquet parts as it goes, so that it can be stopped at any moment and goes on where it was."""

from .averages import Averages, aggregate
from .costs import LLAVA_7B, Cost, TraceWork, cost
from .edits import EditMeasure
from .measures import AnswerMeasure, ContributionMeasure, Measure, TraceMeasure
from .pool import RayWorkers
from .run import Run, load_run
from .sweep import sweep

__all__ = [
    "LLAVA_7B",
    "AnswerMeasure",
    "Averages",
    "ContributionMeasure",
    "Cost",
    "EditMeasure",
    "Measure",
    "RayWorkers",
    "Run",
    "TraceMeasure",
    "TraceWork",
    "aggregate",
    "cost",
    "load_run",
    "sweep",
]

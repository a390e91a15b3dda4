"""The paper's experiments, one function each: run on the demo world in minutes, and on LLaVA with VQA-Constraints by the same call.

Each gives tables with intervals and counts, beside what Basu et al. 2024 report (`mllm_widgets.sweeps.published`).
"""

from .contributions import PictureContributions, picture_to_constraint
from .edit_averages import EditAverages
from .edits import edit_layers, edit_methods
from .failures import FailurePrediction, failure_prediction
from .identity import identity_traces
from .mmmu import Mmmu, mmmu
from .paper import beside, published_lines
from .positions import PositionBias, position_bias
from .study import Study, study
from .tables import peaks
from .traces import averaged_traces, gaussian_traces, multi_constraint_traces, text_only_traces, token_identity
from .words import PictureAgainstWords, llm_against_mllm

__all__ = [
    "EditAverages",
    "FailurePrediction",
    "Mmmu",
    "PictureAgainstWords",
    "PictureContributions",
    "PositionBias",
    "Study",
    "averaged_traces",
    "beside",
    "edit_layers",
    "edit_methods",
    "failure_prediction",
    "gaussian_traces",
    "identity_traces",
    "llm_against_mllm",
    "mmmu",
    "multi_constraint_traces",
    "peaks",
    "picture_to_constraint",
    "position_bias",
    "published_lines",
    "study",
    "text_only_traces",
    "token_identity",
]

"""What Basu et al. (NeurIPS 2024) report for LLaVA-1.5-7B, to stand beside one's own figures.

`printed` numbers stand in the paper or its rebuttal; the others were read off its figures, and are good to a few hundredths.  The paper gives no intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Figure 3: single-constraint traces, "window 3", mean P(answer) with one place restored; (subset, module, role): first layer, values
_FIGURE_3 = {
    ("movies", "mlp", "first constraint"): (0, (0.29, 0.30, 0.32)),
    ("movies", "mlp", "last constraint"): (0, (0.26, 0.28, 0.34, 0.41, 0.47, 0.43, 0.34, 0.28, 0.28, 0.31, 0.17)),
    ("movies", "mlp", "last"): (18, (0.12, 0.13, 0.17, 0.17, 0.17, 0.17)),
    ("known", "mlp", "first constraint"): (0, (0.64, 0.65, 0.65, 0.22)),
    ("known", "mlp", "last constraint"): (0, (0.56, 0.56, 0.56, 0.55, 0.50, 0.39, 0.35, 0.20, 0.22, 0.12, 0.09)),
    ("known", "mlp", "last"): (19, (0.14, 0.16, 0.18, 0.30, 0.28)),
    ("okvqa", "mlp", "first constraint"): (0, (0.48, 0.47, 0.47)),
    ("okvqa", "mlp", "last constraint"): (
        0,
        (0.42, 0.44, 0.45, 0.47, 0.48, 0.50, 0.47, 0.35, 0.29, 0.28, None, 0.23, 0.23, 0.16),
    ),
    ("movies", "self_attn", "last constraint"): (0, (0.31, 0.41, 0.47, 0.48, 0.27)),
    ("movies", "self_attn", "last"): (14, (0.35, 0.33, 0.32, 0.26, 0.39, 0.21, 0.21)),
    ("known", "self_attn", "last constraint"): (0, (0.42, 0.49, 0.48, 0.49, 0.15)),
    ("known", "self_attn", "last"): (14, (0.17, 0.12, 0.13, 0.16, 0.27, 0.13, 0.15)),
    ("okvqa", "self_attn", "last constraint"): (0, (0.32, 0.30, 0.29, 0.26, 0.28)),
    ("okvqa", "self_attn", "last"): (14, (0.12, 0.13, 0.18, 0.17, 0.28, 0.13, 0.09)),
}

# Figure 14: efficacy of MultEdit by the edited layer, 0 to 31 (which data set is not said)
_FIGURE_14 = (
    0.12, 0.34, 0.83, 0.82, 0.78, 0.75, 0.76, 0.61, 0.42, 0.41, 0.31, 0.36, 0.46, 0.44, 0.31, 0.33,
    0.33, 0.28, 0.29, 0.14, 0.13, 0.11, 0.10, 0.06, 0.06, 0.10, 0.09, 0.11, 0.04, 0.02, 0.03, 0.04,
)  # fmt: skip

# Figure 6: task A corrects wrong answers, task B inserts long-tail facts
_FIGURE_6 = {
    "unedited": (0.07, 0.07, 0.40, 0.15, 0.14, 0.40),
    "fine-tuned": (0.80, 0.63, 0.31, 0.79, 0.62, 0.29),
    "fine-tuned in a box": (0.51, 0.29, 0.26, 0.49, 0.30, 0.27),
    "MultEdit": (0.82, 0.76, 0.38, 0.83, 0.79, 0.385),
}

_PRINTED = {
    "P(answer), clean (Vinson Massif)": 0.86,
    "P(answer), corrupted (Vinson Massif)": 0.003,
    "largest restored P (Space Needle), LLaVA": 0.86,
    "largest restored P (Space Needle), LLaMA": 0.39,
    "AUROC, constraint to last": 0.63,
    "AUROC, confidence": 0.76,
    "efficacy, task A": 0.82,
    "generalization, task A": 0.76,
    "efficacy, task B": 0.83,
    "generalization, task B": 0.79,
    "MMMU, unedited": 34.4,
    "MMMU, edited": 33.8,
}


def figure_3() -> pd.DataFrame:
    """Averaged traces: subset, module, role, layer, restored; read off the figure (window 3)."""
    import pandas as pd

    rows = [
        {"subset": subset, "module": module, "role": role, "layer": first + place, "restored": value}
        for (subset, module, role), (first, values) in _FIGURE_3.items()
        for place, value in enumerate(values)
        if value is not None
    ]
    return pd.DataFrame(rows)


def figure_6() -> pd.DataFrame:
    """Editing and its baselines: method, task, efficacy, generalization, specificity; read off the figure."""
    import pandas as pd

    names = ("efficacy", "generalization", "specificity")
    rows = [
        {"method": method, "task": task, **dict(zip(names, values[start : start + 3], strict=True))}
        for method, values in _FIGURE_6.items()
        for task, start in (("A", 0), ("B", 3))
    ]
    return pd.DataFrame(rows)


def figure_14() -> pd.DataFrame:
    """Efficacy by the edited layer: layer, efficacy; read off the figure."""
    import pandas as pd

    return pd.DataFrame({"layer": range(len(_FIGURE_14)), "efficacy": _FIGURE_14})


def printed() -> pd.Series:
    """Single numbers that the paper or its rebuttal prints."""
    import pandas as pd

    return pd.Series(_PRINTED, name="published")

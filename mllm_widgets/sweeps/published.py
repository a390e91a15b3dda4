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

# Figure 5: what the visual tokens write into the constraint's last token in layer 0, of 576 tokens; (first, last) token, value (Movies and OK-VQA)
_FIGURE_5 = {
    (0, 300): 0.024, (300, 400): 0.028, (450, 500): 0.041, (520, 540): 0.060, (550, 560): 0.078, (560, 570): 0.095, (570, 576): 0.13,
}  # fmt: skip

# Figures 4, 12 and 13: questions with a visual and a text constraint (OK-VQA), window 6, P(answer) with one place restored; ranges where single layers cannot be read
_FIGURE_12 = {
    ("mlp", "text constraint"): (0, (0.36, 0.35, 0.43, 0.37, 0.42, 0.43, 0.43, 0.46, 0.40, 0.44, 0.41, 0.41, 0.41, 0.41)),
}  # fmt: skip
_FIGURE_12_RANGES = (
    ("mlp", "text constraint", 14, 18, 0.31, 0.35),
    ("mlp", "last", 18, 31, 0.44, 0.63),
    ("self_attn", "text constraint", 0, 11, 0.48, 0.61),
    ("self_attn", "last", 12, 13, 0.71, 0.71),
)

# Single questions with window 1: model, module, token, first layer, values
_SINGLES = (
    ("LLaVA", "mlp", "this building: This", 0, (0.56,)),
    ("LLaVA", "mlp", "this building: building", 0, (0.43, 0.27, 0.25, 0.19)),
    ("LLaVA", "mlp", "this person: person", 0, (0.11, 0.26, 0.32, 0.18)),
    ("LLaVA", "mlp", "this place: this", 0, (0.45,)),
    ("LLaVA", "mlp", "this place: place", 0, (0.11, 0.08, 0.29, 0.22)),
    ("LLaVA", "mlp", "this laptop: This", 0, (0.51,)),
    ("LLaVA", "mlp", "this person was born: person", 1, (0.14, 0.20)),
    ("LLaVA", "self_attn", "this company: company", 2, (0.27,)),
    ("Phi-2", "mlp", "this building: building", 0, (0.21, 0.14, None, 0.26)),
    ("Phi-2", "mlp", "this person: person", 0, (0.32, 0.28)),
    ("Phi-2", "mlp", "this company: company", 0, (0.32, None, 0.35, None, 0.69, 0.24)),
    ("Phi-2", "mlp", "this food: food", 0, (0.61, None, 0.44, 0.48, 0.29)),
    ("Phi-2", "self_attn", "this company: company", 0, (0.75, None, None, 0.23)),
    ("Vicuna, in words", "mlp", "Space Needle: last", 2, (0.14, 0.20, 0.23, 0.16, 0.18, 0.13, 0.13)),
)

# Figures 15 to 17: norm of the constraint's contribution to the last token by layer, of right and of wrong answers (Multimodal Known)
_FIGURE_17 = {
    9: (1.56, 1.57), 12: (1.98, 1.79), 13: (1.71, 1.19), 14: (1.24, 0.90), 15: (2.02, 1.58), 16: (2.04, 1.47), 17: (1.50, 1.44), 18: (0.97, 0.88),
    19: (0.89, 0.67), 20: (1.30, 1.00), 21: (0.72, 0.48), 22: (0.77, 0.55), 30: (0.68, 0.80), 31: (0.91, 1.00),
}  # fmt: skip

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
    "smallest window, LLaVA": 1,
    "smallest window, LLaMA": 5,
    "smallest window, text constraint": 6,
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


def figure_5() -> pd.DataFrame:
    """What visual tokens write into the constraint in layer 0: first (token), end, norm; read off the figure, of 576 tokens."""
    import pandas as pd

    return pd.DataFrame([{"first": first, "end": end, "norm": value} for (first, end), value in _FIGURE_5.items()])


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


def figure_12() -> pd.DataFrame:
    """Averaged traces of questions with two constraints (also figures 4 and 13): module, role, layer, low, high of restored; read off the figure (window 6).

    Low and high are the same where the figure shows a layer's number, and the range of several layers where it does not.  Figure 4 looks the same as the first panels
    of 12 and 13, which show one question; with everything corrupted the probability is about 0.2.
    """
    import pandas as pd

    single = [
        {"module": module, "role": role, "layer": first + place, "low": value, "high": value}
        for (module, role), (first, values) in _FIGURE_12.items()
        for place, value in enumerate(values)
    ]
    ranges = [
        {"module": module, "role": role, "layer": layer, "low": low, "high": high}
        for module, role, first, last, low, high in _FIGURE_12_RANGES
        for layer in range(first, last + 1)
    ]
    return pd.DataFrame([*single, *ranges])


def figure_17() -> pd.DataFrame:
    """The constraint's contribution to the last token (also figures 15 and 16): layer, right, wrong (norms); read off the figure, of some 34 right and 50 wrong answers."""
    import pandas as pd

    return pd.DataFrame([{"layer": layer, "right": one, "wrong": other} for layer, (one, other) in _FIGURE_17.items()])


def single_traces() -> pd.DataFrame:
    """Single questions with window 1: model, module, token, layer, restored; read off the figures, where they print a number."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"model": model, "module": module, "token": token, "layer": first + place, "restored": value}
            for model, module, token, first, values in _SINGLES
            for place, value in enumerate(values)
            if value is not None
        ]
    )


def llm_against_mllm() -> pd.DataFrame:
    """LLaVA asked about pictures and LLaMA in words: asked, model, window (the smallest that shows effects), layers (of the MLPs that have them, as the paper prints them),
    space_needle (the largest restored probability of one question).
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "asked": ("picture", "words"),
            "model": ("LLaVA", "LLaMA"),
            "window": (1, 5),
            "layers": ("1 to 4", "4 to 7"),
            "space_needle": (0.86, 0.39),
        }
    )


def figure_14() -> pd.DataFrame:
    """Efficacy by the edited layer: layer, efficacy; read off the figure."""
    import pandas as pd

    return pd.DataFrame({"layer": range(len(_FIGURE_14)), "efficacy": _FIGURE_14})


def printed() -> pd.Series:
    """Single numbers that the paper or its rebuttal prints."""
    import pandas as pd

    return pd.Series(_PRINTED, name="published")

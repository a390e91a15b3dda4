"""What works: the registry as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import FAMILIES, Family

if TYPE_CHECKING:
    import pandas as pd


def families() -> pd.DataFrame:
    """Every family of models that can be traced, those registered by `mw.register_family` included.

    Returns
    -------
    DataFrame, a row for each family, by its name:
        classes: names of its Hugging Face classes.
        prefix: "shared" where runs take up from the keys and values of the positions before the constraint, unless a decoder layer drops
            keys (a sliding window); "decided by the model" where more than that may stand against it, see `limits`.
        geometry: True where `vlm.geometry(question)` says where its visual tokens lie on the picture.
        pictures: "optional" or "required" in a question; "none" for language models.
        checked: how its entry is tested; empty for an entry nobody tested.
        limits: what is switched off or left out for it, and why.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> mw.families().loc["LLaVA-1.5", "classes"]
    'LlavaForConditionalGeneration'
    """
    import pandas as pd

    rows = {}
    for family in dict.fromkeys(FAMILIES.values()):
        kind = type(family)
        usual = kind.is_causal is Family.is_causal and kind.shares_prefix is Family.shares_prefix
        # a class that another entry took over is no longer this one's
        classes = [name for name in family.classes if FAMILIES.get(name) is family]
        rows[family.name] = {
            "classes": ", ".join(classes),
            "prefix": "shared" if usual else "decided by the model",
            "geometry": kind.geometry is not Family.geometry,
            "pictures": family.pictures,
            "checked": family.checked,
            "limits": family.limits,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "family"
    return table

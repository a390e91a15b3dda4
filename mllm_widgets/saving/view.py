"""What a widget's Export menu writes as JSON: its data, without the model's own side of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import SaveError

from .result import Result

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class View(Result):
    """What was shown, as numbers and texts.

    kind: of which view, "trace_heatmap" for instance.
    data: by the names of the widget's traits; arrays are numpy's, or xarray's where their axes have names.
    """

    kind: str
    data: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def to_dataframe(self) -> pd.DataFrame:
        """One row a value of its array with named axes.

        Raises SaveError if it has none.
        """
        found = [value for value in self.data.values() if hasattr(value, "coords")]
        if not found:
            raise SaveError(f"the view {self.kind!r} has no array with named axes, so there is no table of it.")
        return found[0].rename(found[0].name or "value").to_dataframe().reset_index()

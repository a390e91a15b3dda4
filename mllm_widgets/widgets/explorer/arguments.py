"""What may be passed to an Explorer."""

from __future__ import annotations

from typing import Any

import numpy as np

from mllm_widgets.errors import WidgetError


def check_whole(name: str, value: Any, least: int, most: int, where: str) -> None:
    """Raises WidgetError for what is neither None nor a whole number from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and least <= value <= most):
        raise WidgetError(f"{name}={value!r} is not in {where}; expected a whole number from {least} to {most}.")

"""How sure a mean is."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95


def bootstrap_interval(values: np.ndarray, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval (95%) of the mean of `values` (n,), by drawing them again with replacement.

    From few values (fewer than some 20), or from values that are all the same, it is narrower than it should be; of one value there is none: NaN.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.arange(100))
    >>> bool(40 < low < 49.5 < high < 60)
    True
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

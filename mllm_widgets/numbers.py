"""Numbers for a reader, with three significant figures.  js/src/lib/format.ts writes the same texts; tests/data/numbers.json holds both to it."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

NOT_KNOWN = "not known yet"
LARGE, SMALL = 99950, 1e-3  # from here on, and below, powers of ten


def number(value: float) -> str:
    """Three significant figures; tiny and huge ones as powers of ten instead of a false zero or false digits.

    Examples
    --------
    >>> [number(v) for v in (0.9987, 0.0123, 12.34, 0, -0.25, 1.234e-6)]
    ['0.999', '0.0123', '12.3', '0', '−0.250', '1.23e−6']
    """
    value, size = float(value), abs(float(value))
    if math.isnan(value):
        return NOT_KNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if size < SMALL or size >= LARGE:
        return _power(value, 2)
    decimals = next(d for d, least in enumerate((99.95, 9.995, 0.9995, 0.09995, 0.009995, 0.0)) if size >= least)
    return _minus(f"{_rounded(value, decimals):f}")


def signed(value: float) -> str:
    """The same with a sign: an effect."""
    return f"+{number(value)}" if value > 0 else number(value)


def lam_name(lam: float) -> str:
    """A lambda: three figures at most, powers of ten where it is large or small.

    Examples
    --------
    >>> [lam_name(v) for v in (0.01, 1.0, 31.62, 1e-5, 2e4)]
    ['0.01', '1', '31.6', '1.0e−5', '2.0e4']
    """
    if lam == 0:
        return "0"
    if 1e-3 <= lam < 1e4:
        places = 2 - math.floor(math.log10(lam))
        exact = _rounded(lam, places).normalize()
        return f"{exact:f}"
    return _power(lam, 1)


def _rounded(value: float, decimals: int) -> Decimal:
    """Rounded as JavaScript's toFixed rounds: the number itself, not its short form, and halves away from 0."""
    return Decimal(float(value)).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def _power(value: float, decimals: int) -> str:
    """As toExponential writes it."""
    exact = Decimal(float(value))
    power = exact.adjusted()
    digits = exact.scaleb(-power).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    if abs(digits) >= 10:
        digits, power = (digits / 10).quantize(Decimal(1).scaleb(-decimals)), power + 1
    return _minus(f"{digits:f}e{power}")


def _minus(text: str) -> str:
    return text.replace("-", "−")

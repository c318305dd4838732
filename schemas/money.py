"""Money as people write it: minor units with their currency's exponent (ISO 4217)."""

from typing import Final

_EXPONENTS: Final = {
    **dict.fromkeys(
        (
            *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"),
            *("PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Currencies whose minor unit is not a hundredth."""


def amount(minor: int, currency: str) -> str:
    """1234 as "12.34" where the currency has hundredths."""
    exponent = _EXPONENTS.get(currency, 2)
    if exponent == 0:
        return f"{minor:,}"
    whole, part = divmod(abs(minor), 10**exponent)
    return f"{'-' if minor < 0 else ''}{whole:,}.{part:0{exponent}}"


def major(minor: float, currency: str) -> float:
    """1234 as 12.34 where the currency has hundredths: for charts."""
    return minor / float(10 ** _EXPONENTS.get(currency, 2))


def money(minor: int, currency: str) -> str:
    """1234 as "12.34 USD"."""
    return f"{amount(minor, currency)} {currency}"


def difference(minor: int, currency: str) -> str:
    """1234 as "+12.34 USD"."""
    return f"{signed(minor, currency)} {currency}"


def signed(minor: int, currency: str) -> str:
    """1234 as "+12.34"."""
    return f"{'+' if minor > 0 else ''}{amount(minor, currency)}"

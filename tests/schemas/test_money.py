"""Money as people write it."""

import pytest

from schemas.money import difference, money


@pytest.mark.parametrize(
    ("minor", "currency", "said", "as_difference"),
    [
        (1_234, "USD", "12.34 USD", "+12.34 USD"),
        (-5, "USD", "-0.05 USD", "-0.05 USD"),
        (0, "USD", "0.00 USD", "0.00 USD"),
        (1_234_567, "JPY", "1,234,567 JPY", "+1,234,567 JPY"),
        (1_234, "KWD", "1.234 KWD", "+1.234 KWD"),
    ],
)
def test_an_amount_has_its_currencys_digits_and_a_difference_its_sign(
    minor: int, currency: str, said: str, as_difference: str
) -> None:
    assert money(minor, currency) == said
    assert difference(minor, currency) == as_difference

"""Number keys: one plain form for equal numbers, and what is no number of DynamoDB."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.errors import RowError
from dynatomic.events.row import Reason, key_value


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        *[(same, "1") for same in ("1", "1.0", "01", "1e0", "+1", "1.", "10E-1", ".1e+1", "1e-0")],
        *[(same, "0") for same in ("0", "-0", "+0", "0.000", "0e99", "0e-9999", "-0e9999")],
        ("-1.50", "-1.5"),
        ("-.5", "-0.5"),
        ("1200", "1200"),
        ("12e2", "1200"),
        ("1.2e-3", "0.0012"),
        ("9" * 38, "9" * 38),
        ("-" + "9" * 38, "-" + "9" * 38),
        ("0" * 50 + "7", "7"),
        ("1" + "0" * 60, "1" + "0" * 60),
        ("0." + "9" * 38, "0." + "9" * 38),
        ("1e125", "1" + "0" * 125),
        ("1e-130", "0." + "0" * 129 + "1"),
        ("9." + "9" * 37 + "e125", "9" * 38 + "0" * 88),
    ],
)
def test_a_number_key_has_one_plain_form(text: str, plain: str) -> None:
    assert key_value(text, "N") == plain


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            " ",
            " 1",
            "1 ",
            "1\n",
            "abc",
            "1a",
            "0x10",
            "1,5",
            "--1",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
        ],
        *["NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "1_000", "1__0"],
        *["\u0663", "\uff11", "\u00b2", "1e\u0661"],
        *["1" * 39, "1." + "1" * 38, "1e126", "1e-131", "1e9999", "1e-9999", "1e99999", "-1e126"],
        *["1" + "0" * 37 + "1", "9" * 38 + "e89", "1" + "0" * 126],
    ],
)
def test_a_key_that_is_no_number_of_dynamodb_is_refused(text: str) -> None:
    with pytest.raises(RowError) as caught:
        key_value(text, "N")
    assert caught.value.reason == Reason.KEY_NOT_A_NUMBER


def test_a_text_key_stays_as_it_is() -> None:
    for text in ("01", "1.0", "NaN", " x ", "e\u0301"):
        assert key_value(text, "S") == text


@given(
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-60, 60),
    st.integers(0, 5),
    st.sampled_from(["", "0", "000"]),
)
def test_equal_numbers_have_equal_plain_forms(
    digits: int, exponent: int, shift: int, zeros: str
) -> None:
    sign, size = ("-" if digits < 0 else ""), abs(digits)
    same = [f"{digits}e{exponent}", f"{sign}{zeros}{size}{'0' * shift}E{exponent - shift}"]
    plain = {key_value(text, "N") for text in same}
    assert len(plain) == 1
    (form,) = plain
    assert Decimal(form) == Decimal(same[0])
    assert key_value(form, "N") == form
    assert "e" not in form.lower()

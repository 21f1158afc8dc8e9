"""Numbers and settings as text for people."""

from __future__ import annotations

import math

import pytest

from winnow.common.formatting import format_number, format_setting, round_finite


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.9123, {}, "0.912"),
        (-0.02, {"sign": True}, "−0.020"),
        (0.5, {"places": 1, "sign": True}, "+0.5"),
        (None, {}, "–"),
        (math.nan, {}, "–"),
    ],
)
def test_a_number_is_formatted_for_reading(value, options, text):
    assert format_number(value, **options) == text


@pytest.mark.parametrize(
    ("value", "text"), [((128,), "128"), ([256, 64], "256 × 64"), ((), "none"), (0.1, "0.1"), ("cosine", "cosine")]
)
def test_a_setting_is_formatted_as_it_is_typed(value, text):
    assert format_setting(value) == text


def test_numbers_that_json_lacks_become_none():
    assert [round_finite(value) for value in (math.inf, -math.inf, math.nan, None)] == [None] * 4
    assert round_finite(0.12345678) == 0.123457

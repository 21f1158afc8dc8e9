"""Any file name survives being stored as text."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.common.paths import from_text, to_text

NAMES = st.binary(max_size=20) | st.lists(
    st.sampled_from([b"%", b"2", b"5", b"F", b"f", b"\xff", b"\xc3", b"\xa9", b"/", b" ", b"g"]), max_size=12
).map(b"".join)


@given(NAMES)
def test_any_bytes_survive_the_round_trip(data):
    name = os.fsdecode(data)
    text = to_text(name)
    assert from_text(text) == name
    text.encode("utf-8")  # it can be stored


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_unicode_survives_the_round_trip(name):
    assert from_text(to_text(name)) == name


@given(NAMES, NAMES)
def test_two_names_never_become_one_text(first, second):
    assert (to_text(os.fsdecode(first)) == to_text(os.fsdecode(second))) == (first == second)


@pytest.mark.parametrize(
    "name",
    ["roses/1.jpg", "my holiday/a b.jpg", "🌷.jpg", "-rf.jpg", "100%.jpg", "50% off.jpg", "a'b\"[c].jpg", "two\nlines"],
)
def test_ordinary_names_stay_as_they_are(name):
    assert to_text(name) == from_text(name) == name


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"caf\xe9.jpg", "caf%E9.jpg"),
        (b"a%2Fb.jpg", "a%252Fb.jpg"),
        (b"%25", "%2525"),
        (b"%\xff", "%%FF"),
        (b"\xff41", "%FF41"),
        ("é%41".encode(), "é%2541"),
        (b"\xed\xa0\x80", "%ED%A0%80"),
    ],
)
def test_what_is_escaped_and_how(data, text):
    assert to_text(os.fsdecode(data)) == text
    assert os.fsencode(from_text(text)) == data


def test_no_slash_can_be_smuggled_in():
    assert to_text("..%2F..%2Fetc") == "..%252F..%252Fetc"

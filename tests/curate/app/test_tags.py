"""Tags and deletions in the App, as verdicts."""

from __future__ import annotations

import pytest

from winnow.curate.app.tags import Picture, meaning, read
from winnow.curate.journal import Decision, Line

LABELS = {"roses", "other", "Keep"}


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("drop", ("drop", "off_topic", None)),
        (" Drop ", ("drop", "off_topic", None)),
        ("duplicate", ("drop", "duplicate", None)),
        ("other", ("drop", "other", None)),  # the word before a label of the same name
        ("keep", ("keep", None, None)),
        ("roses", ("relabel", None, "roses")),
        ("Roses", None),
        ("label:other", ("relabel", None, "other")),
        ("Label: Wild Rose ", ("relabel", None, "Wild Rose")),
        ("label:", None),
        ("holiday", None),
    ],
)
def test_a_tag_is_a_verdict_or_nothing(tag: str, said: tuple[str | None, ...] | None) -> None:
    assert meaning(tag, LABELS) == said


def test_one_decision_a_picture_whichever_copy_was_tagged() -> None:
    pictures = [Picture("a", "1.jpg", 0.5), Picture("a", "2.jpg", 0.5, ["roses"]), Picture("b", "3.jpg")]
    found = read(pictures, [], LABELS, {})
    assert found.decisions == [Decision("a", "1.jpg", "relabel", None, "roses", 0.5)]
    assert found.read == {"a": ["roses"]}


def test_a_reason_says_more_than_drop_and_contradictions_say_nothing() -> None:
    pictures = [
        Picture("a", "1.jpg", tags=["drop", "quality"]),
        Picture("b", "2.jpg", tags=["drop", "keep"]),
        Picture("c", "3.jpg", tags=["keep", "holiday"]),
    ]
    found = read(pictures, [], LABELS, {})
    assert found.decisions == [Decision("a", "1.jpg", "drop", "quality"), Decision("c", "3.jpg", "keep")]
    assert found.contradictory == ["2.jpg"]
    assert found.strange == {"holiday": 1}
    assert found.read == {"a": ["drop", "quality"], "c": ["keep"]}


def test_what_holds_already_is_not_recorded_again() -> None:
    line = Line("", "", "", "a", "1.jpg", "drop", "off_topic")
    found = read([Picture("a", "1.jpg", tags=["drop"])], [Picture("b", "2.jpg")], LABELS, {"a": line, "b": line})
    assert found.decisions == []
    assert found.read == {"a": ["drop"]}


def test_a_picture_is_dropped_when_all_its_copies_are_deleted() -> None:
    here = [Picture("a", "1.jpg")]
    found = read(here, [Picture("a", "2.jpg"), Picture("b", "3.jpg", 0.25), Picture("b", "4.jpg", 0.25)], LABELS, {})
    assert found.decisions == [Decision("b", "3.jpg", "drop", "other", None, 0.25)]
    assert found.copies == ["2.jpg"]

"""Tags and deletions in the App are read as verdicts."""

from __future__ import annotations

import pytest

from winnow.curate.app.tags import Picture, TagVerdict, parse_tag, read_actions
from winnow.curate.journal import Decision, Line

LABELS = {"roses", "other", "Keep"}


@pytest.mark.parametrize(
    ("tag", "verdict"),
    [
        ("drop", TagVerdict("drop", "off_topic")),
        (" Drop ", TagVerdict("drop", "off_topic")),
        ("duplicate", TagVerdict("drop", "duplicate")),
        ("other", TagVerdict("drop", "other")),  # the fixed word wins over the label
        ("keep", TagVerdict("keep")),
        ("roses", TagVerdict("relabel", label="roses")),
        ("Roses", None),
        ("label:other", TagVerdict("relabel", label="other")),
        ("Label: Wild Rose ", TagVerdict("relabel", label="Wild Rose")),
        ("label:", None),
        ("holiday", None),
    ],
)
def test_a_tag_is_a_verdict_or_nothing(tag: str, verdict: TagVerdict | None) -> None:
    assert parse_tag(tag, LABELS) == verdict


def test_one_decision_per_picture_whichever_copy_is_tagged() -> None:
    pictures = [Picture("a", "1.jpg", 0.5), Picture("a", "2.jpg", 0.5, ["roses"]), Picture("b", "3.jpg")]
    actions = read_actions(pictures, [], LABELS, {})
    assert actions.decisions == [Decision("a", "1.jpg", "relabel", None, "roses", 0.5)]
    assert actions.understood == {"a": ["roses"]}


def test_a_reason_wins_over_drop_and_contradictions_are_no_verdict() -> None:
    pictures = [
        Picture("a", "1.jpg", tags=["drop", "quality"]),
        Picture("b", "2.jpg", tags=["drop", "keep"]),
        Picture("c", "3.jpg", tags=["keep", "holiday"]),
    ]
    actions = read_actions(pictures, [], LABELS, {})
    assert actions.decisions == [Decision("a", "1.jpg", "drop", "quality"), Decision("c", "3.jpg", "keep")]
    assert actions.contradictory == ["2.jpg"]
    assert actions.unknown == {"holiday": 1}
    assert actions.understood == {"a": ["drop", "quality"], "c": ["keep"]}


def test_current_verdicts_are_not_recorded_again() -> None:
    line = Line("", "", "", "a", "1.jpg", "drop", "off_topic")
    actions = read_actions(
        [Picture("a", "1.jpg", tags=["drop"])], [Picture("b", "2.jpg")], LABELS, {"a": line, "b": line}
    )
    assert actions.decisions == []
    assert actions.understood == {"a": ["drop"]}


def test_a_picture_is_dropped_when_all_its_copies_are_deleted() -> None:
    pictures = [Picture("a", "1.jpg")]
    actions = read_actions(
        pictures, [Picture("a", "2.jpg"), Picture("b", "3.jpg", 0.25), Picture("b", "4.jpg", 0.25)], LABELS, {}
    )
    assert actions.decisions == [Decision("b", "3.jpg", "drop", "other", None, 0.25)]
    assert actions.deleted_copies == ["2.jpg"]

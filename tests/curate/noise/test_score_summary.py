"""The summary of the scores: what to review next, suspects in order, counts of duplicates and of verdicts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from winnow.curate.noise import score_table
from winnow.curate.noise.score_summary import (
    count_in_mixed_groups,
    next_to_review,
    rank_suspects,
    summarize,
)


def row(id: str, off_topic: float | None, label_suspect: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of the table of scores, null where nothing is given."""
    row = dict.fromkeys(score_table.schema().names) | {"id": id, "path": f"{id}.jpg", "off_topic": off_topic}
    return row | {"label_suspect": label_suspect} | more


def build_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), score_table.schema())


@pytest.fixture
def table() -> pa.Table:
    """Four undecided pictures, a copy of one, a kept one and one that cannot be read."""
    first = row("a", 0.1, 0.2)
    others = row("b", 0.2, 0.9), row("c", 0.9, 0.1), row("d", 0.15, 0.3), row("e", 1.0, 1.0, verdict="keep")
    return build_table(first, *others, first | {"path": "copy.jpg"}, row("f", None, problem="truncated"))


def test_suspects_are_undecided_pictures_by_the_larger_of_two_percentile_ranks(table: pa.Table) -> None:
    assert [suspect.path for suspect in rank_suspects(table)] == ["b.jpg", "c.jpg", "d.jpg", "a.jpg"]


def test_equal_values_share_their_rank_and_null_is_last() -> None:
    table = build_table(row("a", 0.5, None), row("b", 0.5, None), row("c", 0.5, 0.1))
    assert [suspect.path for suspect in rank_suspects(table)] == ["c.jpg", "a.jpg", "b.jpg"]


def test_the_next_batch_is_the_highest_undecided_and_two_at_random() -> None:
    rows = [row(f"{number:02}", number / 100) for number in range(30)]
    batch = next_to_review(build_table(*rows))
    assert batch.paths[:8] == [f"{number}.jpg" for number in range(29, 21, -1)]
    assert len(set(batch.paths)) == 10
    decided = [row | ({"verdict": "keep"} if row["path"] in batch.paths else {}) for row in rows]
    following = next_to_review(build_table(*decided))
    assert not set(following.paths) & set(batch.paths)
    assert following.outlook.reviewed == 10


def test_the_summary_keeps_its_json_keys(table: pa.Table) -> None:
    document = summarize(table).to_json()
    assert list(document) == [
        "suspects",
        "next",
        "outlook",
        "duplicate_groups",
        "near_duplicates",
        "mixed_groups",
        "quality",
        "verdicts",
    ]
    assert document["suspects"][0] == {
        "path": "b.jpg",
        "label": None,
        "off_topic": 0.2,
        "label_suspect": 0.9,
        "suggested_label": None,
        "duplicate_group": None,
    }
    assert document["next"] == ["c.jpg", "b.jpg", "d.jpg", "a.jpg"]
    assert document["outlook"]["looked"] == 1
    assert document["verdicts"] == {"keep": 1}


def test_dropped_pictures_are_left_out_of_duplicates_and_quality() -> None:
    table = build_table(
        row("a", 0.1, duplicate_group=0, label="roses"),
        row("b", 0.1, duplicate_group=0, label="tulips", quality=["blurred"]),
        row("c", 0.1, duplicate_group=0, label="roses", quality=["tiny"]),
        row("d", 0.1, duplicate_group=1, label="roses"),
        row("e", 0.1, duplicate_group=1, label="roses", verdict="drop", quality=["tiny"]),
    )
    summary = summarize(table)
    assert (summary.duplicate_groups, summary.near_duplicates, summary.mixed_groups) == (1, 2, 1)
    assert summary.quality == {"blurred": 1, "tiny": 1}
    assert summary.verdicts == {"drop": 1}
    assert count_in_mixed_groups(table, ["a", "d", "e", "unknown"]) == 1

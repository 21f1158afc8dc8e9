"""What curation did to a folder, as the report is told it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from winnow.curate import manifest
from winnow.curate.journal import Decision, Journal
from winnow.curate.noise import score_table
from winnow.curate.summary import summarize_curation
from winnow.curate.workspace import Workspace, find_workspace


@pytest.fixture
def place(folder: Path) -> Workspace:
    workspace = find_workspace(folder)
    manifest.scan(workspace)
    return workspace


def decide(workspace: Workspace, path: str, verdict: str, **more: str) -> None:
    ids = dict(zip(*(manifest.read(workspace)[name].to_pylist() for name in ("path", "id")), strict=True))
    Journal(workspace.folder).record([Decision(ids[path], path, verdict, **more)])


def test_before_any_verdict_there_is_nothing_but_the_counts(place: Workspace) -> None:
    said = summarize_curation(place, score_table.unscored(place))
    assert said["verdicts"] == said["reasons"] == {}
    assert said["classes"] == [
        {"label": "blue", "found": 6, "decided": 6},
        {"label": "red", "found": 6, "decided": 6},
    ]
    assert (said["lines"], said["journal"], said["dropped"], said["suspects"]) == (0, [], [], [])
    assert said["duplicates"] == {"groups": [], "count": 0, "mixed": 0}


def test_counts_what_holds_and_lists_the_journal_newest_first(place: Workspace) -> None:
    decide(place, "red/0.jpg", "drop", reason="quality")
    decide(place, "red/1.jpg", "drop", reason="off_topic")
    decide(place, "red/2.jpg", "relabel", label="green")
    decide(place, "blue/0.jpg", "keep")
    decide(place, "blue/1.jpg", "drop", reason="other")
    Journal(place.folder).undo()
    said = summarize_curation(place, score_table.unscored(place))
    assert said["verdicts"] == {"drop": 2, "relabel": 1, "keep": 1}
    assert said["reasons"] == {"quality": 1, "off_topic": 1}
    assert [(row["path"], row["label"], row["reason"]) for row in said["dropped"]] == [
        ("red/1.jpg", "red", "off_topic"),
        ("red/0.jpg", "red", "quality"),
    ]
    assert [(row["path"], row["label"], row["to"]) for row in said["relabelled"]] == [("red/2.jpg", "red", "green")]
    assert {row["label"]: (row["found"], row["decided"]) for row in said["classes"]} == {
        "blue": (6, 6),
        "green": (0, 1),
        "red": (6, 3),
    }
    assert said["lines"] == 6
    assert [line["verdict"] for line in said["journal"][:2]] == ["undo", "drop"]


def test_groups_under_several_labels_and_the_most_suspect_labels_come_first(place: Workspace) -> None:
    def row(path: str, label: str, **more: object) -> dict[str, object]:
        return dict.fromkeys(score_table.schema().names) | {"id": path, "path": path, "label": label} | more

    rows = [
        row("a", "red", duplicate_group=0, duplicate_keep=False),
        row("b", "red", duplicate_group=0, duplicate_keep=True, label_suspect=0.7, suggested_label="red"),
        row("c", "red", duplicate_group=1, duplicate_keep=True, label_suspect=0.8, suggested_label="blue"),
        row("d", "blue", duplicate_group=1, duplicate_keep=False, label_suspect=0.99, suggested_label="red"),
        row("e", "blue", label_suspect=0.9, suggested_label="red"),
    ]
    Journal(place.folder).record([Decision("d", "d", "drop", "duplicate")])  # younger than the scores
    said = summarize_curation(place, pa.Table.from_pylist(rows, score_table.schema()))
    assert (said["duplicates"]["count"], said["duplicates"]["mixed"]) == (2, 1)
    assert [[picture["path"] for picture in group["pictures"]] for group in said["duplicates"]["groups"]] == [
        ["c", "d"],
        ["b", "a"],
    ]
    assert said["duplicates"]["groups"][0]["pictures"][1]["dropped"]
    assert [found["path"] for found in said["suspects"]] == ["e", "c"]

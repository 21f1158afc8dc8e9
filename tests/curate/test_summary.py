"""The summary of the curation of a folder counts and lists what the report shows."""

from __future__ import annotations

import pyarrow as pa

from winnow.curate import manifest
from winnow.curate.journal import Decision, Journal
from winnow.curate.noise import score_table
from winnow.curate.summary import summarize_curation
from winnow.curate.workspace import Workspace


def decide(workspace: Workspace, path: str, verdict: str, **more: str) -> None:
    ids = dict(zip(*(manifest.read(workspace)[name].to_pylist() for name in ("path", "id")), strict=True))
    Journal(workspace.folder).record([Decision(ids[path], path, verdict, **more)])


def test_before_any_verdict_there_are_only_counts(workspace: Workspace) -> None:
    summary = summarize_curation(workspace, score_table.unscored(workspace))
    assert summary["verdicts"] == summary["reasons"] == {}
    assert summary["classes"] == [
        {"label": "blue", "found": 6, "decided": 6},
        {"label": "red", "found": 6, "decided": 6},
    ]
    assert (summary["lines"], summary["journal"], summary["dropped"], summary["suspects"]) == (0, [], [], [])
    assert summary["duplicates"] == {"groups": [], "count": 0, "mixed": 0}


def test_counts_current_verdicts_and_lists_the_journal_newest_first(workspace: Workspace) -> None:
    decide(workspace, "red/0.jpg", "drop", reason="quality")
    decide(workspace, "red/1.jpg", "drop", reason="off_topic")
    decide(workspace, "red/2.jpg", "relabel", label="green")
    decide(workspace, "blue/0.jpg", "keep")
    decide(workspace, "blue/1.jpg", "drop", reason="other")
    Journal(workspace.folder).undo()
    summary = summarize_curation(workspace, score_table.unscored(workspace))
    assert summary["verdicts"] == {"drop": 2, "relabel": 1, "keep": 1}
    assert summary["reasons"] == {"quality": 1, "off_topic": 1}
    assert [(row["path"], row["label"], row["reason"]) for row in summary["dropped"]] == [
        ("red/1.jpg", "red", "off_topic"),
        ("red/0.jpg", "red", "quality"),
    ]
    assert [(row["path"], row["label"], row["to"]) for row in summary["relabelled"]] == [("red/2.jpg", "red", "green")]
    assert {row["label"]: (row["found"], row["decided"]) for row in summary["classes"]} == {
        "blue": (6, 6),
        "green": (0, 1),
        "red": (6, 3),
    }
    assert summary["lines"] == 6
    assert [line["verdict"] for line in summary["journal"][:2]] == ["undo", "drop"]


def test_groups_under_several_labels_and_the_most_suspect_labels_come_first(workspace: Workspace) -> None:
    def row(path: str, label: str, **more: object) -> dict[str, object]:
        return dict.fromkeys(score_table.schema().names) | {"id": path, "path": path, "label": label} | more

    rows = [
        row("a", "red", duplicate_group=0, duplicate_keep=False),
        row("b", "red", duplicate_group=0, duplicate_keep=True, label_suspect=0.7, suggested_label="red"),
        row("c", "red", duplicate_group=1, duplicate_keep=True, label_suspect=0.8, suggested_label="blue"),
        row("d", "blue", duplicate_group=1, duplicate_keep=False, label_suspect=0.99, suggested_label="red"),
        row("e", "blue", label_suspect=0.9, suggested_label="red"),
    ]
    Journal(workspace.folder).record([Decision("d", "d", "drop", "duplicate")])  # newer than the scores
    summary = summarize_curation(workspace, pa.Table.from_pylist(rows, score_table.schema()))
    assert (summary["duplicates"]["count"], summary["duplicates"]["mixed"]) == (2, 1)
    assert [[picture["path"] for picture in group["pictures"]] for group in summary["duplicates"]["groups"]] == [
        ["c", "d"],
        ["b", "a"],
    ]
    assert summary["duplicates"]["groups"][0]["pictures"][1]["dropped"]
    assert [suspect["path"] for suspect in summary["suspects"]] == ["e", "c"]

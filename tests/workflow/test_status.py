"""Status compares a workspace with its folder, and names the next command."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import winnow, winnow_json
from support.pictures import HUES, paint


def test_the_next_command_follows_from_what_is_done(hues: Path, colours: Path) -> None:
    assert winnow_json("status", hues)["next"] == "scan"
    winnow_json("scan", hues)
    status = winnow_json("status", hues)
    assert status["scanned"] == {"pictures": 60, "readable": 60, "added": 0, "changed": 0, "removed": 0}
    assert status["next"] == "score"
    winnow_json("score", hues, "--backbone", colours)
    status = winnow_json("status", hues)
    assert [(table["vectors"], table["missing"]) for table in status["embedded"]] == [(60, 0)]
    assert status["scored"] == {"pictures": 60, "stale": False}
    assert status["next"] == "review"
    winnow_json("decide", hues, "--drop", "red/00.jpg")
    status = winnow_json("status", hues)
    assert status["decided"] == {"drop": 1}
    assert status["scored"]["stale"]
    assert status["next"] == "score"
    winnow_json("score", hues, "--backbone", colours)
    assert winnow_json("status", hues)["next"] == "run"


def test_files_that_were_added_changed_or_removed_since_the_scan_are_counted(hues: Path) -> None:
    (hues / "notes.txt").write_text("no picture")
    winnow_json("scan", hues)
    paint(hues / "red" / "new.jpg", HUES["red"], 500)
    paint(hues / "red" / "01.jpg", HUES["red"], 501)
    (hues / "red" / "02.jpg").unlink()
    status = winnow_json("status", hues)
    assert [status["scanned"][name] for name in ("added", "changed", "removed")] == [1, 1, 1]
    assert status["next"] == "scan"


@pytest.mark.slow
def test_the_last_runs_and_the_sizes_on_disk_are_listed(hues: Path, colours: Path) -> None:
    quick = ("--backbone", colours, "--heads", "centroid,dummy", "--repeats", 2, "--jobs", 1)
    document = winnow_json("compare", hues, *quick)
    status = winnow_json("status", hues)
    assert [(run["run"], run["kind"], run["head"]) for run in status["trained"]] == [
        (document["run"], "compare", "centroid")
    ]
    assert status["trained"][0]["weighted_f1"] == document["heads"][0]["weighted_f1"]
    assert status["bytes"]["runs"] > 10_000
    assert list(status["bytes"].values()) == sorted(status["bytes"].values(), reverse=True)
    output = winnow("status", hues).output
    assert "Scanned:  60 pictures" in output
    assert "Compare:  centroid, weighted F1" in output
    assert "On disk:" in output


@pytest.mark.slow
def test_scores_are_stale_when_a_label_or_a_reason_has_changed(hues: Path, colours: Path) -> None:
    winnow_json("score", hues, "--backbone", colours)
    for verdict in (("--relabel", "green"), ("--relabel", "blue"), ("--drop", "--reason", "other"), ("--drop",)):
        winnow_json("decide", hues, *verdict, "red/00.jpg")
        assert winnow_json("status", hues)["scored"]["stale"]
        winnow_json("score", hues, "--backbone", colours)
        assert not winnow_json("status", hues)["scored"]["stale"]


def test_a_damaged_run_is_left_out(hues: Path) -> None:
    winnow_json("scan", hues)
    (Path("hues.winnow") / "runs" / "broken").mkdir(parents=True)
    (Path("hues.winnow") / "runs" / "broken" / "metrics.json").write_text("{")
    assert winnow_json("status", hues)["trained"] == []

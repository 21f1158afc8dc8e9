"""How far the work on a folder is, as `winnow status` says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.pictures import HUES, paint

from winnow import cli


def winnow(*words: object) -> Any:
    done = CliRunner().invoke(cli.main, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_names_the_next_sensible_command_all_the_way(hues: Path, colours: Path) -> None:
    assert winnow("status", hues)["next"] == "scan"
    winnow("scan", hues)
    said = winnow("status", hues)
    assert said["scanned"] == {"pictures": 60, "readable": 60, "added": 0, "changed": 0, "removed": 0}
    assert said["next"] == "score"
    winnow("score", hues, "--backbone", colours)
    said = winnow("status", hues)
    assert [(table["vectors"], table["missing"]) for table in said["embedded"]] == [(60, 0)]
    assert said["scored"] == {"pictures": 60, "stale": False}
    assert said["next"] == "review"
    winnow("decide", hues, "--drop", "red/00.jpg")
    said = winnow("status", hues)
    assert said["decided"] == {"drop": 1}
    assert said["scored"]["stale"]
    assert said["next"] == "score"
    winnow("score", hues, "--backbone", colours)
    assert winnow("status", hues)["next"] == "run"


def test_tells_what_came_changed_and_went_since_the_scan(hues: Path) -> None:
    (hues / "notes.txt").write_text("no picture")
    winnow("scan", hues)
    paint(hues / "red" / "new.jpg", HUES["red"], 500)
    paint(hues / "red" / "01.jpg", HUES["red"], 501)
    (hues / "red" / "02.jpg").unlink()
    said = winnow("status", hues)
    assert (said["scanned"]["added"], said["scanned"]["changed"], said["scanned"]["removed"]) == (1, 1, 1)
    assert said["next"] == "scan"


@pytest.mark.slow
def test_shows_the_last_runs_and_the_sizes_on_disk(hues: Path, colours: Path) -> None:
    quick = ("--backbone", colours, "--heads", "centroid,dummy", "--repeats", 2, "--jobs", 1)
    run = winnow("compare", hues, *quick)
    said = winnow("status", hues)
    assert [(found["run"], found["kind"], found["head"]) for found in said["trained"]] == [
        (run["run"], "compare", "centroid")
    ]
    assert said["bytes"]["runs"] > 10_000
    assert list(said["bytes"].values()) == sorted(said["bytes"].values(), reverse=True)
    shown = CliRunner().invoke(cli.main, ["status", str(hues)]).output
    assert "Scanned:  60 pictures" in shown
    assert "Compare:  centroid, weighted F1" in shown
    assert "On disk:" in shown


@pytest.mark.slow
def test_scores_are_out_of_date_when_a_label_or_reason_changes_and_a_damaged_run_is_passed_over(
    hues: Path, colours: Path
) -> None:
    winnow("score", hues, "--backbone", colours)
    for words in (("--relabel", "green"), ("--relabel", "blue"), ("--drop", "--reason", "other"), ("--drop",)):
        winnow("decide", hues, *words, "red/00.jpg")
        assert winnow("status", hues)["scored"]["stale"]
        winnow("score", hues, "--backbone", colours)
        assert not winnow("status", hues)["scored"]["stale"]
    (Path("hues.winnow") / "runs" / "broken").mkdir(parents=True)
    (Path("hues.winnow") / "runs" / "broken" / "metrics.json").write_text("{")
    assert winnow("status", hues)["trained"] == []

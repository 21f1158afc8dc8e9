"""Spellings of version 0.1.0 work, and each is answered by one line that names the new spelling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import winnow

from winnow.commands.deprecated import replace_old_spellings

OPTIONS = ("--augment", "--tta", "--head", "--heads", "--size")
NOTE = "note: {} is now {}; the old name goes with the next release"


@pytest.mark.parametrize(
    ("typed", "updated", "notes"),
    [
        (["--views", "4"], ["--augment", "4"], [("--views", "--augment")]),
        (["--views=4", "x"], ["--augment=4", "x"], [("--views", "--augment")]),
        (["--test-views", "one"], ["--tta", "none"], [("--test-views", "--tta"), ("--tta one", "none")]),
        (["--test-views=mirror"], ["--tta=flip"], [("--test-views", "--tta"), ("--tta mirror", "flip")]),
        (["--test-views", "mean"], ["--tta", "mean"], [("--test-views", "--tta")]),
        (["--head", "tail"], ["--head", "finetune"], [("--head tail", "finetune")]),
        (["--heads", "lda,tail"], ["--heads", "lda,finetune"], [("--heads tail", "finetune")]),
        (["photos", "--size", "96", "--head", "lda"], ["photos", "--size", "96", "--head", "lda"], []),
        (["--", "--views", "4"], ["--", "--views", "4"], []),
        (["--views"], ["--augment"], [("--views", "--augment")]),
    ],
)
def test_old_spellings_are_replaced(typed: list[str], updated: list[str], notes: list[tuple[str, str]]) -> None:
    assert replace_old_spellings(typed, OPTIONS) == (updated, [NOTE.format(*names) for names in notes])


def test_an_option_that_the_command_never_had_stays_unknown(folder: Path) -> None:
    done = winnow("scan", folder, "--views", "4")
    assert done.exit_code == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize("command", ["embed", "score", "compare", "train", "tune", "run", "export"])
def test_the_help_has_the_new_spellings_only(command: str) -> None:
    text = winnow(command, "--help").output
    assert "--views" not in text
    assert "--test-views" not in text
    assert "tail" not in text.replace("detail", "")


def test_views_are_embedded_as_augmentations(hues: Path, colours: Path) -> None:
    done = winnow("embed", hues, "--backbone", colours, "--views", "2", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["embedded"] == 60
    assert done.stderr.splitlines()[0] == NOTE.format("--views", "--augment")


@pytest.mark.slow
def test_a_head_is_trained_with_the_old_names(hues: Path, colours: Path) -> None:
    arguments = ("--backbone", colours, "--head", "centroid", "--views", "2", "--test-views", "mirror", "--json")
    done = winnow("train", hues, *arguments)
    assert done.exit_code == 0, done.stderr
    run = json.loads((Path(json.loads(done.stdout)["run"]) / "run.json").read_text())
    assert (run["embedding"]["augment"], run["embedding"]["tta"]) == (2, "flip")


def test_tail_is_the_head_finetune(hues: Path, colours: Path) -> None:
    for command in ("train", "tune"):
        done = winnow(command, hues, "--backbone", colours, "--head", "tail")
        assert NOTE.format("--head tail", "finetune") in done.stderr.splitlines()
        assert done.exit_code == 1  # fine-tuning needs Keras' weights: the name was understood
    done = winnow("compare", hues, "--backbone", colours, "--heads", "centroid,tail")
    assert NOTE.format("--heads tail", "finetune") in done.stderr.splitlines()
    assert done.exit_code == 1

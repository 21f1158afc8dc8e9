"""Errors are one line that says what is wrong and what to do, without a traceback."""

from __future__ import annotations

import errno
import json
import signal
import time
from pathlib import Path

import pytest
from support.command_line import start_winnow, winnow


def test_of_usage_exit_with_2(folder: Path) -> None:
    for arguments in (["scan", "--nope"], ["embed", folder, "--size", "50"], ["train", folder, "--head", "x"], ["no"]):
        done = winnow(*arguments)
        assert done.exit_code == 2, arguments
        assert done.stdout == ""


def test_are_one_line_without_traceback(folder: Path) -> None:
    done = winnow("scan", folder, "--labels", "labels.csv")
    assert done.exit_code == 1
    assert "no such file: --labels takes folder, parent or a CSV file" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.output


def test_show_what_a_name_would_tell_the_terminal(folder: Path, colours: Path, tmp_path: Path) -> None:
    (folder / "red").rename(folder / "red\x1b]0;title\x07")
    (folder / "blue").rename(tmp_path / "blue")
    done = winnow("compare", folder, "--workspace", "w", "--backbone", colours)
    assert done.exit_code == 1
    assert "labels found: red\\x1b]0;title\\x07" in done.stderr
    assert "\x1b" not in done.output
    (tmp_path / "blue").rename(folder / "blue")
    (tmp_path / "labels.csv").write_text("path,label\nblue/0.jpg,x\nno\x1b[2J.jpg,y\n")
    done = winnow("scan", folder, "--labels", "labels.csv")
    assert "note:" in done.stderr
    assert "\x1b" not in done.output


def test_heads_and_grid_exclude_each_other(folder: Path) -> None:
    done = winnow("compare", folder, "--heads", "knn", "--grid", "report")
    assert done.exit_code == 2


@pytest.mark.slow
def test_an_interrupted_command_says_so_and_goes_on_the_next_time(tmp_path: Path) -> None:
    from winnow.curate.demo.dataset import draw_dataset

    draw_dataset(tmp_path / "photos", per_class=100, size=(900, 900))
    running = start_winnow("scan", "photos", cwd=tmp_path)
    while not (tmp_path / "photos.winnow" / ".lock").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert errors.splitlines()[-1].startswith("Error: interrupted; what was done is kept")
    assert "Traceback" not in errors
    assert json.loads(winnow("scan", "photos", "--json").stdout)["images"] == 500


def test_an_error_is_the_fact_then_what_to_do(folder: Path) -> None:
    expected = {
        ("embed",): "no folder of pictures is named, and the current folder has no workspace: "
        "name one, as in `winnow scan photos`, or set WINNOW_IMAGES",
        ("decide", "--drop", folder, "x.jpg"): f"{folder} has no workspace here: "
        f"run `winnow scan {folder}` first, or use --workspace",
        ("undo", folder): f"{Path('photos.winnow').resolve()} is no workspace: "
        "run `winnow undo` in the folder where `winnow scan` was run, or use --workspace",
    }
    for arguments, line in expected.items():
        done = winnow(*arguments)
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"Error: {line}")


def test_an_error_of_the_system_names_the_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def scan(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "photos.winnow/a\x1b.lance")

    monkeypatch.setattr("winnow.curate.manifest.scan", scan)
    done = winnow("scan", folder)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: photos.winnow/a\\x1b.lance: No space left on device: correct that and run the same command again"
    )

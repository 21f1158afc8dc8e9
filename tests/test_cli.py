"""The folder of pictures that a command works on, and that it is never written to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import winnow


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_are_those_of_the_argument(folder: Path) -> None:
    done = winnow("scan", folder)
    assert done.exit_code == 0
    assert str(folder) in done.stderr
    assert Path("photos.winnow/workspace.json").is_file()


def test_are_those_of_the_one_workspace_here(folder: Path) -> None:
    winnow("scan", folder)
    done = winnow("scan", "--json")
    assert json.loads(done.stdout)["images"] == 12
    assert f"Pictures: {folder}" in done.stderr


def test_are_those_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_IMAGES", str(folder))
    assert json.loads(winnow("scan", "--json").stdout)["images"] == 12


def test_are_asked_for_when_nothing_says_which() -> None:
    done = winnow("embed")
    assert done.exit_code == 1
    assert done.stderr == (
        "Error: no folder of pictures is named, and the current folder has no workspace: "
        "name one, as in `winnow scan photos`, or set WINNOW_IMAGES\n"
    )


def test_are_asked_for_when_there_are_several_workspaces(folder: Path) -> None:
    winnow("scan", folder)
    winnow("scan", folder / "red")
    done = winnow("embed")
    assert done.exit_code == 1
    assert "several workspaces here (photos.winnow, red.winnow)" in done.stderr


def test_of_another_folder_of_the_same_name_are_refused(folder: Path, tmp_path: Path) -> None:
    winnow("scan", folder)
    other = tmp_path / "elsewhere" / "photos"
    other.mkdir(parents=True)
    done = winnow("scan", other)
    assert done.exit_code == 1
    assert "use --workspace to name another" in done.stderr
    assert winnow("scan", other, "--workspace", "other.winnow").exit_code == 0


def test_are_never_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(folder)
    winnow("scan", folder)
    assert tree(folder) == before
    monkeypatch.chdir(folder)
    done = winnow("scan", ".")
    assert done.exit_code == 1
    assert "would lie inside the pictures" in done.stderr
    assert tree(folder) == before

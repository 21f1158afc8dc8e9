"""Pictures that a model is doubtful of become a folder to look through, in the App and after it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from support.review_app import EVIL, App, open_app, open_samples, shorten, wait_until

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.decisions import decide
from winnow.curate.export import collect as doubtful
from winnow.curate.export.collect import collect
from winnow.curate.export.materialize import materialize
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.noise import score_table
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.features import embed

Row = doubtful.Row


@pytest.fixture
def rows(hues: Path) -> list[Row]:
    """Three that the model calls red or green, the second least familiar and the third least sure."""
    said = [("red", "00", "red", 0.9, 0.04), ("green", "01", "red", 0.8, 0.0), ("blue", "02", "green", 0.4, 0.5)]
    return [(hues / label / f"{name}.jpg", told, sure, usual) for label, name, told, sure, usual in said]


def below(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def score(workspace: Workspace, backbone: Path) -> tuple[Workspace, Path]:
    store, _ = embed(workspace, EmbeddingConfig(backbone=backbone), lambda done, total: None, print)
    score_table.score(workspace, store.path)
    return workspace, store.path


@pytest.mark.parametrize("copy", [False, True])
def test_they_become_a_scanned_folder_that_knows_what_the_model_said(rows, tmp_path, copy):
    told: list[tuple[int, int]] = []
    workspace = collect(rows, Path("doubtful"), copy, on_progress=lambda *done: told.append(done))
    assert workspace == find_workspace(tmp_path / "doubtful")
    assert workspace.folder == tmp_path / "doubtful.winnow"
    assert below(tmp_path / "doubtful") == ["green/02.jpg", "red/00.jpg", "red/01.jpg"]
    assert {path.is_symlink() for path in workspace.images.rglob("*.jpg")} == {not copy}
    table = manifest.read(workspace)
    assert table["label"].to_pylist() == ["green", "red", "red"]
    said = doubtful.read(workspace)
    names = ("predicted", "probability", "familiarity")
    assert [tuple(said[id][name] for name in names) for id in table["id"].to_pylist()] == [
        ("green", 0.4, 0.5),
        ("red", 0.9, 0.04),
        ("red", 0.8, 0.0),
    ]
    assert told[-1] == (3, 3)
    assert doubtful.read(find_workspace(tmp_path / "hues")) == {}


def test_what_is_decided_there_is_what_materialize_writes(rows, tmp_path):
    workspace = collect(rows, tmp_path / "doubtful", False)
    decide(workspace, ["red/01.jpg"], "relabel", label="green")
    decide(workspace, ["green/02.jpg"], "drop")
    materialize(workspace, tmp_path / "labelled")
    assert below(tmp_path / "labelled") == ["README.md", "green/01.jpg", "red/00.jpg"]
    assert (tmp_path / "labelled/green/01.jpg").readlink() == rows[1][0]  # the folder in between may go


def test_labels_that_are_no_folders_copies_and_numbers_that_are_none(rows, tmp_path):
    again = tmp_path / "again.jpg"
    shutil.copy(rows[0][0], again)
    odd = [(rows[0][0], "a/b", 0.5, 0.5), (rows[1][0], "<b>花\n", float("nan"), 0.5), (again, "a/b", 0.5, 0.5)]
    workspace = collect(odd, tmp_path / "out", False)
    assert below(tmp_path / "out") == ["_b_花_/01.jpg", "a_b/00.jpg", "a_b/again.jpg"]
    assert sorted((row["predicted"], row["probability"]) for row in doubtful.read(workspace).values()) == [
        ("<b>花\n", None),
        ("a/b", 0.5),
    ]
    manifest.scan(find_workspace(tmp_path / "out"))  # labels stay those of the model
    assert manifest.read(workspace)["label"].to_pylist() == ["<b>花", "a/b", "a/b"]
    decide(workspace, ["_b_花_/01.jpg"], "relabel", label="a/b")
    assert materialize(workspace, tmp_path / "labelled")["labels"] == {"a/b": 2}


def test_labels_that_are_names_of_splits_are_labels(rows, tmp_path):
    said = [(file, label, *numbers) for (file, _, *numbers), label in zip(rows, ("train", "test", "test"), strict=True)]
    workspace = collect(said, tmp_path / "out", False)
    assert sorted(manifest.read(workspace)["label"].to_pylist()) == ["test", "test", "train"]
    assert manifest.read(workspace)["split"].to_pylist() == [None] * 3


def test_those_that_are_gone_are_told_and_left_out(rows, tmp_path):
    rows[0][0].unlink()
    said: list[str] = []
    collect(rows, tmp_path / "out", True, said.append)
    gone = f"{rows[0][0]}: no such file: check the path"
    assert said == [f"left out, 1 picture that cannot be read any more, as {gone}"]
    assert below(tmp_path / "out") == ["green/02.jpg", "red/01.jpg"]
    with pytest.raises(InputError, match=f"^no doubtful picture is there any more, as {gone}$"):
        collect(rows[:1], tmp_path / "more", True)
    assert not (tmp_path / "more").exists()


def test_nothing_is_left_where_it_cannot_be_done(rows, tmp_path):
    with pytest.raises(InputError, match="^no picture is doubtful: there is nothing to collect$"):
        collect([], tmp_path / "out", False)
    with pytest.raises(InputError, match="out would lie inside the pictures"):
        collect(rows, tmp_path / "hues/out", False, among=[tmp_path / "hues"])
    with pytest.raises(InputError, match="hues is not empty: name a new folder"):
        collect(rows, tmp_path / "hues", False)
    with pytest.raises(InputError, match="has control characters or bytes that are not UTF-8 in its path"):
        collect(rows, tmp_path / "o\nut", False)
    (tmp_path / "out.winnow").mkdir()
    with pytest.raises(
        InputError, match=r"out\.winnow is left of an earlier folder: remove it, or name another than out"
    ):
        collect(rows, tmp_path / "out", False)
    (tmp_path / "out.winnow").rmdir()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(rows, tmp_path / "out", False, on_progress=interrupt)
    assert os.listdir(tmp_path) == ["hues"]
    assert all(row[0].is_file() for row in rows)


def test_what_another_command_makes_meanwhile_stays(rows, tmp_path, monkeypatch):
    def filled(done: int, total: int) -> None:
        (tmp_path / "out/of others.txt").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(rows, tmp_path / "out", False, on_progress=filled)
    assert below(tmp_path / "out") == ["of others.txt"]
    claim = doubtful._claim
    monkeypatch.setattr(doubtful, "_claim", lambda folder: folder.mkdir() or claim(folder))
    with pytest.raises(InputError, match=r"new\.winnow is being made by another command"):
        collect(rows, tmp_path / "new", False)
    assert (tmp_path / "new.winnow").is_dir()


def test_the_workspace_lies_beside_them_whatever_the_environment_says(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_WORKSPACE", str(tmp_path / "other.winnow"))
    monkeypatch.chdir(rows[0][0].parent)
    assert collect(rows, tmp_path / "deep/out", False).folder == tmp_path / "deep/out.winnow"
    assert len(manifest.read(find_workspace(tmp_path / "deep/out", tmp_path / "deep/out.winnow"))) == 3


@pytest.mark.parametrize("many", [1, 2, 3])
def test_few_pictures_are_enough_to_be_scored(rows, colours, tmp_path, many):
    workspace, _ = score(collect(rows[:many], tmp_path / "out", False), colours)
    assert len(score_table.read(workspace)) == many


@pytest.mark.slow
def test_in_the_app_they_are_sorted_by_what_the_model_said_and_verdicts_lead_to_a_labelled_folder(
    scored_workspace: tuple[Workspace, Path],
    chromium: Any,
    rows: list[Row],
    colours: Path,
    tmp_path: Path,
) -> None:
    evil = EVIL.removesuffix(".jpg")
    more = (scored_workspace[0].images / "red" / EVIL, evil, 0.45, 0.3)
    workspace, store = score(collect([*rows, more], tmp_path / "doubtful", False), colours)
    decide(workspace, ["red/00.jpg"], "keep")  # so that no two views in a row have as many pictures
    with open_app((workspace, store)) as running:
        app = App(chromium, running.address())
        with open_samples(running) as collection:
            said = {
                row["path"]: (row["predicted"], row["probability"], row["familiarity"]) for row in collection.find()
            }
        assert len(said) == 4
        assert said["red/01.jpg"] == ("red", 0.8, 0.0)
        assert (evil, 0.45, 0.3) in said.values()
        app.view("Unfamiliar first", 3)
        app.select(0)
        app.press("drop", "Dropped as off_topic: 1 picture.")
        app.wait_for_count(lambda count: count == 2)
        app.view("Off-topic first", 4)
        app.view("Unsure first", 2)
        app.select(0)
        chromium.locator('[data-item-id="@winnow/review/relabel"]').click()
        chromium.get_by_role("dialog").get_by_role("textbox").fill("blue")
        chromium.wait_for_timeout(1500)
        chromium.get_by_role("button", name="Relabel").click()
        app.wait_for_text("Relabelled blue: 1 picture.")
        app.wait_for_count(lambda count: count == 1)
        app.view("Off-topic first", 4)
        for field, ends in (("probability", ["0.40", "0.90"]), ("familiarity", ["0.00", "0.50"])):
            chromium.locator(f'[data-cy="sidebar-field-arrow-enabled-{field}"]').click()
            slider = chromium.locator(f'[data-cy="numeric-slider-container-{field}"]')
            wait_until(lambda slider=slider, ends=ends: slider.inner_text().split()[:2] == ends)
        rail = slider.locator(".MuiSlider-root")
        rail.click(position={"x": 0.75 * rail.bounding_box()["width"], "y": 1})
        wait_until(lambda: len(app.tiles()) == 3, 20)  # all but the most familiar one
        assert chromium.title() != "executed"
        running.end(signal.SIGINT)
    given = current_verdicts(Journal(workspace.folder).lines())
    assert [shorten(line) for line in given.values()] == [
        ("keep", "red/00.jpg"),
        ("drop", "off_topic", "red/01.jpg"),
        ("relabel", "blue", "green/02.jpg"),
    ]
    materialize(workspace, tmp_path / "labelled")
    written = below(tmp_path / "labelled")
    assert len(written) == 4
    assert {"README.md", "blue/02.jpg", "red/00.jpg"} < set(written)


@pytest.mark.slow
def test_the_app_of_any_other_folder_is_as_it_was(scored_workspace: tuple[Workspace, Path]) -> None:
    with open_app(scored_workspace) as running:
        running.address()
        with open_samples(running) as collection:
            assert not {"predicted", "probability", "familiarity"} & collection.find_one().keys()
            views = {view["name"] for view in collection.database["views"].find()}
        running.end()
    assert "Off-topic first" in views
    assert not {"Unfamiliar first", "Unsure first"} & views

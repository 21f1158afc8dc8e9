"""Pictures that a model is uncertain about are collected into a folder to curate, with or without the App."""

from __future__ import annotations

import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.errors import input_error
from support.files import read_files
from support.review_app import EVIL, App, open_app, open_samples, shorten, wait_until

from winnow.curate import manifest
from winnow.curate.decisions import decide
from winnow.curate.export import collect as collecting
from winnow.curate.export.collect import UncertainPicture, collect, read_predictions
from winnow.curate.export.materialize import materialize
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.noise import score_table
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.embedding import embed


@pytest.fixture
def uncertain(hues: Path) -> list[UncertainPicture]:
    """Three pictures predicted as red or green, the second least familiar and the third least probable."""
    rows = [("red", "00", "red", 0.9, 0.04), ("green", "01", "red", 0.8, 0.0), ("blue", "02", "green", 0.4, 0.5)]
    return [UncertainPicture(hues / folder / f"{name}.jpg", *prediction) for folder, name, *prediction in rows]


def score(workspace: Workspace, backbone: Path) -> tuple[Workspace, Path]:
    store, _ = embed(workspace, EmbeddingConfig(backbone=backbone), lambda done, total: None, print)
    score_table.score(workspace, store.path)
    return workspace, store.path


@pytest.mark.parametrize("copy", [False, True])
def test_they_become_a_scanned_folder_with_stored_predictions(uncertain, tmp_path, copy):
    progress: list[tuple[int, int]] = []
    workspace = collect(uncertain, Path("uncertain"), copy, on_progress=lambda *done: progress.append(done))
    assert workspace == find_workspace(tmp_path / "uncertain")
    assert workspace.folder == tmp_path / "uncertain.winnow"
    assert sorted(read_files(tmp_path / "uncertain")) == ["green/02.jpg", "red/00.jpg", "red/01.jpg"]
    assert {path.is_symlink() for path in workspace.images.rglob("*.jpg")} == {not copy}
    table = manifest.read(workspace)
    assert table["label"].to_pylist() == ["green", "red", "red"]
    predictions = read_predictions(workspace)
    names = ("predicted", "probability", "familiarity")
    assert [tuple(predictions[id][name] for name in names) for id in table["id"].to_pylist()] == [
        ("green", 0.4, 0.5),
        ("red", 0.9, 0.04),
        ("red", 0.8, 0.0),
    ]
    assert progress[-1] == (3, 3)
    assert read_predictions(find_workspace(tmp_path / "hues")) == {}


def test_materialize_writes_the_collected_folder_as_decided(uncertain, tmp_path):
    workspace = collect(uncertain, tmp_path / "uncertain", False)
    decide(workspace, ["red/01.jpg"], "relabel", label="green")
    decide(workspace, ["green/02.jpg"], "drop")
    materialize(workspace, tmp_path / "labelled")
    assert sorted(read_files(tmp_path / "labelled")) == ["README.md", "green/01.jpg", "red/00.jpg"]
    assert (tmp_path / "labelled/green/01.jpg").readlink() == uncertain[1].file  # the collected folder may be removed


def test_labels_that_are_not_folder_names_copies_and_unknown_probabilities(uncertain, tmp_path):
    again = tmp_path / "again.jpg"
    shutil.copy(uncertain[0].file, again)
    odd = [
        replace(uncertain[0], label="a/b", probability=0.5),
        replace(uncertain[1], label="<b>花\n", probability=math.nan),
        UncertainPicture(again, "a/b", 0.5, 0.5),
    ]
    workspace = collect(odd, tmp_path / "out", False)
    assert sorted(read_files(tmp_path / "out")) == ["_b_花_/01.jpg", "a_b/00.jpg", "a_b/again.jpg"]
    assert sorted((row["predicted"], row["probability"]) for row in read_predictions(workspace).values()) == [
        ("<b>花\n", None),
        ("a/b", 0.5),
    ]
    manifest.scan(find_workspace(tmp_path / "out"))  # labels stay those of the model
    assert manifest.read(workspace)["label"].to_pylist() == ["<b>花", "a/b", "a/b"]
    decide(workspace, ["_b_花_/01.jpg"], "relabel", label="a/b")
    assert materialize(workspace, tmp_path / "labelled").labels == {"a/b": 2}


def test_labels_named_like_splits_stay_labels(uncertain, tmp_path):
    pictures = [replace(one, label=label) for one, label in zip(uncertain, ("train", "test", "test"), strict=True)]
    workspace = collect(pictures, tmp_path / "out", False)
    assert sorted(manifest.read(workspace)["label"].to_pylist()) == ["test", "test", "train"]
    assert manifest.read(workspace)["split"].to_pylist() == [None] * 3


def test_vanished_pictures_are_reported_and_left_out(uncertain, tmp_path):
    uncertain[0].file.unlink()
    messages: list[str] = []
    collect(uncertain, tmp_path / "out", True, messages.append)
    vanished = f"{uncertain[0].file}: no such file: check the path"
    assert messages == [f"left out: 1 picture that cannot be read any more, for example {vanished}"]
    assert sorted(read_files(tmp_path / "out")) == ["green/02.jpg", "red/01.jpg"]
    with input_error(f"^none of the uncertain pictures can be read any more, for example {vanished}$"):
        collect(uncertain[:1], tmp_path / "more", True)
    assert not (tmp_path / "more").exists()


def test_a_failed_collection_leaves_nothing_behind(uncertain, tmp_path):
    with input_error("^no picture is uncertain: there is nothing to collect$"):
        collect([], tmp_path / "out", False)
    with input_error("out would lie inside the pictures", "folder-outside"):
        collect(uncertain, tmp_path / "hues/out", False, sources=[tmp_path / "hues"])
    with input_error("hues is not empty$", "new-folder"):
        collect(uncertain, tmp_path / "hues", False)
    with input_error("has control characters or bytes that are not UTF-8", "another-folder"):
        collect(uncertain, tmp_path / "o\nut", False)
    (tmp_path / "out.winnow").mkdir()
    with input_error(r"out\.winnow exists, from an earlier folder$", "remove-or-rename"):
        collect(uncertain, tmp_path / "out", False)
    (tmp_path / "out.winnow").rmdir()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(uncertain, tmp_path / "out", False, on_progress=interrupt)
    assert os.listdir(tmp_path) == ["hues"]
    assert all(picture.file.is_file() for picture in uncertain)


def test_files_that_another_process_creates_meanwhile_stay(uncertain, tmp_path, monkeypatch):
    def filled(done: int, total: int) -> None:
        (tmp_path / "out/of others.txt").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(uncertain, tmp_path / "out", False, on_progress=filled)
    assert sorted(read_files(tmp_path / "out")) == ["of others.txt"]
    create = collecting._create_folder
    monkeypatch.setattr(collecting, "_create_folder", lambda folder: folder.mkdir() or create(folder))
    with input_error(r"new\.winnow is being created by another command$", "another-folder"):
        collect(uncertain, tmp_path / "new", False)
    assert (tmp_path / "new.winnow").is_dir()


def test_the_workspace_is_beside_the_folder_whatever_the_environment_says(uncertain, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_WORKSPACE", str(tmp_path / "other.winnow"))
    monkeypatch.chdir(uncertain[0].file.parent)
    assert collect(uncertain, tmp_path / "deep/out", False).folder == tmp_path / "deep/out.winnow"
    assert len(manifest.read(find_workspace(tmp_path / "deep/out", tmp_path / "deep/out.winnow"))) == 3


@pytest.mark.parametrize("many", [1, 2, 3])
def test_few_pictures_are_enough_to_be_scored(uncertain, colours, tmp_path, many):
    workspace, _ = score(collect(uncertain[:many], tmp_path / "out", False), colours)
    assert len(score_table.read(workspace)) == many


@pytest.mark.slow
def test_the_app_sorts_them_by_prediction_and_verdicts_give_a_labelled_folder(
    scored_workspace: tuple[Workspace, Path],
    chromium: Any,
    uncertain: list[UncertainPicture],
    colours: Path,
    tmp_path: Path,
) -> None:
    evil = EVIL.removesuffix(".jpg")
    more = UncertainPicture(scored_workspace[0].images / "red" / EVIL, evil, 0.45, 0.3)
    workspace, store = score(collect([*uncertain, more], tmp_path / "uncertain", False), colours)
    decide(workspace, ["red/00.jpg"], "keep")  # so that no two views in a row have as many pictures
    with open_app((workspace, store)) as running:
        app = App(chromium, running.address())
        with open_samples(running) as collection:
            predictions = {
                row["path"]: (row["predicted"], row["probability"], row["familiarity"]) for row in collection.find()
            }
        assert len(predictions) == 4
        assert predictions["red/01.jpg"] == ("red", 0.8, 0.0)
        assert (evil, 0.45, 0.3) in predictions.values()
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
    verdicts = current_verdicts(Journal(workspace.folder).lines())
    assert [shorten(line) for line in verdicts.values()] == [
        ("keep", "red/00.jpg"),
        ("drop", "off_topic", "red/01.jpg"),
        ("relabel", "blue", "green/02.jpg"),
    ]
    materialize(workspace, tmp_path / "labelled")
    written = sorted(read_files(tmp_path / "labelled"))
    assert len(written) == 4
    assert {"README.md", "blue/02.jpg", "red/00.jpg"} < set(written)


@pytest.mark.slow
def test_the_app_of_any_other_folder_has_no_predictions(scored_workspace: tuple[Workspace, Path]) -> None:
    with open_app(scored_workspace) as running:
        running.address()
        with open_samples(running) as collection:
            assert not {"predicted", "probability", "familiarity"} & collection.find_one().keys()
            views = {view["name"] for view in collection.database["views"].find()}
        running.end()
    assert "Off-topic first" in views
    assert not {"Unfamiliar first", "Unsure first"} & views

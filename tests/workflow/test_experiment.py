"""An experiment is a dataset with features and splits: what stays together, what is left out, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import winnow_error
from support.errors import input_error
from support.pictures import HUES, paint
from support.reporters import silent_reporter

from winnow.curate import manifest
from winnow.curate.workspace import find_workspace
from winnow.embed import images, pipeline
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.experiment import DatasetOptions, Experiment, prepare
from winnow.workflow.stage_timer import StageTimer


def prepare_folder(images: Path, backbone: Path, messages: list[str] | None = None, **options: Any) -> Experiment:
    """The experiment of a folder. Parameters: `messages`, to which messages are appended; `options`, of the dataset."""
    on_message = ([] if messages is None else messages).append
    config = EmbeddingConfig(backbone=backbone)
    return prepare(find_workspace(images), config, silent_reporter(on_message), DatasetOptions(**options))


def test_an_experiment_has_one_row_per_image_and_repeated_stratified_splits(hues: Path, colours: Path) -> None:
    experiment = prepare_folder(hues, colours, repeats=3)
    assert experiment.X.shape == (60, 3)
    assert experiment.scores.num_rows == 0  # nothing has been scored
    assert len(experiment.splits) == 3
    assert experiment.dataset.split_counts()["train"] == {"blue": 14, "green": 14, "red": 14}
    for split in experiment.splits:
        assert sorted([*split.train, *split.val, *split.test]) == list(range(60))
    first, second = (split.test.tolist() for split in experiment.splits[:2])
    assert first != second


def test_with_scores_the_stages_are_timed_and_the_rows_of_the_scores_are_there(hues: Path, colours: Path) -> None:
    timer = StageTimer()
    config = EmbeddingConfig(backbone=colours)
    experiment = prepare(find_workspace(hues), config, silent_reporter(), DatasetOptions(), timer, scored=True)
    assert experiment.scores.num_rows == 60
    assert list(timer.seconds) == ["scan", "embed", "score"]


def test_pictures_of_a_group_are_in_the_same_part_of_a_split(hues: Path, colours: Path) -> None:
    group_by = r"/\d(\d)\.jpg$"  # pictures 03 and 13 of every class are of one camera
    experiment = prepare_folder(hues, colours, repeats=3, group_by=group_by)
    cameras = np.array([re.search(group_by, f"/{path}").group(1) for path in experiment.dataset.paths])  # type: ignore[union-attr]
    for split in experiment.splits:
        parts = [set(cameras[rows]) for rows in (split.train, split.val, split.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set(cameras)) == 10
        assert len(split.test) == 6 * len(parts[2])


def test_splits_that_the_folders_give_are_used(hues: Path, colours: Path, tmp_path: Path) -> None:
    for label in HUES:
        for number in range(20):
            part = "test" if number < 5 else "train"
            target = tmp_path / "given" / part / label / f"{number:02d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((hues / label / f"{number:02d}.jpg").read_bytes())
    dataset = prepare_folder(tmp_path / "given", colours, repeats=3).dataset
    assert len(dataset.splits) == 1
    assert dataset.split_counts()["test"] == {"blue": 5, "green": 5, "red": 5}
    assert sum(dataset.split_counts()["val"].values()) > 0
    assert "as the folders give them" in dataset.split_rule


def test_a_folder_with_one_class_is_refused(hues: Path, colours: Path) -> None:
    with input_error("a classifier needs two classes", "two-classes"):
        prepare_folder(hues / "red", colours)


def test_the_command_line_names_the_ways_to_give_labels(hues: Path, colours: Path) -> None:
    message = winnow_error("compare", hues / "red", "--backbone", colours)
    assert "a classifier needs two classes" in message
    assert "--labels FILE.csv" in message


def test_a_class_too_small_to_be_divided_is_left_out_with_a_note(hues: Path, colours: Path) -> None:
    paint(hues / "rare" / "only.jpg", (128, 128, 128), seed=1)
    messages: list[str] = []
    experiment = prepare_folder(hues, colours, messages)
    assert experiment.dataset.left_out == {"rare": 1}
    assert experiment.dataset.classes == ["blue", "green", "red"]
    assert "note: left out, fewer than 4 different pictures: rare (1)" in messages


def test_pictures_that_cannot_be_embedded_are_left_out_with_a_note(
    hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.scan(find_workspace(hues))
    read_square = pipeline.read_square

    def read_or_fail(path: Path, *arguments: Any) -> np.ndarray:
        if path.name == "00.jpg" and path.parent.name == "red":
            raise images.PictureError("changed", "the file changed while it was being embedded: embed it again")
        return read_square(path, *arguments)

    monkeypatch.setattr(pipeline, "read_square", read_or_fail)
    messages: list[str] = []
    experiment = prepare_folder(hues, colours, messages)
    assert len(experiment.dataset.ids) == 59
    assert f"note: without 1 picture that could not be embedded, as {hues / 'red' / '00.jpg'}" in messages

"""The drawn pictures are reproducible, and their truth table describes the files on disk."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.errors import input_error
from support.files import read_files

from winnow.curate.demo.dataset import DrawnFile, _plan, draw_dataset, truth_path

SMALL = (64, 48)
CLASSES = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "photos"
    return folder, draw_dataset(folder, per_class=6, size=SMALL)


def with_noise(rows, noise):
    return [row for row in rows if row.noise == noise]


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(drawn, tmp_path):
    folder, rows = drawn
    assert draw_dataset(tmp_path / "again", per_class=6, size=SMALL) == rows
    assert read_files(tmp_path / "again") == read_files(folder)
    assert truth_path(tmp_path / "again").read_bytes() == truth_path(folder).read_bytes()
    draw_dataset(tmp_path / "other", per_class=6, seed=1, size=SMALL)
    assert not set(read_files(tmp_path / "other").values()) & {
        data for data in read_files(folder).values() if len(data) > 99
    }


def test_the_truth_table_is_beside_the_folder_and_names_each_file_once(drawn):
    folder, rows = drawn
    assert truth_path(folder) == folder.parent / "photos-truth.csv"
    with truth_path(folder).open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        assert [DrawnFile(**row) for row in table] == rows
        assert table.fieldnames == ["path", "label", "noise", "what", "duplicate_of"]
    assert [row.path for row in rows] == sorted(read_files(folder))
    assert all(row.path.startswith(row.label + "/") for row in rows)


def test_each_class_has_its_count_and_one_picture_of_each_noise(drawn):
    counts = Counter((row.label, row.noise) for row in drawn[1])
    noise = dict.fromkeys(["broken", "off_topic", "mislabelled", "duplicate"], 1)
    assert counts == {(label, kind): count for label in CLASSES for kind, count in ({"": 2} | noise).items()}


def test_noise_grows_with_the_folder():
    counts = Counter(row.noise for row in _plan(100, np.random.default_rng(0), noise=True))
    assert counts == {"": 405, "broken": 10, "off_topic": 25, "mislabelled": 25, "duplicate": 35}


def test_every_kind_of_noise_occurs(drawn):
    shown = {noise: sorted(row.what for row in with_noise(drawn[1], noise)) for noise in ("off_topic", "broken")}
    assert shown["off_topic"] == ["chart", "person", "room", "sign", "street"]
    assert shown["broken"] == ["empty", "no header", "text", "truncated", "web page"]
    assert all(row.what in CLASSES and row.what != row.label for row in with_noise(drawn[1], "mislabelled"))
    assert all(row.what == row.label for row in with_noise(drawn[1], ""))


def test_broken_files_cannot_be_decoded_and_all_others_can(drawn):
    folder, rows = drawn
    for row in rows:
        if row.noise == "broken":
            with pytest.raises(OSError), Image.open(folder / row.path) as image:
                image.load()
        else:
            with Image.open(folder / row.path) as image:
                image.load()
                assert image.mode == "RGB"
                assert row.noise == "duplicate" or image.size == SMALL


def test_duplicates_are_made_from_clean_pictures_and_only_exact_ones_have_equal_bytes(drawn):
    folder, rows = drawn
    clean = {row.path for row in with_noise(rows, "")}
    copies = with_noise(rows, "duplicate")
    assert sorted(row.what for row in copies) == ["cropped", "exact", "mirrored", "re-encoded", "resized"]
    for row in copies:
        assert row.duplicate_of in clean
        same = (folder / row.path).read_bytes() == (folder / row.duplicate_of).read_bytes()
        assert same == (row.what == "exact")
    assert all(row.duplicate_of == "" for row in rows if row.noise != "duplicate")


def test_without_noise_each_picture_is_of_its_class_and_sizes_vary(tmp_path):
    rows = draw_dataset(tmp_path / "clean", per_class=2, noise=False)
    assert {row.noise for row in rows} == {""}
    sizes = set()
    for row in rows:
        with Image.open(tmp_path / "clean" / row.path) as image:
            sizes.add(image.size)
    assert len(sizes) > 5
    assert all(240 <= side <= 500 for size in sizes for side in size)


def test_progress_is_reported_after_each_file(tmp_path):
    progress = []
    draw_dataset(
        tmp_path / "new",
        per_class=1,
        size=SMALL,
        noise=False,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert progress == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with input_error("exists and is not an empty folder$", "new-folder"):
        draw_dataset(tmp_path)
    with input_error("exists and is not an empty folder$", "new-folder"):
        draw_dataset(tmp_path / "mine.txt")
    assert read_files(tmp_path) == {"mine.txt": b"keep"}


def test_too_few_pictures_for_all_noise_are_refused(tmp_path):
    with input_error("^per_class must be 5 or more, not 4$"):
        draw_dataset(tmp_path / "new", per_class=4)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", [".", ".."])
def test_a_folder_without_a_name_of_its_own_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with input_error("is not the name of a new folder, as .*photos is$"):
        draw_dataset(Path(name))
    assert truth_path(Path(name)).suffix == ".csv"

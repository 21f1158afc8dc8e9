"""Groups of items that share keys, and of pictures that show the same photograph."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from winnow.curate.demo import dataset
from winnow.curate.noise import duplicates
from winnow.curate.noise.duplicates import Duplicates, connected_groups, find_near_duplicates, thumbnail
from winnow.curate.noise.perceptual_hash import perceptual_hash
from winnow.embed import images
from winnow.embed.backends import BACKENDS
from winnow.embed.pipeline import read_square
from winnow.embed.recipe import Recipe


def test_without_shared_keys_each_is_alone():
    groups = connected_groups(["a", "b", "c"])
    assert groups.tolist() == [0, 1, 2]
    assert groups.dtype == np.int64


def test_a_shared_key_joins_and_groups_are_numbered_as_they_appear():
    assert connected_groups(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


def test_none_matches_nothing():
    assert connected_groups([None, None, "a", None, "a"]).tolist() == [0, 1, 2, 3, 2]


def test_different_kinds_of_keys_join_through_each_other():
    pixels = ["p", "q", "p", "r", None]
    phash = [1, 2, 3, 2, 3]
    assert connected_groups(pixels, phash).tolist() == [0, 1, 0, 1, 0]


def test_the_same_value_as_another_kind_of_key_joins_nothing():
    assert connected_groups(["x", "y"], ["y", "x"]).tolist() == [0, 1]


def test_nothing_has_no_groups():
    assert connected_groups([]).tolist() == []
    assert connected_groups([], []).dtype == np.int64


KEYS = st.lists(st.tuples(*[st.none() | st.integers(0, 6)] * 2), max_size=25)


@given(KEYS)
@pytest.mark.slow
def test_groups_are_the_finest_that_keep_equal_keys_together(rows):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    groups = connected_groups(*columns).tolist()
    expected = list(range(len(rows)))  # join by hand until nothing changes
    for _ in rows:
        for i, first in enumerate(rows):
            for j, second in enumerate(rows):
                if any(a is not None and a == b for a, b in zip(first, second, strict=True)):
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert [[a == b for b in groups] for a in groups] == [[a == b for b in expected] for a in expected]
    assert list(dict.fromkeys(groups)) == list(range(len(set(groups))))


def group(*pictures, vectors=None, labels=None, paths=None, area=None, pixels=None) -> Duplicates:
    """Group uint8 (H, W, 3) pictures; without `vectors` all have the same vector."""
    count = len(pictures)
    return find_near_duplicates(
        np.ones((count, 4), dtype=np.float32) if vectors is None else np.array(vectors, dtype=np.float32),
        np.array([perceptual_hash(p) for p in pictures], dtype=np.uint64),
        pixels or [None] * count,
        np.array([p.shape[0] * p.shape[1] for p in pictures] if area is None else area, dtype=np.int64),
        np.array([-1] * count if labels is None else labels, dtype=np.int64),
        paths or [f"{number:03}.jpg" for number in range(count)],
        np.stack([thumbnail(p) for p in pictures]) if count else np.empty((0, 16, 16), np.uint8),
    )


def photo(seed: int = 0, size: tuple[int, int] = (240, 160)) -> Image.Image:
    """Seeded colours of 12 x 8 cells, softened: details that a thumbnail shows."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


CHANGES = {
    "re-encoded": lambda image: jpeg(image, 40),
    "resized": lambda image: ImageOps.scale(image, 0.5),
    "cropped left": lambda image: image.crop((0, 0, 222, 160)),
    "cropped all round": lambda image: ImageOps.crop(image, 6),
    "cropped to a corner": lambda image: image.crop((18, 12, 240, 160)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(5))
def test_a_changed_copy_is_found_and_the_larger_one_is_kept(change, seed):
    copy = CHANGES[change](photo(seed))
    result = group(np.asarray(copy), np.asarray(photo(seed)), np.asarray(photo(seed + 100)), area=[1, 2, 1])
    assert result.group.tolist() == [0, 0, -1]
    assert result.keep.tolist() == [False, True, True]


def test_the_same_pixels_are_one_picture_whatever_the_vectors_say():
    result = group(*[np.asarray(photo(n)) for n in range(3)], vectors=np.eye(3), pixels=["x", "y", "x"])
    assert result.group.tolist() == [0, -1, 0]
    assert result.keep.tolist() == [True, True, False]
    assert (result.group.dtype, result.keep.dtype) == (np.int64, bool)


def test_other_vectors_keep_apart_what_looks_alike():
    one = np.asarray(photo())
    assert group(one, one, vectors=[[1, 0], [0, 1]]).group.tolist() == [-1, -1]
    assert group(one, one, vectors=[[1, 0], [3, 0]]).group.tolist() == [0, 0]


def test_without_thumbnails_the_hash_and_the_vectors_decide():
    hashes = np.array([0, 0b111, 0x5555555555555555, 2**40 - 1], dtype=np.uint64)  # the third is a mirror image
    result = find_near_duplicates(
        np.ones((4, 2)), hashes, [None] * 4, np.ones(4, np.int64), np.zeros(4, np.int64), list("abcd")
    )
    assert result.group.tolist() == [0, 0, 0, -1]
    assert result.keep.tolist() == [True, False, False, True]


def test_the_largest_is_kept_then_the_majority_label_then_the_first_path():
    same = [np.asarray(photo())] * 4
    assert group(*same, area=[1, 1, 2, 1]).keep.tolist() == [False, False, True, False]
    assert group(*same, labels=[0, 1, 1, 2]).keep.tolist() == [False, True, False, False]
    assert group(*same, labels=[0, 1, 1, 2], area=[2, 1, 1, 1]).keep.tolist() == [True, False, False, False]
    assert group(*same, labels=[-1, -1, -1, 3]).keep.tolist() == [False, False, False, True]
    assert group(*same, labels=[0, 1, 2, 3], paths=list("dbac")).keep.tolist() == [False, False, True, False]


def test_a_chain_is_divided_around_those_that_are_kept():
    angles = np.deg2rad([0, 45, 90, 135])  # cosine 0.71 to the next, 0 to the one after it
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    one = np.asarray(photo())
    assert group(*[one] * 4, vectors=vectors).group.tolist() == [0, 0, 1, 1]
    assert group(*[one] * 4, vectors=vectors, area=[1, 2, 1, 1]).group.tolist() == [0, 0, 0, -1]


def test_groups_are_numbered_in_the_order_of_their_first_paths():
    a, b = np.asarray(photo(1)), np.asarray(photo(2))
    assert group(a, b, b, a, paths=list("dabc"), area=[5, 1, 1, 1]).group.tolist() == [1, 0, 0, 1]


def test_pictures_of_one_colour_are_told_apart_by_their_vectors():
    red, blue, small = (np.full(shape, 90, np.uint8) for shape in ((60, 80, 3), (60, 80, 3), (30, 40, 3)))
    result = group(red, blue, small, vectors=[[1, 0], [0.9, 0.3], [1, 0.01]])
    assert result.group.tolist() == [0, -1, 0]


def test_pictures_without_a_vector_or_of_no_folder():
    one = np.asarray(photo())
    assert group(one, one, vectors=[[0, 0], [0, 0]]).group.tolist() == [-1, -1]
    assert group().group.tolist() == []
    assert group(one).keep.tolist() == [True]


def test_the_order_of_the_rows_changes_nothing():
    pictures = [np.asarray(change(photo(seed))) for seed in range(3) for change in CHANGES.values()]
    paths = [f"{n:02}.jpg" for n in range(len(pictures))]
    result = group(*pictures, paths=paths)
    order = np.random.default_rng(0).permutation(len(pictures)).tolist()
    again = group(*[pictures[row] for row in order], paths=[paths[row] for row in order])
    assert again.group.tolist() == result.group[order].tolist()
    assert again.keep.tolist() == result.keep[order].tolist()
    assert result.group.max() == 2


@pytest.mark.slow
def test_small_blocks_give_the_same_groups(monkeypatch):
    pictures = [np.asarray(change(photo(seed))) for seed in range(3) for change in CHANGES.values()]
    result = group(*pictures)
    monkeypatch.setattr(duplicates, "CELLS", 300)
    assert group(*pictures).group.tolist() == result.group.tolist()


def test_a_thumbnail_is_a_grid_of_grey_means():
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:2, :4] = 255
    grey = thumbnail(pixels)
    assert (grey.shape, grey.dtype, grey[0, 0], grey[1:].max(), grey[0, 1:].max()) == ((16, 16), np.uint8, 255, 0, 0)
    assert thumbnail(pixels[:2, :3]).shape == (16, 16)


def groups_of_files(files: list[Path], exported, keras_home) -> list[int]:
    """Group picture files by their real vectors."""
    backbone = exported(Recipe(), keras_home)
    session = BACKENDS["onnx"](backbone)
    squares = [read_square(file, backbone.recipe) for file in files]
    vectors = np.concatenate([session(np.stack(squares[n : n + 4]))[1] for n in range(0, len(squares), 4)])
    pictures = [images.decode(file.read_bytes())[0] for file in files]
    return group(*pictures, vectors=vectors, paths=[str(file) for file in files]).group.tolist()


def pairs(groups: list[int]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j] >= 0}


@pytest.mark.slow
def test_changed_photographs_are_found_and_others_are_left_apart(flowers, exported, keras_home, tmp_path):
    chosen = sorted(flowers.rglob("*.jpg"))[::20]
    files, shown = list(chosen), list(range(len(chosen)))
    for number, file in enumerate(chosen):
        image = Image.fromarray(images.decode(file.read_bytes())[0])
        width, height = image.size
        copies = [
            jpeg(image, 40),
            ImageOps.scale(image, 0.5),
            image.crop((width // 10, 0, width, height - height // 20)),
            ImageEnhance.Brightness(image).enhance(0.8),
            ImageOps.mirror(image),
        ]
        for copy, change in zip(copies, range(len(copies)), strict=True):
            files.append(tmp_path / f"{number}-{change}.jpg")
            copy.save(files[-1], quality=90)
            shown.append(number)
    predicted, true = pairs(groups_of_files(files, exported, keras_home)), pairs(shown)
    assert len(predicted & true) >= 0.95 * len(true)
    assert len(predicted & true) >= 0.98 * len(predicted)


@pytest.mark.slow
def test_drawn_flowers_of_one_class_are_different_pictures(exported, keras_home, tmp_path):
    rows = dataset.draw_dataset(tmp_path / "drawn", per_class=20, seed=5, noise=False)
    files = [tmp_path / "drawn" / row.path for row in rows]
    assert groups_of_files(files, exported, keras_home) == [-1] * 100


SCALE = """
import json, resource, sys, time
import numpy as np
from winnow.curate.noise.duplicates import find_near_duplicates as near
count, rng = int(sys.argv[1]), np.random.default_rng(0)
centres = rng.normal(size=(10, 320)).astype(np.float32)
vectors = centres[rng.integers(0, 10, count)] + 0.5 * rng.normal(size=(count, 320)).astype(np.float32)
hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
small = rng.integers(0, 256, (count, 16, 16), dtype=np.uint8)
for column in (vectors, hashes, small):
    column[-50:] = column[:50]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
near(vectors[:100], hashes[:100], range(100), np.ones(100), np.zeros(100, int), range(100), small[:100])
before, start = peak(), time.monotonic()
ones = np.ones(count, np.int64)
result = near(vectors, hashes, range(count), ones, np.zeros(count, np.int64), range(count), small)
same = result.group[:50].tolist() == result.group[-50:].tolist() == list(range(50))
print(json.dumps([same, int((result.group >= 0).sum()), time.monotonic() - start, peak() - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_memory_grows_with_the_number_of_pictures_not_its_square():
    def run(count: int) -> list:
        done = subprocess.run(
            [sys.executable, "-c", SCALE, str(count)],
            cwd=Path(duplicates.__file__).parents[1],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    same, grouped, seconds, megabytes = run(20_000)
    assert (same, grouped) == (True, 100)
    assert megabytes < 300  # 20,000 x 20,000 float32 would be 1,600
    assert seconds < 120

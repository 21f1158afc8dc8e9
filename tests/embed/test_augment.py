"""Augmentations are seeded by the image, follow their recipe, and are stored beside the image itself."""

from __future__ import annotations

import hashlib
import json

import lance
import numpy as np
import pytest
from PIL import Image

from winnow.embed import augment
from winnow.embed import store as stores
from winnow.embed.augment import AUGMENTATIONS, augment_image
from winnow.embed.backbone import load_backbone
from winnow.embed.backends import BACKENDS
from winnow.embed.pipeline import TableWriter, embed_to_table, read_augmented_squares, read_square
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store

RECIPE = Recipe(size=96)
ID = "ab" * 32


@pytest.fixture
def gradient():
    """Red grows to the right, green downwards; blue is 90 everywhere."""
    across, down = np.meshgrid(np.arange(200), np.arange(150))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 90)], axis=2).astype(np.uint8))


def test_augmentations_0_and_1_are_the_image_and_its_mirror_image(gradient):
    plain, mirrored = (augment_image(gradient, ID, number, 96, "crop") for number in (0, 1))
    assert plain.shape == (96, 96, 3)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_random_augmentations_are_seeded_by_id_and_number(gradient):
    again = [augment_image(gradient, ID, 2, 96, "crop") for _ in range(2)]
    np.testing.assert_array_equal(*again)
    others = [augment_image(gradient, *seed, 96, "crop") for seed in ((ID, 3), ("cd" * 32, 2), (ID, 0))]
    assert all(np.abs(again[0].astype(int) - other).mean() > 2 for other in others)


def test_a_random_augmentation_keeps_between_a_third_and_all_of_the_image(gradient):
    shares, mirrored = [], 0
    for seed in range(200):
        left, top, right, bottom = augment._random_crop_box((200, 150), np.random.default_rng(seed))
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 150
        shares.append((right - left) * (bottom - top) / 200 / 150)
        pixels = augment_image(gradient, ID, seed + 2, 32, "crop").astype(int)
        mirrored += pixels[16, 20, 0] < pixels[16, 12, 0]
    assert 0.3 < min(shares) < 0.45
    assert 0.9 < max(shares) <= 1
    assert 70 < mirrored < 130


@pytest.mark.parametrize("sides", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_images_of_any_shape_have_augmentations(sides):
    for number in range(12):
        assert augment_image(Image.new("RGB", sides, "red"), ID, number, 32, "pad").shape == (32, 32, 3)


@pytest.fixture
def files(tmp_path):
    pairs = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
        pairs.append((hashlib.sha256(path.read_bytes()).hexdigest(), path))
    return pairs


def test_a_file_is_decoded_once_for_all_its_augmentations(files, monkeypatch):
    from winnow.embed import images

    opened, real = [], images.open_image
    monkeypatch.setattr(images, "open_image", lambda *args, **kwargs: opened.append(1) or real(*args, **kwargs))
    id, path = files[0]
    squares = read_augmented_squares(path, RECIPE, id, (0, 1, 2))
    assert squares.shape == (3, 96, 96, 3)
    assert len(opened) == 1
    np.testing.assert_array_equal(squares[0], read_square(path, RECIPE))


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_every_augmentation_is_a_row_under_its_number(files, colours, tmp_path, batch_size):
    store = Store(tmp_path / "embeddings", load_backbone(colours))
    writer, session = TableWriter(store), BACKENDS["onnx"](load_backbone(colours))
    embed_to_table(writer, files, RECIPE, session, augmentations=(0, 1, 2), batch_size=batch_size)
    assert (writer.embedded, writer.rows) == (5, 15)
    rows = lance.dataset(store.path).to_table(columns=["id", "view"]).to_pylist()
    assert sorted((row["id"], row["view"]) for row in rows) == sorted((id, v) for id, _ in files for v in range(3))
    ids = [id for id, _ in files]
    for number in range(3):
        means = [read_augmented_squares(path, RECIPE, id, (number,))[0].mean(axis=(0, 1)) / 255 for id, path in files]
        np.testing.assert_allclose(store.read(ids, augmentation=number), means, atol=1e-3)
    assert json.loads(lance.dataset(store.path).schema.metadata[b"winnow"])["views"] == AUGMENTATIONS


def test_augmentations_of_another_recipe_are_discarded_and_the_images_themselves_stay(
    files, colours, tmp_path, monkeypatch
):
    store = Store(tmp_path / "embeddings", load_backbone(colours))
    session = BACKENDS["onnx"](load_backbone(colours))
    embed_to_table(TableWriter(store), files, RECIPE, session, augmentations=(0, 1))
    assert store.discard_outdated_augmentations() == 0
    monkeypatch.setattr(stores, "AUGMENTATIONS", "crop(0.9-1)")
    newer = Store(tmp_path / "embeddings", load_backbone(colours))
    assert newer.discard_outdated_augmentations() == 5
    assert (len(newer.ids(0)), len(newer.ids(1))) == (5, 0)
    assert json.loads(lance.dataset(newer.path).schema.metadata[b"winnow"])["views"] == "crop(0.9-1)"
    assert newer.discard_outdated_augmentations() == 0
    assert newer.engine_version() == store.engine_version()

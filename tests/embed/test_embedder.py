"""The Python interface: a scikit-learn transformer from images to vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from support.project import PROJECT

from winnow import embed
from winnow.common.errors import InputError
from winnow.embed import Embedder
from winnow.embed.pipeline import read_square
from winnow.embed.recipe import Recipe

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def embedder(colours):
    return Embedder(backbone=colours)


def plain(colour, size=(30, 20)):
    return Image.new("RGB", size, colour)


def near(vectors, expected):
    return vectors.shape == np.shape(expected) and abs(vectors - expected).max() < 1e-4


def test_paths_images_and_arrays_may_be_mixed(embedder, tmp_path):
    plain(RED).save(tmp_path / "red.png")
    pictures = [tmp_path / "red.png", str(tmp_path / "red.png"), plain(BLUE), np.asarray(plain(BLUE))]
    vectors = embedder.transform(pictures)
    assert near(vectors, [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert vectors.dtype == np.float32


def test_a_generator_or_an_array_of_pictures_is_accepted(embedder):
    assert near(embedder.transform(plain(colour) for colour in (RED, BLUE)), [[1, 0, 0], [0, 0, 1]])
    assert near(embedder.transform(np.stack([np.asarray(plain(RED))] * 2)), [[1, 0, 0]] * 2)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_rows_are_in_order_for_any_batch_size(embedder, batch_size):
    levels = [0, 51, 102, 153, 204, 255, 0]
    embedder.set_params(batch_size=batch_size)
    vectors = embedder.transform([plain((level,) * 3) for level in levels])
    assert near(vectors, np.array([[level / 255] * 3 for level in levels]))


def test_a_picture_is_embedded_as_its_file_would_be(embedder, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    image = plain(RED, (60, 30))
    image.paste(BLUE, (0, 0, 30, 30))
    image.save(tmp_path / "a.png", exif=tags)
    with Image.open(tmp_path / "a.png") as opened:
        both = embedder.transform([tmp_path / "a.png", opened])
    assert (both[0] == both[1]).all()
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    assert near(embedder.transform([clear]), [[1, 1, 1]])
    assert near(embedder.transform([Image.new("L", (9, 9), 51)]), [[0.2] * 3])


def test_no_pictures_make_no_rows(embedder):
    assert embedder.transform([]).shape == (0, 0)


def test_the_file_that_cannot_be_read_is_named(embedder, tmp_path):
    plain(RED).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("words")
    for name, message in (("bad.jpg", "the content of the file is not a picture"), ("gone.jpg", "no such file")):
        with pytest.raises(InputError, match=rf"{name}: {message}"):
            embedder.transform([tmp_path / "good.png", tmp_path / name])


def test_a_damaged_image_is_named_by_its_index(embedder, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "a.png") as opened, pytest.raises(InputError, match=r"^picture 1: damaged or cut off"):
        embedder.transform([plain(RED), opened])


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.zeros((8, 8)), r"float64 \(8, 8\)"),
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
        (7, r"int64 \(\)"),
        (None, r"object \(\)"),
    ],
)
def test_a_value_that_is_no_picture_is_named_by_its_index_and_shape(embedder, wrong, got):
    with pytest.raises(InputError, match=rf"^picture 1 must be a path, .* RGB array \(H, W, 3\). Got {got} instead"):
        embedder.transform([plain(RED), wrong])


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), plain(RED)])
def test_one_picture_is_not_a_list_of_pictures(embedder, one):
    with pytest.raises(InputError, match=r"transform takes a list of pictures, not one: put it in \[ \]"):
        embedder.transform(one)


def test_it_can_be_cloned_and_has_the_parameters_of_a_recipe(embedder):
    parameters = Embedder().get_params()
    assert parameters == {
        "alpha": 1.0,
        "backbone": None,
        "backend": "onnx",
        "batch_size": None,
        "pool": "avg",
        "resize": "crop",
        "scale": "symmetric",
        "size": 224,
        "weights": "imagenet",
    }
    copy = clone(embedder.set_params(resize="pad"))
    assert copy is not embedder
    assert copy.get_params() == embedder.get_params()
    assert near(copy.transform([plain(RED, (30, 30))]), [[1, 0, 0]])
    assert Embedder(size=1).size == 1  # parameters are checked on use, not in `__init__`


def test_it_is_a_step_of_a_pipeline(embedder):
    pictures = [plain((level, 0, 255 - level)) for level in (0, 20, 40, 200, 220, 240)]
    labels = ["blue"] * 3 + ["red"] * 3
    pipeline = make_pipeline(embedder, LogisticRegression(C=100)).fit(pictures, labels)
    assert pipeline.predict([plain(RED), plain(BLUE)]).tolist() == ["red", "blue"]
    assert near(embedder.fit_transform(pictures[:1], labels[:1]), [[0, 0, 1]])


def test_resize_is_its_own_parameter_and_the_rest_follows_the_backbone(colours):
    image = plain(BLUE, (90, 30))
    image.paste(RED, (30, 0, 60, 30))
    crop, squash = (Embedder(backbone=colours, resize=resize).transform([image])[0] for resize in ("crop", "squash"))
    assert abs(crop - [1, 0, 0]).max() < 0.02
    assert abs(squash - [1 / 3, 0, 2 / 3]).max() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 50}, "The 'size' option must be a whole number, 96 to 448. Got 50 instead."),
        ({"backend": "torch"}, "The 'backend' option must be one of onnx, tensorflow. Got 'torch' instead."),
        ({"batch_size": 0}, "The 'batch_size' option must be at least 1. Got 0 instead."),
        ({"backbone": "none.onnx"}, "none.onnx: no such file"),
    ],
)
def test_fit_checks_the_options(options, message):
    with pytest.raises(InputError) as caught:
        Embedder(**options).fit()
    assert str(caught.value).startswith(message)


@pytest.mark.slow
def test_importing_the_package_does_not_import_scikit_learn():
    script = "import sys, winnow.embed.images, winnow.embed.recipe; from winnow import embed\n"
    script += "print('sklearn' in sys.modules); embed.Embedder"
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
    with pytest.raises(AttributeError, match=r"module 'winnow\.embed' has no attribute 'Embedding'"):
        embed.Embedding  # noqa: B018


@pytest.mark.slow
def test_it_exports_what_it_needs_and_both_backends_agree(exported):
    recipe = Recipe(weights="random", alpha=0.35, size=96)
    exported(recipe)
    pictures = [plain(RED), plain(BLUE)]
    options = {"weights": "random", "alpha": 0.35, "size": 96}
    onnx, tensorflow = (Embedder(**options, backend=name).transform(pictures) for name in ("onnx", "tensorflow"))
    assert onnx.shape == (2, 1280)
    assert abs(onnx - tensorflow).max() < 1e-3


@pytest.mark.slow
def test_photographs_get_the_vectors_of_their_files(exported, keras_home, flowers):
    from winnow.embed.backends import BACKENDS

    backbone = exported(Recipe(), keras_home)
    paths = sorted(flowers.rglob("*.jpg"))[:3]
    expected = BACKENDS["onnx"](backbone)(np.stack([read_square(path, backbone.recipe) for path in paths]))[0]
    assert abs(Embedder(backbone=backbone.file).transform(paths) - expected).max() < 1e-5

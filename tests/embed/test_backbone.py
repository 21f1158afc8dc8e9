"""The exported graph is Keras' MobileNetV2 with the scaling inside, and is exported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.project import PROJECT

from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError
from winnow.embed import backbone as backbones
from winnow.embed import images
from winnow.embed.backbone import FORMAT, TOLERANCE, load_backbone, load_or_export
from winnow.embed.backends import BACKENDS
from winnow.embed.keras_import import import_keras
from winnow.embed.pipeline import read_square
from winnow.embed.recipe import Recipe
from winnow.embed.weights import Weights, WeightsMissing

TINY = Recipe(weights="random", alpha=0.35, size=96)  # the quickest to export


def run(file: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return tuple(session.run(["embedding", "bottleneck"], {"image": pixels}))


def noise(count: int, size: int) -> np.ndarray:
    """Soft seeded pictures, uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([images.resize_to_square(picture, size) for picture in small])


def never() -> np.ndarray:
    raise AssertionError("it was exported again")


@pytest.fixture(scope="module")
def tiny(exported):
    return exported(TINY)


@pytest.fixture(scope="module")
def tiny_keras(tiny):
    """Keras' network and function for the tiny recipe, built once more after other random numbers were drawn."""
    np.random.seed(7)  # noqa: NPY002
    return backbones.build_keras_function(TINY, tiny.weights)


@pytest.fixture(scope="module")
def photographs(flowers):
    """Eight of the photographs as squares of 224, from all classes."""
    files = sorted(flowers.rglob("*.jpg"))[::125]
    return np.stack([read_square(file, Recipe()) for file in files])


@pytest.mark.slow
def test_imagenet_vectors_equal_those_of_keras_applications(exported, keras_home, photographs):
    """The reference is independent: Keras loads the weights, scales and pools by itself."""
    backbone = exported(Recipe(), keras_home)
    keras, tf = import_keras("this test")
    file = next((keras_home / "models").glob("*_1.0_224_no_top.h5"))
    reference = keras.applications.MobileNetV2(
        weights=str(file), include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    scaled = keras.applications.mobilenet_v2.preprocess_input(photographs.astype(np.float32))
    expected = reference.predict(scaled, verbose=0)
    before = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    expected_bottleneck = before.predict(scaled, verbose=0).mean(axis=(1, 2))
    vectors, bottlenecks = run(backbone.file, photographs)
    assert vectors.shape == expected.shape == (8, 1280)
    assert abs(vectors - expected).max() < TOLERANCE
    assert bottlenecks.shape == expected_bottleneck.shape == (8, 320)
    assert abs(bottlenecks - expected_bottleneck).max() < TOLERANCE
    assert expected.std(axis=0).mean() > 0.1  # the vectors of different pictures differ
    assert (backbone.dimension, backbone.bottleneck) == ((1280,), 320)
    assert 0 <= backbone.parity < 1e-4


@pytest.mark.slow
def test_the_graph_is_checked_and_takes_batches_of_any_size(tiny):
    model = onnx.load(tiny.file)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [17]

    def describe(value):
        kind = value.type.tensor_type
        shape = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
        return value.name, onnx.TensorProto.DataType.Name(kind.elem_type), shape

    assert [describe(value) for value in model.graph.input] == [("image", "UINT8", ["batch", 96, 96, 3])]
    assert [describe(value) for value in model.graph.output] == [
        ("embedding", "FLOAT", ["batch", 1280]),
        ("bottleneck", "FLOAT", ["batch", 112]),
    ]
    pixels = noise(5, 96)
    together = run(tiny.file, pixels)
    for number in range(5):
        for whole, one in zip(together, run(tiny.file, pixels[number : number + 1]), strict=True):
            assert one.shape[0] == 1
            assert abs(whole[number] - one[0]).max() < 1e-4
    assert run(tiny.file, pixels[:0])[0].shape == (0, 1280)


@pytest.mark.slow
def test_the_file_describes_itself_in_its_metadata(tiny):
    metadata = {entry.key: entry.value for entry in onnx.load(tiny.file).metadata_props}
    assert metadata["recipe"] == "resize(110)|crop(96)|scale(-1,1)|mobilenet_v2(0.35)|out_relu|pool(avg)"
    assert json.loads(metadata["winnow_backbone"]) == {
        "graph": TINY.graph_options(),
        "weights": tiny.weights.digest,
        "weights_name": "random",
        "parity": tiny.parity,
        "dimension": [1280],
        "bottleneck": 112,
    }
    assert load_backbone(tiny.file) == replace(tiny, recipe=TINY, weights=Weights(tiny.weights.digest, None))
    assert load_backbone(tiny.file, Recipe(resize="pad")).recipe == replace(TINY, resize="pad")
    assert load_backbone(tiny.file).key == tiny.key
    assert tiny.key != load_backbone(tiny.file, Recipe(resize="pad")).key


@pytest.mark.slow
def test_pixels_are_scaled_to_minus_one_and_one_inside(tiny, tiny_keras):
    """The bytes 0, 51 and 255 are -1, -0.6 and 1 to the network, and themselves when they are not scaled."""
    levels, scaled, plain = (
        np.stack([np.full((96, 96, 3), value) for value in values]).astype(kind)
        for values, kind in (((0, 51, 255), np.uint8), ((-1, -0.6, 1), np.float32), ((0, 51, 255), np.float32))
    )
    net, _ = tiny_keras
    expected = net(scaled, training=False)[0].numpy().mean(axis=(1, 2))
    assert abs(run(tiny.file, levels)[0] - expected).max() < TOLERANCE
    assert abs(expected[0] - expected[2]).mean() > 0.05
    _, function = backbones.build_keras_function(replace(TINY, scale="none"), tiny.weights)
    expected = net(plain, training=False)[0].numpy().mean(axis=(1, 2))
    assert abs(function(levels)["embedding"].numpy() - expected).max() < TOLERANCE


@pytest.mark.slow
def test_random_weights_are_reproducible_and_distinguish_pictures(tiny, tiny_keras):
    vectors, bottlenecks = run(tiny.file, noise(6, 96))
    assert np.isfinite(vectors).all()
    assert vectors.std(axis=0).mean() > 0.05
    assert bottlenecks.std(axis=0).mean() > 0.05
    assert (vectors.std(axis=0) > 1e-3).mean() > 0.9  # hardly a dead unit
    again = tiny_keras[1](noise(6, 96))
    assert abs(again["embedding"].numpy() - vectors).max() < TOLERANCE
    assert abs(again["bottleneck"].numpy() - bottlenecks).max() < TOLERANCE


@pytest.mark.slow
def test_a_map_of_a_larger_picture(exported):
    backbone = exported(replace(TINY, size=320, pool="none"))
    assert (backbone.dimension, backbone.bottleneck) == ((10, 10, 1280), 112)
    pixels = noise(2, 320)
    vectors, _ = run(backbone.file, pixels)
    assert vectors.shape == (2, 10, 10, 1280)
    assert vectors.min() >= 0
    assert vectors.max() <= 6  # after the last ReLU6
    assert abs(vectors.std(axis=(0, 1, 2)).mean()) > 0.05
    assert backbone.recipe.key("w") != replace(TINY, size=320).key("w")


@pytest.mark.slow
def test_it_is_exported_once_and_then_loaded_without_tensorflow(tiny, session_cache):
    script = (
        "import sys\nfrom winnow.embed.backbone import load_or_export\nfrom winnow.embed.backends import BACKENDS\n"
        "from winnow.embed.recipe import Recipe\nimport numpy as np\n"
        "backbone = load_or_export(Recipe(weights='random', alpha=0.35, size=96), lambda: 1 / 0, print)\n"
        "print(BACKENDS['onnx'](backbone)(np.zeros((2, 96, 96, 3), np.uint8))[0].shape, backbone.file.name)\n"
        "print(sorted({'tensorflow', 'keras', 'tf2onnx'} & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == [f"(2, 1280) {tiny.file.name}", "[]"], run.stderr
    assert load_or_export(TINY, never) == tiny
    assert tiny.file.parent == session_cache
    assert not list(session_cache.glob("*.part"))


@pytest.mark.slow
def test_another_resize_option_uses_the_same_graph(tiny):
    backbone = load_or_export(replace(TINY, resize="squash"), never)
    assert backbone.file == tiny.file
    assert backbone.recipe.resize == "squash"
    assert backbone.key != tiny.key


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"not an onnx file", "half"])
def test_a_damaged_file_in_the_cache_is_exported_again(tiny, tmp_path, monkeypatch, content):
    whole = tiny.file.read_bytes()
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    (tmp_path / tiny.file.name).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    monkeypatch.setattr(backbones, "export", lambda *_: onnx.load(tiny.file))
    messages = []
    backbone = load_or_export(TINY, lambda: noise(1, 96), messages.append)
    assert backbone.file == tmp_path / tiny.file.name
    assert backbone.file.read_bytes() == whole
    assert len(messages) == 1
    assert load_or_export(TINY, never, messages.append) == backbone
    assert len(messages) == 1


@pytest.mark.slow
def test_an_export_that_differs_from_keras_is_refused_and_not_kept(tiny, tiny_keras, tmp_path, monkeypatch):
    """One weight of the real export is changed a little, or is not a number."""
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(backbones, "build_keras_function", lambda *_: tiny_keras)
    for change, difference in ((0.0, None), (0.5, r"0\.\d+"), (float("nan"), "nan")):
        model = onnx.load(tiny.file)
        bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [1280])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[5] += change
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        monkeypatch.setattr("tf2onnx.convert.from_function", lambda *_, model=model, **__: (model, None))
        if difference is None:
            backbones.export(TINY, tiny.weights, noise(2, 96))
        else:
            with pytest.raises(InputError, match=f"differs from Keras by {difference}, more than 0.001: not kept"):
                load_or_export(TINY, lambda: noise(2, 96))
    assert not list(tmp_path.rglob("*.onnx"))


def test_parity_is_the_largest_difference_of_either_output(colours):
    model = onnx.load(colours)
    pixels = np.full((2, 96, 96, 3), 51, dtype=np.uint8)
    near = {"embedding": np.full((2, 3), 0.2, np.float32), "bottleneck": np.full((2, 2), 0.2, np.float32)}
    assert backbones._parity(model, pixels, near) < 1e-5
    near["bottleneck"][1, 1] = 0.7
    assert backbones._parity(model, pixels, near) == pytest.approx(0.5, abs=1e-5)
    near["embedding"][0, 0] = np.nan
    assert not backbones._parity(model, pixels, near) <= TOLERANCE


@pytest.fixture(scope="module")
def custom_weights(tmp_path_factory):
    """Custom weights of the tiny network in both of Keras' formats, three pictures, and Keras' vectors of them."""
    folder = tmp_path_factory.mktemp("own")
    keras, _ = import_keras("this test")
    keras.utils.set_random_seed(5)
    net = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights=None)
    net.save_weights(folder / "own.weights.h5")
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(folder / "own.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, net)
    pixels = noise(3, 96)
    scaled = keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32))
    expected = net(scaled, training=False).numpy().mean(axis=(1, 2))
    other = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(folder / "other.weights.h5")
    return folder, pixels, expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own.h5", "own.weights.h5"])
def test_custom_weights_are_loaded_from_either_format(custom_weights, name):
    folder, pixels, expected = custom_weights
    recipe = replace(TINY, weights=str(folder / name))
    _, function = backbones.build_keras_function(recipe, Weights("x", folder / name))
    assert abs(function(pixels)["embedding"].numpy() - expected).max() < 1e-5


@pytest.mark.slow
def test_custom_weights_are_exported_under_a_separate_key(custom_weights, tiny, tmp_path, monkeypatch):
    folder, _, _ = custom_weights
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    exports = []

    def export(recipe, weights, pictures):
        model = onnx.load(tiny.file)
        exports.append((recipe, weights.file))
        return model

    monkeypatch.setattr(backbones, "export", export)
    recipes = [replace(TINY, weights=str(folder / name)) for name in ("own.weights.h5", "own.h5")]
    exported_backbones = [load_or_export(recipe, lambda: noise(1, 96)) for recipe in recipes]
    assert exports == [(recipe, Path(recipe.weights)) for recipe in recipes]
    assert (
        len({one.key for one in (tiny, *exported_backbones)})
        == len({one.file.name for one in (tiny, *exported_backbones)})
        == 3
    )
    assert [one.recipe for one in exported_backbones] == recipes
    assert load_or_export(recipes[0], never) == exported_backbones[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "alpha"), [("other.weights.h5", 0.35), ("words.h5", 0.35), ("empty.weights.h5", 0.35), ("own.h5", 0.5)]
)
def test_weights_of_another_network_are_refused(custom_weights, name, alpha):
    folder = custom_weights[0]
    (folder / "words.h5").write_text("no weights")
    (folder / "empty.weights.h5").write_bytes(b"")
    recipe = replace(TINY, weights=str(folder / name), alpha=alpha)
    with pytest.raises(InputError) as caught:
        load_or_export(recipe, lambda: noise(1, 96))
    assert str(caught.value).startswith(f"{folder / name} does not fit MobileNetV2 {alpha} without top: ")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_exported_backbone_is_used_when_the_imagenet_weights_were_deleted(exported, keras_home, monkeypatch):
    backbone = exported(Recipe(), keras_home)
    assert not Path(os.environ["KERAS_HOME"]).exists()
    again = load_or_export(Recipe(), never)
    assert again.file == backbone.file
    assert again.key == backbone.key
    monkeypatch.setattr("winnow.embed.weights.URL", "http://127.0.0.1:9/")
    with pytest.raises(WeightsMissing):
        load_or_export(Recipe(size=128), never)


def test_without_tensorflow_the_error_says_what_to_install(tmp_path):
    (tmp_path / "keras.py").write_text("raise ImportError('no module')")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from winnow.embed.backbone import load_or_export\n"
        "from winnow.common.errors import InputError\n"
        "from winnow.embed.recipe import Recipe\n"
        "try: load_or_export(Recipe(weights='random', size=100), lambda: None)\n"
        "except InputError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    expected = 'exporting the backbone needs TensorFlow, which is not installed (pip install "winnow-images[train]")\n'
    assert run.stdout == expected, run.stderr


def test_a_cache_that_cannot_be_written_is_an_error(colours, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(backbones, "export", lambda *_: onnx.load(colours))
    with pytest.raises(InputError, match=r"; make room there or set WINNOW_CACHE to another folder$"):
        load_or_export(TINY, lambda: noise(1, 96))


def test_the_cache_is_in_the_users_folder_unless_it_is_configured(monkeypatch, tmp_path):
    assert backbones.cache_folder() == Path(os.environ["WINNOW_CACHE"])
    monkeypatch.setenv("WINNOW_CACHE", "~/c")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert backbones.cache_folder() == tmp_path / "c"
    monkeypatch.delenv("WINNOW_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "winnow" in backbones.cache_folder().name


def test_a_newer_export_format_does_not_use_the_old_files(monkeypatch):
    before = backbones._file_stem(Recipe())
    monkeypatch.setattr(backbones, "FORMAT", FORMAT + "0")
    assert backbones._file_stem(Recipe()) != before


def test_a_file_made_by_hand_is_loaded(colours):
    backbone = load_backbone(colours)
    assert backbone.recipe == Recipe(size=96)
    assert (backbone.dimension, backbone.bottleneck, backbone.parity) == ((3,), 2, 0.0)
    vectors, bottlenecks = BACKENDS["onnx"](backbone)(np.full((2, 96, 96, 3), (255, 51, 0), dtype=np.uint8))
    assert abs(vectors - [[1, 0.2, 0]] * 2).max() < 1e-4
    assert abs(bottlenecks - [[1, 0.2]] * 2).max() < 1e-4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size": 128}, "size 96, not 128"),
        ({"alpha": 0.5}, "alpha 1.0, not 0.5"),
        ({"pool": "none"}, "pool 'avg', not"),
    ],
)
def test_an_option_that_contradicts_the_file_is_refused(colours, option, message):
    with pytest.raises(InputError, match=rf"colours\.onnx was exported with {message}") as caught:
        load_backbone(colours, Recipe(**option))
    assert with_remedy(caught.value).endswith(f": leave --{next(iter(option))} out")
    assert load_backbone(colours, Recipe(size=96, resize="pad")).recipe == Recipe(size=96, resize="pad")


def test_an_export_gets_the_mode_of_an_ordinary_file(colours, tmp_path):
    backbones._write(onnx.load(colours), tmp_path / "cache" / "exported.onnx")
    (tmp_path / "plain").touch()
    assert (tmp_path / "cache" / "exported.onnx").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_backbone_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.onnx: no such file$"):
        load_backbone(tmp_path / "none.onnx")


@pytest.mark.parametrize("kind", ["words", "empty", "cut", "foreign", "incomplete"])
def test_any_other_file_is_refused_in_one_line(colours, kind):
    model = onnx.load(colours)
    whole = colours.read_bytes()
    if kind == "foreign":
        del model.metadata_props[:]
    elif kind == "incomplete":
        onnx.helper.set_model_props(model, {"winnow_backbone": '{"graph": {}}'})
    content = {"words": b"words", "empty": b"", "cut": whole[: len(whole) - 40]}.get(kind, model.SerializeToString())
    colours.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_backbone(colours)
    assert str(caught.value).startswith(f"{colours} is not a backbone that Winnow exported (")
    assert "\n" not in str(caught.value)

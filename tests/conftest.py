"""What tests share: the photographs and weights beside the project, small drawn pictures, one exported backbone."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def absent(what: str) -> None:
    """Skip a test for want of something, with the reason; where CI says that everything is there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} (CI=true: this must be there)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def flowers() -> Path:
    """The 1,000 photographs of the report, read in place."""
    folder = SHARED / "small_flower_dataset"
    if not folder.is_dir():
        absent(f"the flower photographs are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def keras_home() -> Path:
    """A folder to give as KERAS_HOME, with the ImageNet weights in it."""
    folder = SHARED / "keras"
    if not folder.is_dir():
        absent(f"the ImageNet weights are not in {folder}")
    return folder


@pytest.fixture
def imagenet(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ImageNet weights for this test, without a network."""
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    return keras_home


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exported backbones that all tests share, so that each is exported once."""
    return tmp_path_factory.mktemp("winnow-cache")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, session_cache: Path, tmp_path: Path) -> None:
    """No test sees the user's settings, caches or weights, or writes into the project."""
    for name in ("WINNOW_IMAGES", "WINNOW_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WINNOW_CACHE", str(session_cache))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no-keras-home"))
    monkeypatch.chdir(tmp_path)


def picture(seed: int = 0, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """Soft seeded colours, uint8 (height, width, 3) from `size` = (width, height)."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six soft pictures, `photos/red/0.jpg` …, no two alike."""
    from PIL import Image

    root = tmp_path / "photos"
    for index, label in enumerate(("red", "blue")):
        (root / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(picture(100 * index + number)).save(root / label / f"{number}.jpg", quality=92)
    return root


HUES = {"red": (220, 60, 50), "green": (60, 200, 70), "blue": (50, 70, 210)}


def paint(file: Path, hue: tuple[int, int, int], seed: int) -> None:
    """A picture of one hue in soft patches, no two alike."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    patches = np.clip(rng.normal(hue, 40, (12, 10, 3)), 0, 255).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize((48, 40), Image.Resampling.BICUBIC).save(file, quality=92)


def paint_hues(folder: Path) -> Path:
    """Sixty pictures, twenty a class, that the colour backbone tells apart; always the same."""
    for index, (label, hue) in enumerate(HUES.items()):
        for number in range(20):
            paint(folder / label / f"{number:02d}.jpg", hue, 100 * index + number)
    return folder


@pytest.fixture
def hues(tmp_path: Path) -> Path:
    """The pictures of `paint_hues`."""
    return paint_hues(tmp_path / "hues")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """The backbone of `write_colours`."""
    return write_colours(tmp_path / "colours.onnx")


def write_colours(file: Path) -> Path:
    """A backbone file made by hand, for pictures of 96 x 96: its embedding is the mean colour, red, green and blue from
    0 to 1, its bottleneck the mean of red and green."""
    import onnx
    from onnx import TensorProto, helper

    from winnow.embed.recipe import Recipe

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "most"], ["light"]),
        helper.make_node("ReduceMean", ["light"], ["embedding"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["embedding", "zero", "two", "one"], ["bottleneck"]),
    ]
    numbers = [helper.make_tensor("most", TensorProto.FLOAT, [], [255.0])]
    numbers += [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("zero", 0), ("one", 1), ("two", 2))
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 96, 96, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("embedding", 3), ("bottleneck", 2))
    ]
    graph = helper.make_graph(nodes, "colours", [image], outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"graph": Recipe(size=96).graph(), "weights": "c" * 64, "weights_name": "imagenet", "parity": 0.0}
    said |= {"dimension": [3], "bottleneck": 2}
    helper.set_model_props(model, {"winnow_backbone": json.dumps(said)})
    onnx.save(model, file)
    return file


@pytest.fixture(scope="session")
def exported(session_cache: Path) -> Callable[..., Any]:
    """A function that exports the backbone of a recipe, once a session; eight drawn pictures are compared with Keras.

    What asks for it is slow: TensorFlow is imported.
    """
    from winnow.embed.backbone import obtain
    from winnow.embed.images import fit

    def export(recipe: Any, keras_home: Path | None = None) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WINNOW_CACHE", str(session_cache))
            patch.setenv("KERAS_HOME", str(keras_home or session_cache / "no-keras-home"))
            return obtain(recipe, lambda: np.stack([fit(picture(n), recipe.size) for n in range(8)]))

    return export


class Photographs(NamedTuple):
    """The flower photographs as Winnow sees them, in the order of paths, and what is publicly known of their noise."""

    workspace: Any
    table: Any  # the manifest
    ids: list[str]
    pooled: np.ndarray
    bottleneck: np.ndarray
    labels: np.ndarray  # int64 (N,), indexes of the sorted names
    known: np.ndarray  # (N,) of ok, off_topic, mislabelled; "doubtful" where nobody can tell, or it is not public


@pytest.fixture(scope="session")
def photographs(flowers: Path, keras_home: Path, session_cache: Path, tmp_path_factory: Any) -> Photographs:
    """Scanned and embedded once a session, with ImageNet weights."""
    from winnow.choice import Vectors
    from winnow.curate import manifest
    from winnow.curate.workspace import locate
    from winnow.vectors import embed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_CACHE", str(session_cache))
        patch.setenv("KERAS_HOME", str(keras_home))
        workspace = locate(flowers, tmp_path_factory.mktemp("photographs") / "flowers.winnow")
        manifest.scan(workspace)
        store, _ = embed(workspace, Vectors(), lambda done, total: None, lambda line: None)
    table = manifest.read(workspace)
    ids, labels = (table[name].to_pylist() for name in ("id", "label"))
    with (SHARED / "flower_noise_half.csv").open(newline="") as stream:
        said = {row["path"]: row["verdict"] for row in csv.DictReader(stream)}
    known = np.array([said.get(path, "doubtful") for path in table["path"].to_pylist()])
    return Photographs(
        workspace,
        table,
        ids,
        store.read(ids),
        store.read(ids, "bottleneck"),
        np.unique(labels, return_inverse=True)[1],
        known,
    )


def pytest_configure() -> None:
    """Property tests try the same examples everywhere, and a busy machine fails none of them."""
    from hypothesis import settings

    settings.register_profile("winnow", derandomize=True, deadline=None)
    settings.load_profile("winnow")

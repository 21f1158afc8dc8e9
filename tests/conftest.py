"""Fixtures of all tests: the photographs and weights beside the project, drawn pictures, exported backbones."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pictures import paint_hues, picture, write_colours
from support.project import SHARED, Photographs, absent


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
    """Make the ImageNet weights available to this test, without a download."""
    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    return keras_home


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exported backbones that all tests share, so that each is exported once."""
    return tmp_path_factory.mktemp("winnow-cache")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, session_cache: Path, tmp_path: Path) -> None:
    """Hide the user's settings, caches and weights from every test, and run it in a temporary folder."""
    for name in ("WINNOW_IMAGES", "WINNOW_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WINNOW_CACHE", str(session_cache))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no-keras-home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six different pictures in soft colours, `photos/red/0.jpg` …"""
    from PIL import Image

    root = tmp_path / "photos"
    for index, label in enumerate(("red", "blue")):
        (root / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(picture(100 * index + number)).save(root / label / f"{number}.jpg", quality=92)
    return root


@pytest.fixture
def hues(tmp_path: Path) -> Path:
    """The pictures of `paint_hues`."""
    return paint_hues(tmp_path / "hues")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """The backbone of `write_colours`."""
    return write_colours(tmp_path / "colours.onnx")


@pytest.fixture(scope="session")
def exported(session_cache: Path) -> Callable[..., Any]:
    """A function that exports the backbone of a recipe, once a session, and compares it with Keras on eight pictures.

    Tests that use it are slow, because it imports TensorFlow.
    """
    from winnow.embed.backbone import load_or_export
    from winnow.embed.images import resize_to_square

    def export(recipe: Any, keras_home: Path | None = None) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WINNOW_CACHE", str(session_cache))
            patch.setenv("KERAS_HOME", str(keras_home or session_cache / "no-keras-home"))
            return load_or_export(
                recipe, lambda: np.stack([resize_to_square(picture(n), recipe.size) for n in range(8)])
            )

    return export


@pytest.fixture(scope="session")
def photographs(flowers: Path, keras_home: Path, session_cache: Path, tmp_path_factory: Any) -> Photographs:
    """The flower photographs, scanned and embedded with ImageNet weights once a session."""
    from winnow.curate import manifest
    from winnow.curate.workspace import find_workspace
    from winnow.embed.config import EmbeddingConfig
    from winnow.workflow.embedding import embed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_CACHE", str(session_cache))
        patch.setenv("KERAS_HOME", str(keras_home))
        workspace = find_workspace(flowers, tmp_path_factory.mktemp("photographs") / "flowers.winnow")
        manifest.scan(workspace)
        store, _ = embed(workspace, EmbeddingConfig(), lambda done, total: None, lambda line: None)
    table = manifest.read(workspace)
    ids, labels = (table[name].to_pylist() for name in ("id", "label"))
    with (SHARED / "flower_noise_half.csv").open(newline="") as stream:
        verdicts = {row["path"]: row["verdict"] for row in csv.DictReader(stream)}
    return Photographs(
        workspace=workspace,
        table=table,
        ids=ids,
        pooled=store.read(ids),
        bottleneck=store.read(ids, "bottleneck"),
        labels=np.unique(labels, return_inverse=True)[1],
        noise=np.array([verdicts.get(path, "doubtful") for path in table["path"].to_pylist()]),
    )


def pytest_configure() -> None:
    """Let property tests try the same examples everywhere, without a time limit."""
    from hypothesis import settings

    settings.register_profile("winnow", derandomize=True, deadline=None)
    settings.load_profile("winnow")

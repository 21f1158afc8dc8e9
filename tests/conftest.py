"""What tests share: the photographs and weights beside the project, small drawn pictures, one exported backbone."""

from __future__ import annotations

import os
from pathlib import Path

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

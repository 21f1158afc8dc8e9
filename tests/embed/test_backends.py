"""The backends compute the same vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.embed.backbone import TOLERANCE, load_backbone
from winnow.embed.backends import BACKEND_PACKAGES, BACKENDS
from winnow.embed.pipeline import batched, read_square
from winnow.embed.recipe import Recipe
from winnow.embed.weights import Weights

TINY = Recipe(weights="random", alpha=0.35, size=96)


@pytest.mark.parametrize(
    "every", [pytest.param(63, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_onnx_and_tensorflow_agree_on_photographs(exported, keras_home, flowers, every):
    """ImageNet weights, largest difference of any number of either output."""
    backbone = exported(Recipe(), keras_home)
    sessions = {name: BACKENDS[name](backbone) for name in BACKENDS}
    assert set(sessions) == {"onnx", "tensorflow"}
    for paths in batched(sorted(flowers.rglob("*.jpg"))[::every], 16):
        squares = np.stack([read_square(path, backbone.recipe) for path in paths])
        outputs = {name: session(squares) for name, session in sessions.items()}
        for onnx, tensorflow, width in zip(outputs["onnx"], outputs["tensorflow"], (1280, 320), strict=True):
            assert onnx.dtype == tensorflow.dtype == np.float32
            assert onnx.shape == tensorflow.shape == (len(squares), width)
            assert abs(onnx - tensorflow).max() < TOLERANCE


@pytest.mark.slow
def test_they_agree_on_random_weights_that_are_created_again(exported):
    backbone = exported(TINY)
    squares = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    onnx, tensorflow = (BACKENDS[name](load_backbone(backbone.file))(squares) for name in ("onnx", "tensorflow"))
    assert abs(onnx[0] - tensorflow[0]).max() < TOLERANCE
    assert abs(onnx[1] - tensorflow[1]).max() < TOLERANCE


@pytest.mark.slow
def test_tensorflow_refuses_weights_other_than_those_of_the_backbone(exported):
    backbone = replace(exported(TINY), weights=Weights("0" * 64, None))
    with pytest.raises(InputError, match="was exported from other weights than the random ones"):
        BACKENDS["tensorflow"](backbone)


def test_a_session_may_be_called_from_many_threads(colours):
    session = BACKENDS["onnx"](load_backbone(colours))
    outputs: dict[int, float] = {}

    def infer(level):
        for _ in range(20):
            outputs[level] = float(session(np.full((3, 96, 96, 3), level, dtype=np.uint8))[0][2, 1])

    threads = [threading.Thread(target=infer, args=(level,)) for level in (0, 51, 255)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == pytest.approx({0: 0.0, 51: 0.2, 255: 1.0}, abs=1e-4)


def test_a_file_that_cannot_be_run_is_an_error_in_one_line(colours):
    backbone = load_backbone(colours)
    colours.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"onnx cannot be run \(.*\): remove it and it is exported again$") as caught:
        BACKENDS["onnx"](backbone)
    assert "\n" not in str(caught.value)


def test_the_package_of_every_backend_is_known():
    assert BACKEND_PACKAGES.keys() == BACKENDS.keys()


def test_onnxruntime_contacts_no_server_and_leaves_no_file(colours: Path, tmp_path: Path) -> None:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    code = (
        "import sys; from pathlib import Path; from winnow.embed.backbone import load_backbone\n"
        "from winnow.embed.backends import BACKENDS\n"
        "from winnow.embed.recipe import Recipe; BACKENDS['onnx'](load_backbone(Path(sys.argv[1]), Recipe(size=96)))"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    env |= {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    subprocess.run([sys.executable, "-c", code, str(colours)], env=env, check=True)
    assert not [*(tmp_path / "home").rglob("*"), *(tmp_path / "tmp").rglob("*")]

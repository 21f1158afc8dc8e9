"""The code of README and docs that uses a model without Winnow, in Python with two packages and in JavaScript."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import winnow_json
from support.project import PROJECT, Photographs, absent

README = PROJECT / "README.md"
DEPLOYMENT = PROJECT / "docs" / "deployment.md"
ALONE = ("numpy", "onnxruntime", "pillow")
MODULES = ("onnxruntime-web@1.30.0", "jpeg-js@0.4.4")
PRINTED = re.compile(r"^(?P<label>\S+) (?P<probability>[01]\.\d+)(?P<unfamiliar> unfamiliar)?$")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def models(photographs: Photographs, keras_home: Path, session_cache: Path, tmp_path_factory: Any) -> Path:
    """A folder with model.onnx and any.onnx, trained on the photographs."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_CACHE", str(session_cache))
        patch.setenv("KERAS_HOME", str(keras_home))
        arguments = (photographs.workspace.images, "--workspace", photographs.workspace.folder)
        run = winnow_json("train", *arguments, "--head", "logistic")["run"]
        winnow_json("export", run, "-o", folder / "model.onnx")
        winnow_json("export", run, "-o", folder / "any.onnx", "--input", "any")
    return folder


def lay_out(models: Path, picture: Path, folder: Path, page: Path, language: str) -> str:
    """Put the models and `new.jpg` into a folder. Returns: the code in that language on a page."""
    for name in ("model.onnx", "any.onnx"):
        (folder / name).symlink_to(models / name)
    shutil.copy(picture, folder / "new.jpg")
    text = page.read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if ".onnx" in code)
    return code


def check(printed: str, expected: dict[str, Any], within: float) -> None:
    match = PRINTED.match(printed.strip())
    assert match, printed
    assert match["label"] == expected["label"]
    assert float(match["probability"]) == pytest.approx(expected["probability"], abs=within)
    assert bool(match["unfamiliar"]) == expected["unfamiliar"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A Python in an environment of its own that holds onnxruntime, NumPy and Pillow, as they are pinned."""
    pins = [line for line in (PROJECT / "requirements.txt").read_text().splitlines() if line.split("==")[0] in ALONE]
    assert {line.split("==")[0] for line in pins} == set(ALONE)
    uv = Path(sys.executable).with_name("uv")
    folder = tmp_path / "bare"
    if not uv.exists():
        absent("uv is not in the environment: `make` installs it")
    for arguments in (["venv", "--quiet", "--python", sys.executable, folder], ["pip", "install", "--quiet", *pins]):
        done = subprocess.run(
            [uv, *arguments], env=os.environ | {"VIRTUAL_ENV": str(folder)}, capture_output=True, text=True
        )
        if done.returncode:
            absent(f"no package can be installed: {done.stderr.strip()[-200:]}")
    return folder / "bin" / "python"


@pytest.mark.parametrize(("page", "model"), [(README, "any.onnx"), (DEPLOYMENT, "model.onnx")], ids=["readme", "docs"])
def test_python_without_winnow(models: Path, flowers: Path, bare: Path, tmp_path: Path, page: Path, model: str) -> None:
    picture = sorted((flowers / "roses").iterdir())[3]
    code = lay_out(models, picture, tmp_path, page, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    assert model in code
    (tmp_path / "use.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [bare, "-W", "error", "use.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (expected,) = winnow_json("predict", models / model, picture)["predictions"]
    check(done.stdout, expected, within=0.001)


def test_javascript(models: Path, flowers: Path, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        absent("Node is not here: sudo apt install nodejs npm")
    picture = sorted((flowers / "roses").iterdir())[3]
    code = lay_out(models, picture, tmp_path, DEPLOYMENT, "js")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *MODULES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if done.returncode:
        absent(f"no package can be installed: {done.stderr.strip()[-200:]}")
    (tmp_path / "use.mjs").write_text(code)
    done = subprocess.run([node, "use.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (expected,) = winnow_json("predict", models / "any.onnx", picture)["predictions"]
    check(done.stdout, expected, within=0.02)  # another JPEG decoder

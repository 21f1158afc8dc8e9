"""Winnow as it is built, installed and checked: one name in the wheel, and a type check that finds errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.project import PROJECT

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*arguments: object, **settings: object) -> str:
    """Standard output of a command that must succeed."""
    settings = {"env": ENVIRONMENT} | settings
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False, **settings)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed and the new files of this checkout, in a folder of another name."""
    if shutil.which("git") is None or not (PROJECT / ".git").exists():
        pytest.skip("this is no git checkout")
    copy = tmp_path_factory.mktemp("checkout") / "another-name"
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=PROJECT).split("\0")
    for name in filter(None, names):
        if (PROJECT / name).is_file() and not name.startswith("tests/fixtures/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", checkout, "--no-deps", "--no-build-isolation", "-q", "-w", out)
    (file,) = out.glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith("/top_level.txt"))
        assert archive.read(info).decode().split() == ["winnow"]
    assert {name.split("/")[0] for name in names} == {"winnow", info.split("/")[0]}
    assert not [name for name in names if name.startswith(("winnow/tests", "winnow/benchmarks", "winnow/build"))]


@pytest.mark.slow
def test_the_wheel_has_every_module_and_template(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("winnow/") for name in archive.namelist() if name.startswith("winnow/")}
    packages = ("commands", "common", "curate", "deploy", "embed", "heads", "workflow")
    files = [file for package in packages for file in (checkout / package).rglob("*") if file.is_file()]
    expected = {str(file.relative_to(checkout)) for file in files if "from_checkout" not in file.parts}
    expected = {name for name in expected if not name.endswith(".pyc")}
    assert packed == expected | {"__init__.py", "cli.py"}


@pytest.mark.slow
def test_the_type_check_finds_a_planted_error(checkout: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    planted = checkout / "curate" / "planted.py"
    planted.write_text('"""An error of types."""\n\nNUMBER: int = "text"\n', encoding="utf-8")
    try:
        command = ["make", "types", f"BIN={Path(sys.executable).parent}"]
        done = subprocess.run(command, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    finally:
        planted.unlink()
    assert done.returncode != 0
    assert "curate/planted.py:3: error: Incompatible types in assignment" in done.stdout
    assert "Found 1 error in 1 file" in done.stdout


@pytest.mark.long
def test_the_demo_runs_where_the_wheel_is_installed(wheel: Path, tmp_path: Path) -> None:
    environment, outside = tmp_path / "environment", tmp_path / "outside"
    outside.mkdir()
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*install, f"{wheel}[train]", "-c", PROJECT / "requirements.txt")
    variables = ENVIRONMENT | {"WINNOW_CACHE": str(tmp_path / "cache"), "KERAS_HOME": str(tmp_path / "keras")}
    arguments = ["demo", "--per-class", "8", "--repeats", "2", "--json"]
    document = json.loads(run(environment / "bin" / "winnow", *arguments, cwd=outside, env=variables))
    assert document["scan"]["images"] >= 40
    assert Path(document["export"]["model"]).is_file()
    where = run(python, "-c", "import winnow; print(winnow.__file__)", cwd=outside).strip()
    assert Path(where).is_relative_to(environment)

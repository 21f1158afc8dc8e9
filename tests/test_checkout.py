"""`python cli.py` runs the checkout that it lies in, although another copy of Winnow is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PROJECT

SUMMARY = "Go from a folder of images to a report and one model file."
MARKED = "This is the copy."
MARK_PROCESS = """
import os
with open(os.environ["MARKS"], "a") as stream:
    stream.write(f"{os.getpid()}\\n")
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the checkout under another name, whose help and whose heads differ from the installed one's."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    root = tmp_path / "another name"
    for name in filter(None, listed.stdout.split("\0")):
        if name.split("/")[0] not in ("tests", "docs", "benchmarks") and (PROJECT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
    commands, fit = root / "commands" / "project.py", root / "heads" / "evaluation" / "fit.py"
    assert SUMMARY in commands.read_text(encoding="utf-8")
    commands.write_text(commands.read_text(encoding="utf-8").replace(SUMMARY, MARKED), encoding="utf-8")
    fit.write_text(fit.read_text(encoding="utf-8") + MARK_PROCESS, encoding="utf-8")
    return root


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("flags", [[], ["-P"]], ids=["plain", "safe path"])
def test_from_any_folder_its_own_code_runs(copy: Path, flags: list[str]) -> None:
    done = run(*flags, copy / "cli.py", "--help")
    assert MARKED in done.stdout, done.stderr


def test_through_a_link_its_own_code_runs(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "winnow.py"
    link.symlink_to(copy / "cli.py")
    done = run(link, "--help")
    assert MARKED in done.stdout, done.stderr


def test_a_folder_before_it_on_the_path_does_not_hide_it(copy: Path) -> None:
    done = run(copy / "cli.py", "--help", PYTHONPATH=str(PROJECT / "commands" / "from_checkout"))
    assert MARKED in done.stdout, done.stderr


@pytest.mark.slow
def test_its_worker_processes_run_its_own_code(copy: Path, hues: Path, colours: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    arguments = ["--backbone", colours, "--heads", "centroid,lda", "--repeats", "4", "--jobs", "2", "--json"]
    done = run(copy / "cli.py", "compare", hues, *arguments, MARKS=str(marks))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["heads"]) == 2
    assert len(set(marks.read_text().split())) > 1  # the command itself, and its workers

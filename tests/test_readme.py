"""The README cannot rot: its help texts are those of the commands, its options and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.project import PROJECT

from winnow import cli

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README) if name == language]


def test_help_texts_are_those_of_the_commands() -> None:
    command = [sys.executable, "-m", "cogapp", "--check", "README.md"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, "run `make readme`: " + done.stdout


def test_every_command_line_names_commands_and_options_that_exist() -> None:
    lines = [line for name in ("sh", "console") for text in blocks(name) for line in text.splitlines()]
    typed = [re.sub(r"^\$ |\s+#.*$", "", line).split() for line in lines if re.match(r"(\$ )?winnow ", line)]
    assert len(typed) >= 5
    for _, name, *words in typed:
        known = {option for parameter in cli.main.commands[name].params for option in parameter.opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, (name, words)


def test_its_grid_is_one_that_can_be_read(tmp_path: Path) -> None:
    from winnow.heads.evaluation.grid_file import read_grid

    grids = [text for text in blocks("toml") if "[[head]]" in text]
    assert grids
    for text in grids:
        (tmp_path / "heads.toml").write_text(text)
        assert [head.name for head in read_grid(tmp_path / "heads.toml").heads] == [
            table["name"] for table in tomllib.loads(text)["head"]
        ]


@pytest.mark.slow
def test_its_python_runs(flowers: Path, imagenet: Path) -> None:
    for number, label in ((1, "daisy"), (2, "roses")):
        Path(f"photos/{label}").mkdir(parents=True)
        source = next((flowers / label).iterdir())
        Path(f"photos/{label}/{number}.jpg").write_bytes(source.read_bytes())
    (text,) = (text for text in blocks("python") if "Embedder" in text)
    made: dict = {}
    exec(compile(text, "README.md", "exec"), made)
    assert made["model"].predict(["photos/roses/2.jpg"]).tolist() == ["roses"]


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((PROJECT / name).is_file() for name in pictures)


def test_every_problem_code_is_explained() -> None:
    source = "".join((PROJECT / "embed" / "images.py").read_text())
    codes = set(re.findall(r'PictureError\(\s*"(\w+)"', source))
    assert codes >= {"empty", "not_an_image", "truncated", "too_large", "unsupported", "unreadable"}
    assert all(f"`{code}`" in README for code in codes)


def test_no_pin_carries_an_address() -> None:
    pins = (PROJECT / "requirements.txt").read_text()
    assert "://" not in pins
    assert "index-url" not in pins

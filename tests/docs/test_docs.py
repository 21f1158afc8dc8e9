"""README and docs stay true: their commands, options, links, pictures and code exist and work."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.command_line import winnow
from support.project import PACKAGE, PROJECT

from winnow import cli

README = PROJECT / "README.md"
PAGES = [README, *sorted((PROJECT / "docs").glob("*.md"))]
MOST_LINES_OF_README = 200
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def typed_commands(page: Path) -> list[list[str]]:
    """The arguments of every `winnow` command in blocks of shell lines and in the text."""
    lines = [line for name in ("sh", "console") for block in blocks(page, name) for line in block.splitlines()]
    typed = [re.sub(r"^\$ |\s+#.*$", "", line) for line in lines]
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    typed += re.findall(r"`(winnow [^`]*)`", text)
    commands = [line.split()[1:] for line in typed if line.startswith("winnow ")]
    # `winnow COMMAND --help` and `winnow --help` name no command.
    return [arguments for arguments in commands if arguments[0][0].islower()]


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_help_texts_are_those_of_the_commands() -> None:
    command = [sys.executable, "-m", "cogapp", "--check", "docs/commands.md"]
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, "run `make docs`: " + done.stdout


@by_page
def test_every_command_line_names_commands_and_options_that_exist(page: Path) -> None:
    for name, *arguments in typed_commands(page):
        assert name in cli.main.commands, name
        known = {option for parameter in cli.main.commands[name].params for option in parameter.opts}
        known |= {option for parameter in cli.main.commands[name].params for option in parameter.secondary_opts}
        options = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
        assert options <= known | {"--help"}, (name, arguments)


def test_command_lines_are_recognised() -> None:
    assert ["scan", "photos"] in typed_commands(README)
    assert sum(len(typed_commands(page)) for page in PAGES) > 60


@by_page
def test_every_relative_link_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in [link for link in links if "://" not in link]:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target), link


def test_the_readme_shows_a_picture_and_stays_short() -> None:
    assert re.search(r"!\[[^]]+\]\(docs/\w+\.png\)", README.read_text(encoding="utf-8"))
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_README


def test_every_page_is_linked_from_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


def test_the_grid_can_be_read(tmp_path: Path) -> None:
    from winnow.heads.evaluation.grid_file import read_grid

    grids = [text for text in blocks(PROJECT / "docs" / "heads.md", "toml") if "[[head]]" in text]
    assert grids
    for text in grids:
        (tmp_path / "heads.toml").write_text(text)
        names = [head.name for head in read_grid(tmp_path / "heads.toml").heads]
        assert names == [table["name"] for table in tomllib.loads(text)["head"]]


def copy_photographs(flowers: Path, per_class: int) -> None:
    """Write photos/daisy/1.jpg, photos/roses/2.jpg and so on into the current folder."""
    numbers = itertools.count(1)
    for label in ("daisy", "roses"):
        Path(f"photos/{label}").mkdir(parents=True)
        for source in sorted((flowers / label).iterdir())[:per_class]:
            Path(f"photos/{label}/{next(numbers)}.jpg").write_bytes(source.read_bytes())


def run_python_block(containing: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the block of docs/python.md that contains a text, with these names; the names after it."""
    (block,) = (block for block in blocks(PROJECT / "docs" / "python.md", "python") if containing in block)
    exec(compile(block, "python.md", "exec"), names)
    return names


@pytest.mark.slow
def test_the_embedder_and_the_stored_vectors_are_used_as_shown(flowers: Path, imagenet: Path) -> None:
    copy_photographs(flowers, per_class=1)
    model = run_python_block("make_pipeline", {})["model"]
    assert model.predict(["photos/roses/2.jpg"]).tolist() == ["roses"]
    done = winnow("embed", "photos")
    assert done.exit_code == 0, done.output
    assert run_python_block("lance.dataset", {})["vectors"].shape == (2, 1280)


@pytest.mark.slow
def test_the_workflow_is_used_as_shown(flowers: Path, imagenet: Path) -> None:
    copy_photographs(flowers, per_class=20)
    names = run_python_block("export_run", {})
    assert names["folder"].embedding.dimension == 1280
    assert names["best"].kind in ("lda", "logistic")
    assert names["best"].weighted_f1.mean > 0.7
    assert names["report"].model.is_file()
    assert names["report"].parity.labels_differ == 0


def test_every_problem_code_is_explained() -> None:
    source = (PROJECT / "embed" / "images.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'PictureError\(\s*"(\w+)"', source))
    assert codes >= {"empty", "not_an_image", "truncated", "too_large", "unsupported", "unreadable"}
    explained = (PROJECT / "docs" / "curation.md").read_text(encoding="utf-8")
    assert [code for code in codes if f"| `{code}` |" not in explained] == []


def test_no_pin_carries_an_address() -> None:
    pins = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    assert "index-url" not in pins

"""The advice that follows the fact in an error."""

from __future__ import annotations

import ast
import re

import pytest
from support.project import PROJECT

from winnow.commands.remedies import REMEDIES, with_remedy
from winnow.common.errors import InputError

PACKAGES = ("common", "embed", "curate", "heads", "deploy", "workflow", "commands")
SOURCE = (PROJECT / "commands" / "remedies.py").read_text(encoding="utf-8")


def test_the_remedy_continues_the_fact() -> None:
    error = InputError("--tta mean needs more rows per image", remedy="augment", least=2)
    assert with_remedy(error) == "--tta mean needs more rows per image: use --augment 2 or more"


def test_a_fact_without_remedy_stands_alone() -> None:
    assert with_remedy(InputError("photos is empty")) == "photos is empty"


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_reads_as_the_end_of_a_sentence(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert re.match(r"[a-z`]|--", REMEDIES[name])
    assert not REMEDIES[name].endswith(".")


def test_no_remedy_is_left_over() -> None:
    texts = set()
    for file in (file for name in PACKAGES for file in (PROJECT / name).rglob("*.py") if file.name != "remedies.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    assert [name for name in REMEDIES if name not in texts] == []


def test_remedies_are_sorted_in_each_group() -> None:
    groups = re.split(r"^    # .*$", SOURCE, flags=re.MULTILINE)[1:]
    for group in groups:
        names = re.findall(r'^    "([\w-]+)":', group, re.MULTILINE)
        assert names == sorted(names)

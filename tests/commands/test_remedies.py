"""The advice that follows the fact in an error."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator

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


def remedies_raised() -> Iterator[tuple[str, str, set[str]]]:
    """Where a remedy is named, its name, and the details passed with it; a variable may hold any of its function."""
    for file in (file for name in PACKAGES for file in sorted((PROJECT / name).rglob("*.py"))):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Module))]
        scopes = {call: function for function in functions for call in ast.walk(function) if isinstance(call, ast.Call)}
        for call, scope in scopes.items():
            passed = {keyword.arg: keyword.value for keyword in call.keywords}
            raised = ast.unparse(call.func).endswith(("InputError", "WeightsMissing"))
            value = passed.get("remedy", call.args[1] if raised and len(call.args) > 1 else None)
            for node in () if value is None else ast.walk(scope if isinstance(value, ast.Name) else value):
                if isinstance(node, ast.Constant) and node.value in REMEDIES:
                    details = {name for name in passed if name is not None} - {"remedy"}
                    yield f"{file.relative_to(PROJECT)}:{call.lineno}", node.value, details


def test_a_remedy_gets_the_details_that_its_text_refers_to() -> None:
    wrong = []
    for where, name, details in remedies_raised():
        fields = {field for _, field, _, _ in string.Formatter().parse(REMEDIES[name]) if field is not None}
        if not fields <= details:
            wrong.append(f"{where}: {name} needs {sorted(fields - details)}")
    assert wrong == []
    assert len(list(remedies_raised())) > 100


@pytest.mark.parametrize("name", REMEDIES)
def test_details_with_braces_do_not_harm_a_remedy(name: str) -> None:
    fields = [field for _, field, _, _ in string.Formatter().parse(REMEDIES[name]) if field is not None]
    text = with_remedy(InputError("{fact}", remedy=name, **dict.fromkeys(fields, "{braces}")))
    assert text.startswith("{fact}: ")
    assert text.count("{braces}") == len(fields)

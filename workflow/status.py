"""Progress of the work on a folder: what is scanned, embedded, scored, decided and trained, and what is out of date."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
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

SHOWN_RUNS = 5  # the latest ones


@dataclass(frozen=True)
class ScanStatus:
    """Pictures in the manifest, how many of them are readable, and files added, changed or removed since the scan."""

    pictures: int
    added: int
    changed: int
    removed: int
    readable: int


@dataclass(frozen=True)
class TableStatus:
    """A table of vectors: how they are computed, how many there are, and how many of today's pictures it lacks."""

    key: str
    recipe: str
    vectors: int
    missing: int


@dataclass(frozen=True)
class ScoreStatus:
    """Pictures that have scores, and whether pictures, labels or verdicts have changed since."""

    pictures: int
    stale: bool


@dataclass(frozen=True)
class RunStatus:
    """A run: its folder, its kind, the chosen head and the weighted F1 of it: {mean, low, high}."""

    run: str
    kind: str
    head: str
    weighted_f1: dict[str, float]


@dataclass(frozen=True)
class Status:
    """Everything that `status` reports.

    decided: verdict -> pictures. trained: the latest runs, the newest first. next: the sensible next command. bytes: of
    each file and folder of the workspace, the largest first.
    """

    scanned: ScanStatus
    embedded: list[TableStatus]
    scored: ScoreStatus
    decided: dict[str, int]
    trained: list[RunStatus]
    next: str
    bytes: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        return asdict(self)


def read_status(workspace: Workspace) -> Status:
    """Compare a workspace with its folder; of the pictures only names, sizes and times are read.

    Raises: InputError (damaged tables).
    """
    rows = manifest.read(workspace)
    columns = (rows[name].to_pylist() for name in ("id", "problem"))
    readable = {id for id, problem in zip(*columns, strict=True) if problem is None}
    known = set(rows["id"].to_pylist())
    verdicts = current_verdicts(Journal(workspace.folder).lines())
    scanned = _scan_status(workspace, rows, len(readable))
    scored = _score_status(workspace, rows, verdicts)
    decided = dict(Counter(line.verdict for id, line in verdicts.items() if id in known))
    return Status(
        scanned=scanned,
        embedded=_table_statuses(workspace, readable),
        scored=scored,
        decided=decided,
        trained=_run_statuses(workspace),
        next=_next_command(scanned, scored, decided),
        bytes=_sizes(workspace.folder),
    )


def _scan_status(workspace: Workspace, rows: pa.Table, readable: int) -> ScanStatus:
    columns = (rows[name].to_pylist() for name in ("path", "bytes", "mtime_ns"))
    known = {path: entry for path, *entry in zip(*columns, strict=True)}
    others = {entry.path for entry in manifest.read_other_files(workspace)}
    current = {path: entry for path, *entry in walk(workspace.images, lambda path, error: None)}
    return ScanStatus(
        pictures=len(known),
        added=len(current.keys() - known.keys() - others),
        changed=sum(current[path] != entry for path, entry in known.items() if path in current),
        removed=len(known.keys() - current.keys()),
        readable=readable,
    )


def _table_statuses(workspace: Workspace, ids: set[str]) -> list[TableStatus]:
    tables = []
    for path in sorted(workspace.embeddings.glob("*.lance")):
        table = open_table(path)
        if table is None:
            continue
        with wrap_read_errors(path):
            recipe = json.loads(table.schema.metadata[b"winnow"])["recipe"]
        stored = read_ids(path)
        tables.append(TableStatus(path.stem, recipe, len(stored), len(ids - stored)))
    return tables


def _score_status(workspace: Workspace, rows: pa.Table, verdicts: dict[str, Line]) -> ScoreStatus:
    columns = ["id", "label", "verdict", "reason", "problem", "off_topic"]
    table = score_table.read(workspace).select(columns).to_pylist()
    scored = {
        row["id"]: (row["label"], row["verdict"], row["reason"]) for row in table if row["id"] and not row["problem"]
    }
    current: dict[str, tuple[str | None, str | None, str | None]] = {}
    for id, label in dataset.majority_labels(rows).items():
        line = verdicts.get(id)
        verdict, reason = (line.verdict, line.reason) if line else (None, None)
        current[id] = (line.label if line and line.verdict == "relabel" else label, verdict, reason)
    pictures = len({row["id"] for row in table if row["off_topic"] is not None})
    return ScoreStatus(pictures, bool(pictures) and scored != current)


def _run_statuses(workspace: Workspace) -> list[RunStatus]:
    runs = []
    for file in sorted(workspace.runs.glob("*/metrics.json"), reverse=True)[:SHOWN_RUNS]:
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            head = document["heads"][0]
            runs.append(RunStatus(str(file.parent), document["kind"], head["name"], head["weighted_f1"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # damaged, or of another version: the others are still shown
    return runs


def _next_command(scanned: ScanStatus, scored: ScoreStatus, decided: dict[str, int]) -> str:
    if not scanned.readable or scanned.added or scanned.changed or scanned.removed:
        return "scan"
    if not scored.pictures or scored.stale:
        return "score"
    return "run" if decided else "review"


def _sizes(folder: Path) -> dict[str, int]:
    sizes = {
        entry.name: sum(file.lstat().st_size for file in (entry.rglob("*") if entry.is_dir() else [entry]))
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if not entry.name.startswith(".")
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))

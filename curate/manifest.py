"""The manifest: one row per picture file of a folder, kept up to date by reading only what changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.common.tables import open_table, wrap_read_errors, write_table
from winnow.common.threads import map_ahead, processors
from winnow.curate import labels
from winnow.curate.image_file import inspect_file
from winnow.curate.noise import duplicates, quality
from winnow.curate.walk import Entry, walk
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

COMMIT_SECONDS = 5.0  # a scan that is killed loses at most this much work


@dataclass(frozen=True)
class FileProblem:
    """A picture file that cannot be used, and why."""

    path: str  # manifest path
    code: str  # one of the problem codes, such as "truncated"
    message: str

    def to_json(self) -> dict[str, str]:
        """Its fields under their names."""
        return asdict(self)


@dataclass(frozen=True)
class ScanResult:
    """Counts and problems of a scan. `files` = `images` + `ignored`; the problems are among the images."""

    files: int
    images: int
    ignored: int
    read: int  # files that were opened, because they are new or changed
    problems: list[FileProblem]
    labels: dict[str, int]  # readable pictures of each label
    unlabelled: int  # readable pictures without a label
    exact_duplicates: int  # readable files beyond the first with the same bytes
    quality: dict[str, int]  # rule of `curate.noise.quality` -> readable files that break it
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """The document of `scan --json`, where `problems` is a count and `problem_files` lists them."""
        problem_files = [problem.to_json() for problem in self.problems]
        return asdict(self) | {"problems": len(self.problems), "problem_files": problem_files}


class Visitor(Protocol):
    """Further work on the pictures that a scan has just read, so that they need not be read again.

    A context manager, entered once the scan holds the lock of the workspace and left before it releases it.
    """

    def visit(self, id: str, data: bytes, image: Image) -> Any:
        """Process a decoded picture, in the thread that decoded it. Returns: the argument of `store`, or None."""

    def store(self, id: str, visited: Any) -> None:
        """Store what `visit` returned, in the thread of the scan, one picture after the other."""

    def __enter__(self) -> Visitor: ...

    def __exit__(self, *error: object) -> None: ...


def schema() -> pa.Schema:
    """Columns of `manifest.lance`."""
    import pyarrow as pa

    text, number, side = pa.string(), pa.int64(), pa.int32()
    columns = {"id": text, "path": text, "label": text, "split": text, "bytes": number, "mtime_ns": number}
    columns |= {"format": text, "width": side, "height": side, "pixels": text, "phash": pa.uint64()}
    columns |= {"thumbnail": pa.binary(duplicates.SIDE**2)}  # grey, see `thumbnails`
    columns |= dict.fromkeys(quality.NUMBERS, pa.float32()) | {"problem": text, "problem_message": text}
    return pa.schema(list(columns.items()))


def read(workspace: Workspace, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the manifest, in the order of paths; it is empty before the first scan.

    Parameters: `columns`, the names of those to read (None: all).
    Raises: InputError when it is damaged, or was written by an older Winnow.
    """
    return _read(workspace.manifest, schema(), columns)


def read_areas(workspace: Workspace) -> dict[str, int]:
    """Map the id of every readable picture to width times height in pixels."""
    rows = read(workspace, ["id", "width", "height"]).to_pylist()
    return {row["id"]: row["width"] * row["height"] for row in rows if row["width"]}


def files_by_id(workspace: Workspace) -> dict[str, Path]:
    """Map the id of every readable picture to one file that holds it: the first in the order of paths."""
    files: dict[str, Path] = {}
    for row in read(workspace, ["id", "path", "problem"]).to_pylist():
        if row["problem"] is None:
            files.setdefault(row["id"], workspace.images / from_text(row["path"]))
    return files


def thumbnails(table: pa.Table) -> np.ndarray:
    """Decode the thumbnails of readable rows of a manifest: uint8 (N, 16, 16), grey, for `find_near_duplicates`."""
    side = duplicates.SIDE
    return np.frombuffer(b"".join(table["thumbnail"].to_pylist()), dtype=np.uint8).reshape(-1, side, side)


def scan(
    workspace: Workspace,
    rule: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
    on_message: Callable[[str], None] = lambda message: None,
    visitor: Visitor | None = None,
) -> ScanResult:
    """Bring the manifest up to date: files whose path, size or time changed are read and decoded, the rest is kept.

    Parameters: `rule`, a label rule (None: that of the workspace, "folder" at first); `on_progress`, called with the
    number of files read and of files to read; `workers`, decode threads (None: one per processor); `on_message`, called
    when another command holds the lock, or every picture has to be read again; `visitor`, visits every usable picture
    that is read.
    Raises: InputError for a label file that cannot be used, and for errors of the disk.
    """
    import pyarrow as pa

    workspace = replace(workspace, labels=rule or workspace.labels)
    labels.assign_labels(workspace.labels, [], workspace.images)  # raise for a bad rule before the work, not after it
    workspace.save()
    with workspace.lock(on_message), visitor or nullcontext():
        _clear_outdated(workspace, on_message)
        before, others = read(workspace), read_other_files(workspace)
        unlisted: list[dict[str, Any]] = []
        entries = list(walk(workspace.images, lambda path, error: unlisted.append(_unlisted_row(path, error))))
        codes = before["problem"].to_pylist()
        rows = {Entry(*row): i for i, row in enumerate(_entries(before)) if codes[i] != "unreadable"}
        kept = [rows[entry] for entry in entries if entry in rows]
        changed = [entry for entry in entries if entry not in rows and entry not in others]
        tables = [before.take(pa.array(kept, pa.int64())), pa.Table.from_pylist(unlisted, schema())]
        for table in _inspect_files(changed, workspace.images, others, on_progress, workers, visitor):
            write_table(workspace.manifest, table, "append")
            tables.append(table)
        others.intersection_update(entries)
        joined = pa.concat_tables(tables).sort_by("path")
        tables.clear()  # free the memory: together they are as large as `joined`
        after, warnings = _assign_labels(joined, workspace)
        if changed or not after.equals(before):
            write_table(workspace.manifest, after, "overwrite")
            write_table(_others_path(workspace), _others_table(others), "overwrite")
    return _summarize(after, len(entries), len(others), len(changed), warnings)


def _entries(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    names = ("path", "bytes", "mtime_ns")
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _others_path(workspace: Workspace) -> Path:
    return workspace.folder / "other_files.lance"


def read_other_files(workspace: Workspace) -> set[Entry]:
    """Read the files that the last scan recognised as no pictures: unless they changed they are not opened again."""
    return {Entry(*row) for row in _entries(_read(_others_path(workspace), _others_schema()))}


def _others_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema().field(name) for name in Entry._fields])


def _others_table(others: set[Entry]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([entry._asdict() for entry in sorted(others)], _others_schema())


def _read(path: Path, expected: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    table = open_table(path)
    if table is None:
        return expected.empty_table().select(columns or expected.names)
    if _is_outdated(table.schema, expected):
        raise InputError(f"{path} was written by an older Winnow", remedy="rescan")
    with wrap_read_errors(path):
        if not table.schema.equals(expected):
            raise ValueError("its columns are not those of this version")
        return table.to_table(columns=None if columns is None else list(columns))


def _is_outdated(schema: pa.Schema, expected: pa.Schema) -> bool:
    """Whether a schema is that of an earlier version: it lacks some of the expected columns, and has no others."""
    return set(schema) < set(expected) and "path" in schema.names


def _clear_outdated(workspace: Workspace, on_message: Callable[[str], None]) -> None:
    """Empty a manifest of an earlier version, so that the missing columns are computed."""
    table = open_table(workspace.manifest)
    if table is not None and _is_outdated(table.schema, schema()):
        on_message(f"{workspace.manifest} was written by an older Winnow: every picture is read again")
        write_table(workspace.manifest, schema().empty_table(), "overwrite")


def _inspect_files(
    entries: Sequence[Entry],
    root: Path,
    others: set[Entry],
    on_progress: Callable[[int, int], None],
    workers: int | None,
    visitor: Visitor | None,
) -> Iterator[pa.Table]:
    """Yield the rows of the pictures among `entries`, a table every few seconds; add the other files to `others`."""
    import pyarrow as pa

    workers = workers or processors()
    rows: list[dict[str, Any]] = []
    last = time.monotonic()
    visit = visitor.visit if visitor else None
    inspected = map_ahead(lambda entry: inspect_file(root, entry, visit), entries, workers, 4 * workers)
    for done, (entry, future) in enumerate(inspected, start=1):
        row, visited = future.result()
        if row is None:
            others.add(entry)
        else:
            rows.append(row)
        if visitor and row and visited is not None:
            visitor.store(row["id"], visited)
        on_progress(done, len(entries))
        if rows and (done == len(entries) or time.monotonic() - last > COMMIT_SECONDS):
            yield pa.Table.from_pylist(rows, schema())
            rows, last = [], time.monotonic()
    if rows:
        yield pa.Table.from_pylist(rows, schema())


def _unlisted_row(path: str, error: OSError) -> dict[str, Any]:
    message = f"{error.strerror}: this folder cannot be listed: check its permissions"
    return {"path": path or "./", "bytes": -1, "mtime_ns": 0, "problem": "unreadable", "problem_message": message}


def _assign_labels(table: pa.Table, workspace: Workspace) -> tuple[pa.Table, list[str]]:
    import pyarrow as pa

    assigned = labels.assign_labels(workspace.labels, table["path"].to_pylist(), workspace.images)
    for name, values in (("label", assigned.labels), ("split", assigned.splits)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table, assigned.warnings


def _summarize(table: pa.Table, files: int, ignored: int, read: int, warnings: list[str]) -> ScanResult:
    import pyarrow.compute as pc

    table = table.select(["id", "path", "label", "width", "height", *quality.NUMBERS, "problem", "problem_message"])
    good = table.filter(pc.is_null(table["problem"]))
    bad = table.filter(pc.is_valid(table["problem"])).select(["path", "problem", "problem_message"])
    counts = Counter(good["label"].to_pylist())
    return ScanResult(
        files=files,
        images=files - ignored,
        ignored=ignored,
        read=read,
        problems=[FileProblem(*row.values()) for row in bad.to_pylist()],
        unlabelled=counts.pop(None, 0),
        labels=dict(sorted(counts.items())),
        exact_duplicates=len(good) - pc.count_distinct(good["id"]).as_py(),
        quality=dict(Counter(chain.from_iterable(quality.broken_rules(good)))),
        warnings=warnings,
    )

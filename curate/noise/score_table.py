"""Which pictures to look at next: manifest + journal + vectors -> `scores.lance`, a row a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.tables import open_table, read_errors, write_table
from winnow.curate import dataset, manifest
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.noise import active_learning, duplicates, quality, scores
from winnow.curate.noise.suspects import verdict_codes
from winnow.curate.workspace import Workspace
from winnow.embed.store import read_ids, read_vectors

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # of what is kept from one scoring to the next: raise it when a score of the folder as found changes
FOUND = ("off_topic_prior", "duplicate_group", "duplicate_keep")  # columns that no verdict changes
OnMessage = Callable[[str], None]


def schema() -> pa.Schema:
    """Columns of `scores.lance`. Scores are null for pictures that cannot be read or have no vector."""
    import pyarrow as pa

    text, number, flag = pa.string(), pa.float64(), pa.bool_()
    columns = {"id": text, "path": text, "label": text, "off_topic": number, "off_topic_prior": number}
    columns |= {"label_suspect": number, "suggested_label": text, "duplicate_group": pa.int64(), "duplicate_keep": flag}
    columns |= {"verdict": text, "reason": text, "split": text, "quality": pa.list_(text), "problem": text}
    return pa.schema(list(columns.items()))


def read(workspace: Workspace) -> pa.Table:
    """The scores as last written, in the order of paths; empty before the first `score`."""
    found = open_table(workspace.scores)
    if found is None:
        return schema().empty_table()
    with read_errors(workspace.scores):
        if not found.schema.remove_metadata().equals(schema()):  # of another version: the next scoring writes them anew
            return schema().empty_table()
        return found.to_table()


def score(
    workspace: Workspace,
    store: Path,
    on_message: OnMessage = lambda _: None,
    *,
    fresh_labels: bool = True,
    as_found: bool = False,
    made: dict[str, Any] | None = None,
) -> pa.Table:
    """Score every picture with the verdicts so far, write `scores.lance` and return it.

    What no verdict changes is taken from the last scoring when the pictures are still the same.
    Parameters: `store`, the table of vectors; `fresh_labels`, False keeps the label suspects of the last scoring, which
    take longest; `as_found`, as if there were no verdicts; `made`, how the vectors were chosen, for those who score
    again (None: as last time).
    Raises: InputError when pictures have no vector yet, or the disk refuses.
    """
    rows = manifest.read(workspace)
    verdicts = {} if as_found else current_verdicts(Journal(workspace.folder, on_message=on_message).lines())
    before = read(workspace)
    pictures = _Pictures.read(rows, verdicts, store)
    if not pictures.ids:
        raise InputError(f"{workspace.images} holds no picture with a vector: run `winnow embed` first")
    vectors = read_vectors(store, pictures.ids), pictures.bottleneck()
    found = _kept(before, pictures) or _found(pictures, *vectors)
    columns = found | _decided(pictures, *vectors, found, before if not fresh_labels else None)
    columns["split"] = _splits(workspace, pictures, found["duplicate_group"], verdicts)
    said = {"winnow": json.dumps({"found": pictures.key(), "made": made or _said(before).get("made")})}
    table = _by_path(rows, pictures, columns, verdicts).replace_schema_metadata(said)
    with workspace.lock(on_message):
        write_table(workspace.scores, table, "overwrite")
    return table


def made(workspace: Workspace) -> dict[str, Any] | None:
    """How the vectors of the last scoring were chosen; None before the first."""
    return _said(read(workspace)).get("made")


def unscored(workspace: Workspace, on_message: OnMessage = lambda _: None) -> pa.Table:
    """The table as `score` returns it, with what needs no vectors: the rest is null."""
    rows = manifest.read(workspace)
    return _by_path(rows, None, {}, current_verdicts(Journal(workspace.folder, on_message=on_message).lines()))


def near_groups(workspace: Workspace, store: Path) -> dict[str, int]:
    """id -> the number of its group of near-duplicates, for those in one; from the last scoring when it still holds."""
    pictures = _Pictures.read(manifest.read(workspace), {}, store)
    kept = _kept(read(workspace), pictures)
    groups = kept["duplicate_group"] if kept else _duplicates(pictures, pictures.bottleneck())["duplicate_group"]
    return {id: group for id, group in zip(pictures.ids, groups, strict=True) if group is not None}


@dataclass(frozen=True)
class _Pictures:
    """Readable pictures that have a vector, each id once (N): labels as found and as decided, what copies share."""

    store: Path

    ids: list[str]
    paths: list[str]
    found: list[str | None]
    decided: list[str | None]
    given: np.ndarray  # int8 (N,), verdicts as `feedback` takes them
    phash: np.ndarray  # uint64 (N,)
    pixels: list[str]
    area: np.ndarray  # int64 (N,)
    thumbnails: np.ndarray  # uint8 (N, side, side)

    @classmethod
    def read(cls, rows: pa.Table, verdicts: dict[str, Line], store: Path) -> _Pictures:
        """The pictures of a manifest that the table `store` has vectors of."""
        import pyarrow as pa

        here = read_ids(store)
        named = dataset.majority_labels(rows)
        first: dict[str, int] = {}
        for row, (id, problem) in enumerate(zip(rows["id"].to_pylist(), rows["problem"].to_pylist(), strict=True)):
            if problem is None and id in here:
                first.setdefault(id, row)
        table = rows.take(pa.array(list(first.values()), pa.int64()))
        ids, width, height = list(first), *(table[name].to_numpy().astype(np.int64) for name in ("width", "height"))
        found = [named[id] for id in ids]
        relabels = {id: line.label for id, line in verdicts.items() if line.verdict == "relabel"}
        return cls(
            store=store,
            ids=ids,
            paths=table["path"].to_pylist(),
            found=found,
            decided=[relabels.get(id, label) for id, label in zip(ids, found, strict=True)],
            given=verdict_codes(ids, {id: (line.verdict, line.reason) for id, line in verdicts.items()}),
            phash=table["phash"].to_numpy().astype(np.uint64),
            pixels=table["pixels"].to_pylist(),
            area=width * height,
            thumbnails=manifest.thumbnails(table),
        )

    def bottleneck(self) -> np.ndarray:
        """float32 (N, B)."""
        return read_vectors(self.store, self.ids, "bottleneck")

    def key(self) -> str:
        """Of everything that scores of the folder as found depend on."""
        return digest([VERSION, self.store.name, self.ids, self.found])


Columns = dict[str, Sequence[Any]]


def _kept(before: pa.Table, pictures: _Pictures) -> Columns | None:
    """What the last scoring says of the folder as found, when the pictures and their vectors are the same."""
    return _of(pictures.ids, before, FOUND) if _said(before).get("found") == pictures.key() else None


def _said(table: pa.Table) -> dict[str, Any]:
    return json.loads((table.schema.metadata or {}).get(b"winnow", b"{}"))


def _of(ids: Sequence[str], table: pa.Table, names: Sequence[str]) -> Columns:
    """Columns of a table in the order of ids, None for those that it does not have."""
    row_of = {id: row for row, id in enumerate(table["id"].to_pylist())}
    rows = [row_of.get(id) for id in ids]
    columns = {name: table[name].to_pylist() for name in names}
    return {name: [None if row is None else column[row] for row in rows] for name, column in columns.items()}


def _found(pictures: _Pictures, pooled: np.ndarray, bottleneck: np.ndarray) -> Columns:
    """`FOUND`: duplicates, and off-topic before any verdict."""
    near = _duplicates(pictures, bottleneck)
    labels, _ = _numbered(pictures.found)
    prior = scores.off_topic(pooled, bottleneck, labels, _groups(near["duplicate_group"]))
    return near | {"off_topic_prior": prior.tolist()}


def _duplicates(pictures: _Pictures, bottleneck: np.ndarray) -> Columns:
    labels, _ = _numbered(pictures.found)
    near = duplicates.near(
        bottleneck, pictures.phash, pictures.pixels, pictures.area, labels, pictures.paths, pictures.thumbnails
    )
    alone = (near.group < 0).tolist()
    return {
        name: [None if single else value for single, value in zip(alone, values.tolist(), strict=True)]
        for name, values in (("duplicate_group", near.group), ("duplicate_keep", near.keep))
    }


def _decided(
    pictures: _Pictures, pooled: np.ndarray, bottleneck: np.ndarray, found: Columns, before: pa.Table | None
) -> Columns:
    """`off_topic` re-ranked by the verdicts, and label suspects among what was not dropped (or those of `before`)."""
    groups = _groups(found["duplicate_group"])
    prior = np.array(found["off_topic_prior"], dtype=np.float64)
    ranked = active_learning.rerank(pooled, bottleneck, prior, pictures.given, groups)
    if before is not None:
        return {"off_topic": ranked.tolist()} | _of(pictures.ids, before, ("label_suspect", "suggested_label"))
    labels, classes = _numbered(pictures.decided)
    dropped = np.isin(pictures.given, (1, -2))
    said = scores.label_suspect(pooled, bottleneck, np.where(dropped, -1, labels), groups)
    return {
        "off_topic": ranked.tolist(),
        "label_suspect": [None if np.isnan(value) else value for value in said.score.tolist()],
        "suggested_label": [
            None if index < 0 or gone else classes[index]
            for index, gone in zip(said.suggested.tolist(), dropped.tolist(), strict=True)
        ],
    }


def _splits(
    workspace: Workspace, pictures: _Pictures, groups: Sequence[int | None], verdicts: dict[str, Line]
) -> list[str | None]:
    """The part that each picture has in the first split; None for all when the pictures cannot be divided yet."""
    near = {id: group for id, group in zip(pictures.ids, groups, strict=True) if group is not None}
    try:
        data = dataset.read(workspace, repeats=1, near=near, verdicts=verdicts, among=set(pictures.ids))
    except InputError:
        return [None] * len(pictures.ids)
    part = dict(zip(data.ids, data.splits[0].tolist(), strict=True))
    return [part.get(id) or None for id in pictures.ids]


def _by_path(rows: pa.Table, pictures: _Pictures | None, columns: Columns, verdicts: dict[str, Line]) -> pa.Table:
    """A row a path: the columns of its id, and what manifest and journal say."""
    import pyarrow as pa

    row_of = {id: row for row, id in enumerate(pictures.ids)} if pictures else {}
    columns = columns | ({"label": pictures.decided} if pictures else {})
    made = []
    columns_used = rows.select(["id", "path", "label", "problem"]).to_pylist()
    for row, rules in zip(columns_used, quality.problems(rows), strict=True):
        at = row_of.get(row["id"]) if row["problem"] is None else None
        line = verdicts.get(row["id"])
        said = {name: column[at] for name, column in columns.items()} if at is not None else {"label": row["label"]}
        said |= {name: row[name] for name in ("id", "path", "problem")} | {"quality": rules}
        made.append(said | ({"verdict": line.verdict, "reason": line.reason} if line else {}))
    return pa.Table.from_pylist(made, schema())


def _numbered(labels: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """Index of every label among the sorted ones, int64 (N,), -1 for None; and those."""
    classes = sorted({label for label in labels if label is not None})
    index = {label: number for number, label in enumerate(classes)}
    return np.array([-1 if label is None else index[label] for label in labels], dtype=np.int64), classes


def _groups(near: Sequence[int | None]) -> np.ndarray:
    """Group numbers for all, int64 (N,): those that are alone (None) get one of their own."""
    first = max((group for group in near if group is not None), default=-1) + 1
    return np.array([first + row if group is None else group for row, group in enumerate(near)], dtype=np.int64)

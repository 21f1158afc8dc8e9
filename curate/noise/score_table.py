"""The table of scores, `scores.lance`: manifest, journal and vectors in, one row per path out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.progress import OnMessage
from winnow.common.tables import open_table, wrap_read_errors, write_table
from winnow.curate import dataset, manifest
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.noise import active_learning, duplicates, label_errors, outliers, quality
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import read_ids, read_vectors

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # of the reused columns: raise it when they change for the same pictures and vectors
REUSED = ("off_topic_prior", "duplicate_group", "duplicate_keep")  # columns that no verdict changes

Columns = dict[str, Sequence[Any]]


def schema() -> pa.Schema:
    """Columns of `scores.lance`. Scores are null for pictures that cannot be read or have no vector."""
    import pyarrow as pa

    text, number, flag = pa.string(), pa.float64(), pa.bool_()
    columns = {"id": text, "path": text, "label": text, "off_topic": number, "off_topic_prior": number}
    columns |= {"label_suspect": number, "suggested_label": text, "duplicate_group": pa.int64(), "duplicate_keep": flag}
    columns |= {"verdict": text, "reason": text, "split": text, "quality": pa.list_(text), "problem": text}
    return pa.schema(list(columns.items()))


def read(workspace: Workspace) -> pa.Table:
    """Read the scores of the last scoring, in the order of paths; the table is empty before the first one."""
    stored = open_table(workspace.scores)
    if stored is None:
        return schema().empty_table()
    with wrap_read_errors(workspace.scores):
        if not stored.schema.remove_metadata().equals(schema()):  # of another version: the next scoring replaces it
            return schema().empty_table()
        return stored.to_table()


def score(
    workspace: Workspace,
    store: Path,
    on_message: OnMessage = lambda _: None,
    *,
    fresh_labels: bool = True,
    as_found: bool = False,
    config: EmbeddingConfig | None = None,
) -> pa.Table:
    """Score every picture with the verdicts so far, write `scores.lance` and return it.

    Columns that no verdict changes are taken from the last scoring when the pictures and vectors are still the same.

    Parameters
    ----------
    workspace : Workspace
    store : Path
        The table of vectors.
    on_message : callable, receives one message
    fresh_labels : bool
        False reuses the label errors of the last scoring, which take longest to compute.
    as_found : bool
        Ignore all verdicts.
    config : EmbeddingConfig or None
        The choice of vectors, stored for `embedding_config`; None keeps that of the last scoring.

    Raises
    ------
    InputError
        No picture has a vector, or the disk refuses.
    """
    rows = manifest.read(workspace)
    verdicts = {} if as_found else current_verdicts(Journal(workspace.folder, on_message=on_message).lines())
    before = read(workspace)
    pictures = _EmbeddedPictures.read(rows, verdicts, store)
    if not pictures.ids:
        raise InputError(f"{workspace.images} holds no picture with a vector", remedy="embed")
    pooled, bottleneck = read_vectors(store, pictures.ids), pictures.bottleneck()
    columns = _reusable_columns(before, pictures) or _columns_without_verdicts(pictures, pooled, bottleneck)
    groups = _group_numbers(columns["duplicate_group"])
    prior = np.array(columns["off_topic_prior"], dtype=np.float64)
    columns["off_topic"] = active_learning.rerank(pooled, bottleneck, prior, pictures.verdicts, groups).tolist()
    if fresh_labels:
        columns |= _label_error_columns(pictures, pooled, bottleneck, groups)
    else:
        columns |= _columns_by_id(pictures.ids, before, ("label_suspect", "suggested_label"))
    columns["split"] = _split_names(workspace, pictures, columns["duplicate_group"], verdicts)
    made = _metadata(before).get("made") if config is None else config.to_json()
    metadata = {"winnow": json.dumps({"found": pictures.key(), "made": made})}
    table = _table_by_path(rows, pictures, columns, verdicts).replace_schema_metadata(metadata)
    with workspace.lock(on_message):
        write_table(workspace.scores, table, "overwrite")
    return table


def embedding_config(workspace: Workspace) -> EmbeddingConfig:
    """Return the choice of vectors of the last scoring; the default one before the first."""
    return EmbeddingConfig.from_json(_metadata(read(workspace)).get("made"))


def unscored(workspace: Workspace, on_message: OnMessage = lambda _: None) -> pa.Table:
    """Return the table of `score` with the columns that need no vectors; the others are null."""
    rows = manifest.read(workspace)
    verdicts = current_verdicts(Journal(workspace.folder, on_message=on_message).lines())
    return _table_by_path(rows, None, {}, verdicts)


def near_groups(workspace: Workspace, store: Path) -> dict[str, int]:
    """Map the ids of pictures that have near-duplicates to the number of their group.

    The groups are those of the last scoring where the pictures are still the same, else they are computed.
    """
    pictures = _EmbeddedPictures.read(manifest.read(workspace), {}, store)
    columns = _reusable_columns(read(workspace), pictures) or _duplicate_columns(pictures, pictures.bottleneck())
    groups = columns["duplicate_group"]
    return {id: group for id, group in zip(pictures.ids, groups, strict=True) if group is not None}


@dataclass(frozen=True)
class _EmbeddedPictures:
    """The readable pictures that have a vector, each id once (N).

    original_labels : labels as found in the folder.
    current_labels : labels after relabelling.
    verdicts : int8 (N,), codes of `active_learning`.
    phash : uint64 (N,), perceptual hashes.
    pixels : digests of the decoded pixels.
    area : int64 (N,), width * height.
    thumbnails : uint8 (N, 16, 16).
    """

    store: Path
    ids: list[str]
    paths: list[str]
    original_labels: list[str | None]
    current_labels: list[str | None]
    verdicts: np.ndarray
    phash: np.ndarray
    pixels: list[str]
    area: np.ndarray
    thumbnails: np.ndarray

    @classmethod
    def read(cls, rows: pa.Table, verdicts: dict[str, Line], store: Path) -> _EmbeddedPictures:
        """Select the pictures of a manifest that have vectors in the table `store`."""
        import pyarrow as pa

        embedded = read_ids(store)
        labels = dataset.majority_labels(rows)
        first: dict[str, int] = {}
        for row, (id, problem) in enumerate(zip(rows["id"].to_pylist(), rows["problem"].to_pylist(), strict=True)):
            if problem is None and id in embedded:
                first.setdefault(id, row)
        table = rows.take(pa.array(list(first.values()), pa.int64()))
        ids, width, height = list(first), *(table[name].to_numpy().astype(np.int64) for name in ("width", "height"))
        relabels = {id: line.label for id, line in verdicts.items() if line.verdict == "relabel"}
        codes = active_learning.encode_verdicts(ids, {id: (line.verdict, line.reason) for id, line in verdicts.items()})
        return cls(
            store=store,
            ids=ids,
            paths=table["path"].to_pylist(),
            original_labels=[labels[id] for id in ids],
            current_labels=[relabels.get(id, labels[id]) for id in ids],
            verdicts=codes,
            phash=table["phash"].to_numpy().astype(np.uint64),
            pixels=table["pixels"].to_pylist(),
            area=width * height,
            thumbnails=manifest.thumbnails(table),
        )

    def bottleneck(self) -> np.ndarray:
        """Read the bottleneck vectors: float32 (N, B)."""
        return read_vectors(self.store, self.ids, "bottleneck")

    def key(self) -> str:
        """Digest of everything that the `REUSED` columns depend on."""
        return digest([VERSION, self.store.name, self.ids, self.original_labels])


def _reusable_columns(before: pa.Table, pictures: _EmbeddedPictures) -> Columns | None:
    """Return the `REUSED` columns of the last scoring, None when the pictures or their vectors have changed."""
    return _columns_by_id(pictures.ids, before, REUSED) if _metadata(before).get("found") == pictures.key() else None


def _metadata(table: pa.Table) -> dict[str, Any]:
    """Return what `score` stores beside the rows: `found`, the key of the pictures; `made`, the embedding config."""
    return json.loads((table.schema.metadata or {}).get(b"winnow", b"{}"))


def _columns_by_id(ids: Sequence[str], table: pa.Table, names: Sequence[str]) -> Columns:
    """Return columns of a table in the order of ids, with None for ids that it does not have."""
    row_of = {id: row for row, id in enumerate(table["id"].to_pylist())}
    rows = [row_of.get(id) for id in ids]
    columns = {name: table[name].to_pylist() for name in names}
    return {name: [None if row is None else column[row] for row in rows] for name, column in columns.items()}


def _columns_without_verdicts(pictures: _EmbeddedPictures, pooled: np.ndarray, bottleneck: np.ndarray) -> Columns:
    """Compute the `REUSED` columns: duplicates, and the off-topic score before any verdict."""
    near = _duplicate_columns(pictures, bottleneck)
    labels, _ = _label_codes(pictures.original_labels)
    prior = outliers.score_off_topic(pooled, bottleneck, labels, _group_numbers(near["duplicate_group"]))
    return near | {"off_topic_prior": prior.tolist()}


def _duplicate_columns(pictures: _EmbeddedPictures, bottleneck: np.ndarray) -> Columns:
    """Compute the columns `duplicate_group` and `duplicate_keep`, None for pictures without duplicates."""
    labels, _ = _label_codes(pictures.original_labels)
    near = duplicates.find_near_duplicates(
        bottleneck, pictures.phash, pictures.pixels, pictures.area, labels, pictures.paths, pictures.thumbnails
    )
    alone = (near.group < 0).tolist()
    return {
        name: [None if single else value for single, value in zip(alone, values.tolist(), strict=True)]
        for name, values in (("duplicate_group", near.group), ("duplicate_keep", near.keep))
    }


def _label_error_columns(
    pictures: _EmbeddedPictures, pooled: np.ndarray, bottleneck: np.ndarray, groups: np.ndarray
) -> Columns:
    """Compute `label_suspect` and `suggested_label` from the pictures that are not dropped; None for dropped ones."""
    labels, classes = _label_codes(pictures.current_labels)
    dropped = np.isin(pictures.verdicts, (active_learning.OFF_TOPIC, active_learning.EXCLUDED))
    errors = label_errors.score_label_errors(pooled, bottleneck, np.where(dropped, -1, labels), groups)
    return {
        "label_suspect": [None if np.isnan(value) else value for value in errors.score.tolist()],
        "suggested_label": [
            None if index < 0 or is_dropped else classes[index]
            for index, is_dropped in zip(errors.suggested.tolist(), dropped.tolist(), strict=True)
        ],
    }


def _split_names(
    workspace: Workspace, pictures: _EmbeddedPictures, groups: Sequence[int | None], verdicts: dict[str, Line]
) -> list[str | None]:
    """Return the part of each picture in the first split; None for all when the pictures cannot be split yet."""
    near = {id: group for id, group in zip(pictures.ids, groups, strict=True) if group is not None}
    try:
        data = dataset.read(workspace, repeats=1, near_duplicates=near, verdicts=verdicts, only_ids=set(pictures.ids))
    except InputError:
        return [None] * len(pictures.ids)
    part = dict(zip(data.ids, data.splits[0].tolist(), strict=True))
    return [part.get(id) or None for id in pictures.ids]


def _table_by_path(
    rows: pa.Table, pictures: _EmbeddedPictures | None, columns: Columns, verdicts: dict[str, Line]
) -> pa.Table:
    """Build the table, one row per path: the columns of its id, and those of the manifest and the journal."""
    import pyarrow as pa

    row_of = {id: row for row, id in enumerate(pictures.ids)} if pictures else {}
    columns = columns | ({"label": pictures.current_labels} if pictures else {})
    records = []
    files = rows.select(["id", "path", "label", "problem"]).to_pylist()
    for file, broken_rules in zip(files, quality.broken_rules(rows), strict=True):
        row = row_of.get(file["id"]) if file["problem"] is None else None
        record = {"label": file["label"]} if row is None else {name: column[row] for name, column in columns.items()}
        record |= {name: file[name] for name in ("id", "path", "problem")} | {"quality": broken_rules}
        if line := verdicts.get(file["id"]):
            record |= {"verdict": line.verdict, "reason": line.reason}
        records.append(record)
    return pa.Table.from_pylist(records, schema())


def _label_codes(labels: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """Return the index of every label among the sorted classes, int64 (N,), -1 for None; and the classes."""
    classes = sorted({label for label in labels if label is not None})
    index = {label: number for number, label in enumerate(classes)}
    return np.array([-1 if label is None else index[label] for label in labels], dtype=np.int64), classes


def _group_numbers(near: Sequence[int | None]) -> np.ndarray:
    """Number all groups, int64 (N,): pictures without duplicates (None) get a group of their own."""
    first = max((group for group in near if group is not None), default=-1) + 1
    return np.array([first + row if group is None else group for row, group in enumerate(near)], dtype=np.int64)

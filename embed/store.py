"""The Lance table of one kind of vectors: append and read. Vectors computed in another way are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common import tables
from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.common.tables import open_table, wrap_read_errors, wrap_write_errors
from winnow.embed.augment import AUGMENTATIONS

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

    from winnow.embed.backbone import Backbone

# Metadata that must be equal for vectors to share a table; the rest is only recorded.
IDENTITY = ("weights", "alpha", "layer", "pool", "size", "scale", "resize", "precision")


class Store:
    """The vectors of one backbone: `folder/KEY.lance`, one row per image and augmentation, in atomic commits.

    Columns: `id` (sha256, hex), `view` (number of the augmentation, see `embed.augment`; the column keeps the name that
    version 0.1.0 gave it), `vector` (float16, flattened), `bottleneck` (float16).

    Parameters: `backend`, the engine, and `versions`, its package and version, recorded in the metadata of a new table.
    """

    def __init__(self, folder: Path, backbone: Backbone, backend: str = "", versions: str = "") -> None:
        self.path = folder / f"{backbone.key}.lance"
        self.shape = backbone.dimension
        self._bottleneck = backbone.bottleneck
        self._metadata = table_metadata(backbone) | {"backend": backend, "versions": versions}

    def ids(self, augmentation: int = 0) -> set[str]:
        """Return the ids of the images that have a vector of this augmentation."""
        self._open()
        return read_ids(self.path, augmentation)

    def append(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        bottlenecks: np.ndarray,
        augmentations: int | Sequence[int] = 0,
    ) -> None:
        """Commit rows, all or none of them.

        Parameters: `ids`, (n,); `vectors`, float (n, D) or (n, H, W, D); `bottlenecks`, float (n, bottleneck);
        `augmentations`, one number for all rows, or (n,).
        Raises: InputError if the table was computed in another way, see `IDENTITY`, or the disk is full.
        """
        import lance
        import pyarrow as pa

        exists = self._open() is not None
        numbers = pa.array(np.broadcast_to(np.asarray(augmentations, dtype=np.int32), len(ids)))
        columns = [pa.array(ids, pa.string()), numbers, _float16_lists(vectors), _float16_lists(bottlenecks)]
        with wrap_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = pa.table(columns, schema=self._schema())
            lance.write_dataset(rows, self.path, mode="append" if exists else "create")

    def read(self, ids: Sequence[str], column: str = "vector", augmentation: int = 0) -> np.ndarray:
        """Read float32 (len(ids), D), rows in the order of `ids`; maps are flattened to (len(ids), H*W*D).

        Parameters: `column`, "vector" or "bottleneck". Raises: InputError with the number of ids that have no vector.
        """
        if self._open() is None and not ids:  # `_open` also refuses vectors computed in another way
            return np.empty((0, int(np.prod(self.shape)) if column == "vector" else self._bottleneck), dtype=np.float32)
        return read_vectors(self.path, ids, column, augmentation)

    def discard_outdated_augmentations(self) -> int:
        """Delete augmentations that were computed with other steps than today's `AUGMENTATIONS`; returns how many."""
        import lance

        table = self._open()
        if table is None:
            return 0
        with wrap_read_errors(self.path), wrap_write_errors(self.path):
            stored = _stored_metadata(table)
            outdated = 0 if stored.get("views") == AUGMENTATIONS else table.count_rows(filter="view > 0")
            if outdated:
                table.delete("view > 0")
            if stored.get("views") != AUGMENTATIONS:
                updated = json.dumps(stored | {"views": AUGMENTATIONS})
                lance.dataset(self.path).update_schema_metadata({"winnow": updated})
        return outdated

    def engine_version(self) -> str:
        """Return the engine and version that computed the first vectors of the table."""
        table = self._open()
        return (self._metadata if table is None else _stored_metadata(table))["versions"]

    def compact(self) -> None:
        """Merge the small commits of a long run into few files, and drop versions that were replaced long enough ago.

        Long enough is `winnow.common.tables.RETENTION`.
        """
        table = self._open()
        if table is not None:
            with wrap_read_errors(self.path), wrap_write_errors(self.path):
                if len(table.get_fragments()) > 1:
                    # Copies pages as they are, without decoding them into memory.
                    table.optimize.compact_files(compaction_mode="try_binary_copy")
                table.cleanup_old_versions(older_than=tables.RETENTION)

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        lists = {"vector": int(np.prod(self.shape)), "bottleneck": self._bottleneck}
        fields = [pa.field("id", pa.string()), pa.field("view", pa.int32())]
        fields += [pa.field(name, pa.list_(pa.float16(), width)) for name, width in lists.items()]
        return pa.schema(fields, {"winnow": json.dumps(self._metadata)})

    def _open(self) -> lance.LanceDataset | None:
        """Open the table, or None. Raises: InputError if it holds vectors computed in another way."""
        table = open_table(self.path)
        if table is None:
            return None
        with wrap_read_errors(self.path):
            stored = _stored_metadata(table)
        expected = self._metadata
        for name in IDENTITY:
            if stored.get(name) != expected[name]:
                raise InputError(
                    f"{self.path} was computed with {name} {stored.get(name)!r}, not {expected[name]!r}: "
                    "move it away and it is rebuilt"
                )
        if expected["precision"] == "int8" and stored.get("backbone_sha256") != expected["backbone_sha256"]:
            raise InputError(
                f"{self.path} was computed by another int8 network, calibrated on other pictures: move it away and it "
                "is rebuilt"
            )
        return table


def read_ids(path: Path, augmentation: int = 0) -> set[str]:
    """Return the ids that have a vector of this augmentation in the table at a path, however it was computed."""
    table = open_table(path)
    if table is None:
        return set()
    with wrap_read_errors(path):
        return set(table.to_table(columns=["id"], filter=f"view = {augmentation}")["id"].to_pylist())


def read_vectors(path: Path, ids: Sequence[str], column: str = "vector", augmentation: int = 0) -> np.ndarray:
    """Read float32 (len(ids), D) from the table at a path, however it was computed, rows in the order of `ids`.

    Parameters: `column`, "vector" (maps are flattened) or "bottleneck". Raises: InputError as `Store.read`.
    """
    table = open_table(path)
    missing: dict[str, list[int]] = {}  # id -> its rows in the result
    for row, id in enumerate(ids):
        missing.setdefault(id, []).append(row)
    result = np.empty((len(ids), 0), dtype=np.float32)
    with wrap_read_errors(path):
        if table is not None:
            width = table.schema.field(column).type.list_size
            result = np.empty((len(ids), width), dtype=np.float32)
            for batch in table.to_batches(columns=["id", column], filter=f"view = {augmentation}"):
                values = batch[column].flatten().to_numpy().reshape(batch.num_rows, width)
                for position, id in enumerate(batch["id"].to_pylist()):
                    for row in missing.pop(id, ()):
                        result[row] = values[position]
    if missing:
        raise InputError(f"{len(missing)} of {len(ids)} pictures have no vector in {path}", remedy="embed")
    return result


def table_metadata(backbone: Backbone) -> dict[str, Any]:
    """Describe how the vectors of a backbone are computed, as a JSON object for the metadata of their table."""
    return asdict(backbone.recipe) | {
        "weights": backbone.weights.digest,
        "weights_name": backbone.recipe.weights,
        "recipe": str(backbone.recipe),
        "shape": list(backbone.dimension),
        "parity": backbone.parity,
        "backbone_sha256": file_digest(backbone.file),
        "views": AUGMENTATIONS,
    }


def _stored_metadata(table: lance.LanceDataset) -> dict[str, Any]:
    return json.loads((table.schema.metadata or {}).get(b"winnow", b"{}"))


def _float16_lists(values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    flat = np.ascontiguousarray(values, dtype=np.float16).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])

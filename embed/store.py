"""The Lance table of one kind of vectors: append and read. Vectors made another way are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common import tables
from winnow.common.errors import InputError
from winnow.common.tables import disk_errors, open_table, read_errors
from winnow.embed.augment import VIEWS

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

    from winnow.embed.backbone import Backbone

# What must agree for vectors to share a table; the rest of the metadata is only recorded.
IDENTITY = ("weights", "alpha", "layer", "pool", "size", "scale", "resize", "precision")


class Store:
    """Vectors of one backbone and recipe: `folder/KEY.lance`, a row for each (id, view), written in atomic commits.

    Columns: `id` (sha256, hex), `view` (0 is the plain picture), `vector` (float16, flattened), `bottleneck` (float16).
    """

    def __init__(self, folder: Path, backbone: Backbone, backend: str = "", versions: str = "") -> None:
        self.path = folder / f"{backbone.key}.lance"
        self.shape = backbone.dimension
        self._bottleneck = backbone.bottleneck
        self._metadata = metadata(backbone) | {"backend": backend, "versions": versions}

    def ids(self, view: int = 0) -> set[str]:
        """Ids that have a vector of this view."""
        self._open()
        return read_ids(self.path, view)

    def append(
        self, ids: Sequence[str], vectors: np.ndarray, bottlenecks: np.ndarray, views: int | Sequence[int] = 0
    ) -> None:
        """Commit rows: (n,) ids, float (n, D) or (n, H, W, D) vectors, float (n, bottleneck). All or none are kept.

        Parameters: `views`, of all, or (n,). Raises: InputError when the table's metadata say that it was made another
        way, or the disk is full.
        """
        import lance
        import pyarrow as pa

        exists = self._open() is not None
        looks = pa.array(np.broadcast_to(np.asarray(views, dtype=np.int32), len(ids)))
        columns = [pa.array(ids, pa.string()), looks, _float16_lists(vectors), _float16_lists(bottlenecks)]
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = pa.table(columns, schema=self._schema())
            lance.write_dataset(rows, self.path, mode="append" if exists else "create")

    def read(self, ids: Sequence[str], column: str = "vector", view: int = 0) -> np.ndarray:
        """Float32 ndarray of shape (len(ids), D), rows in the order of `ids`; a map is flattened, (len(ids), H*W*D).

        Parameters: `column`, "vector" or "bottleneck". Raises: InputError naming how many ids have no vector.
        """
        if self._open() is None and not ids:  # (`_open` also refuses vectors that were made another way)
            return np.empty((0, int(np.prod(self.shape)) if column == "vector" else self._bottleneck), dtype=np.float32)
        return read_vectors(self.path, ids, column, view)

    def renew_views(self) -> int:
        """Take out augmented views that were made another way than `embed.views.VIEWS` says; how many there were."""
        import lance

        table = self._open()
        if table is None:
            return 0
        with read_errors(self.path), disk_errors(self.path):
            made = json.loads(table.schema.metadata[b"winnow"])
            old = 0 if made.get("views") == VIEWS else table.count_rows(filter="view > 0")
            if old:
                table.delete("view > 0")
            if made.get("views") != VIEWS:
                lance.dataset(self.path).update_schema_metadata({"winnow": json.dumps(made | {"views": VIEWS})})
        return old

    def made_by(self) -> str:
        """The engine and its version that made the first vectors of the table."""
        table = self._open()
        made = self._metadata if table is None else json.loads(table.schema.metadata[b"winnow"])
        return made["versions"]

    def compact(self) -> None:
        """Join the small commits of a long run into few files, and drop the versions that were replaced `KEPT` ago."""
        table = self._open()
        if table is not None:
            with read_errors(self.path), disk_errors(self.path):
                if len(table.get_fragments()) > 1:
                    table.optimize.compact_files(compaction_mode="try_binary_copy")  # pages as they are: no memory
                table.cleanup_old_versions(older_than=tables.KEPT)

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        lists = {"vector": int(np.prod(self.shape)), "bottleneck": self._bottleneck}
        fields = [pa.field("id", pa.string()), pa.field("view", pa.int32())]
        fields += [pa.field(name, pa.list_(pa.float16(), width)) for name, width in lists.items()]
        return pa.schema(fields, {"winnow": json.dumps(self._metadata)})

    def _open(self) -> lance.LanceDataset | None:
        table = open_table(self.path)
        if table is not None:
            with read_errors(self.path):
                made = json.loads((table.schema.metadata or {}).get(b"winnow", b"{}"))
            for name in IDENTITY:
                if made.get(name) != self._metadata[name]:
                    raise InputError(
                        f"{self.path} was made with {name} {made.get(name)!r}, not {self._metadata[name]!r}: "
                        "move it away, it is made anew"
                    )
            ours = self._metadata
            if ours["precision"] == "int8" and made.get("backbone_sha256") != ours["backbone_sha256"]:
                raise InputError(
                    f"{self.path} was made by another int8 network, calibrated on other pictures: move it away, it is "
                    "made anew"
                )
        return table


def read_ids(path: Path, view: int = 0) -> set[str]:
    """Ids that have a vector of this view in the table at a path, however it was made."""
    table = open_table(path)
    if table is None:
        return set()
    with read_errors(path):
        return set(table.to_table(columns=["id"], filter=f"view = {view}")["id"].to_pylist())


def read_vectors(path: Path, ids: Sequence[str], column: str = "vector", view: int = 0) -> np.ndarray:
    """Vectors of a table at a path, however they were made: float32 (len(ids), D), rows in the order of `ids`.

    Parameters: `column`, "vector" (a map is flattened) or "bottleneck". Raises: InputError as `Store.read`.
    """
    table = open_table(path)
    rows: dict[str, list[int]] = {}
    for row, id in enumerate(ids):
        rows.setdefault(id, []).append(row)
    out = np.empty((len(ids), 0), dtype=np.float32)
    with read_errors(path):
        if table is not None:
            width = table.schema.field(column).type.list_size
            out = np.empty((len(ids), width), dtype=np.float32)
            for batch in table.to_batches(columns=["id", column], filter=f"view = {view}"):
                values = batch[column].flatten().to_numpy().reshape(batch.num_rows, width)
                for position, id in enumerate(batch["id"].to_pylist()):
                    for row in rows.pop(id, ()):
                        out[row] = values[position]
    if rows:
        raise InputError(f"{len(rows)} of {len(ids)} pictures have no vector in {path}: run `winnow embed` first")
    return out


def metadata(backbone: Backbone) -> dict[str, Any]:
    """What a table says of how its vectors were made."""
    from dataclasses import asdict

    from winnow.common.digests import file_digest

    return asdict(backbone.recipe) | {
        "weights": backbone.weights.digest,
        "weights_name": backbone.recipe.weights,
        "recipe": str(backbone.recipe),
        "shape": list(backbone.dimension),
        "parity": backbone.parity,
        "backbone_sha256": file_digest(backbone.file),
        "views": VIEWS,
    }


def _float16_lists(values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    flat = np.ascontiguousarray(values, dtype=np.float16).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])

"""Vectors as a trained head projects them, stored beside those that they are made of, for `score` and the App.

For these only: the projection was trained with labels, of pictures that another split tests on, so that heads which are
trained or compared on it would look better than they are. It shows how classes lie to each other; noise is found better
without it. On 1,000 flower photographs (700 of them trained on) average precision falls from 0.84 to 0.20 (supcon) and
0.34 (triplet) for off-topic pictures, and from 0.92 to 0.63 for labels of which a tenth was flipped: 0.89 among those
that it was trained on and 0.90 among the others, but the two lie on different scales.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.tables import disk_errors, open_table, read_errors
from winnow.curate.workspace import Workspace
from winnow.deploy import trained_head
from winnow.deploy.onnx.head import PROJECTION
from winnow.deploy.trained_head import Trained
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store, read_ids

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

NOTE = "it learned from labels, wrong ones too, and knows nothing but classes: noise is found better without it"


@dataclass(frozen=True)
class Projection:
    """What a run of `train --head triplet` or `supcon` learned: the head, and the vectors that it takes."""

    run: Trained
    choice: EmbeddingConfig

    @classmethod
    def read(cls, workspace: Workspace, vectors: EmbeddingConfig) -> Projection:
        """That of the run `vectors.projection`, a folder or the name of one in the workspace.

        Raises: InputError when it is no run, its head has no projection, or other vectors were asked for than its own.
        """
        asked = vectors.projection or Path()
        folder = asked if asked.is_dir() else workspace.runs / asked.name
        if not (folder / "run.json").is_file():
            raise InputError(
                f"{folder}, by whose projection to rank, is no run: name another with `winnow score --projection`, or "
                "leave that out to rank without"
            )
        run = trained_head.read(folder.resolve())
        if PROJECTION not in [output.name for output in run.head.graph.output]:
            raise InputError(
                f"{folder.name}: a head of kind {run.kind} has no projection: `winnow train --head supcon`"
            )
        own = EmbeddingConfig.of(run.run["embedding"])
        if vectors.recipe not in (Recipe(), own.recipe) or vectors.backbone not in (None, own.backbone):
            raise InputError(
                f"{folder.name} projects the vectors that it was trained on: leave out what asks for others"
            )
        how = replace(own, backend=vectors.backend, workers=vectors.workers, batch=vectors.batch, ask=vectors.ask)
        return cls(run, replace(how, projection=run.folder))

    def project(self, workspace: Workspace, base: Store, on_message: Any) -> dict[str, Any]:
        """Add what is missing of the vectors of `base` to the table of their projections, `embeddings/KEY.lance`.

        KEY is a digest of the key of `base` and of the head's file. Its rows are those of a table of vectors: `vector`
        is the projection, float16 (dim,), `bottleneck` as in `base`, only for plain pictures (view 0).
        Returns: key, store (the path), dimension, projected (how many now), projection (the run's name), as `score
        --json` prints them. Raises: InputError when `base` is not what the head was trained on; disk.
        """
        if base.path.stem != self.run.run["vectors"]:
            raise InputError(
                f"the weights that the vectors of {self.run.folder.name} were made with are gone: train again"
            )
        head = hashlib.sha256((self.run.folder / "head.onnx").read_bytes()).hexdigest()
        path = workspace.embeddings / f"{digest([base.path.stem, head])[:12]}.lance"
        table = open_table(base.path)
        if table is None:
            raise InputError(f"there are no vectors in {base.path}: run `winnow embed` first")
        on_message(f"Ranked by the projection of {self.run.folder.name}; {NOTE}")
        with workspace.lock(on_message):
            count = self._append(table, path, head)
        said = {"key": path.stem, "store": str(path), "dimension": self.dimension}
        return said | {"projected": count, "projection": self.run.folder.name}

    @property
    def dimension(self) -> int:
        """Numbers of a projection."""
        (output,) = (output for output in self.run.head.graph.output if output.name == PROJECTION)
        return output.type.tensor_type.shape.dim[1].dim_value

    def _append(self, base: lance.LanceDataset, path: Path, head: str) -> int:
        """One commit of the rows that the table at a path lacks; how many."""
        import lance
        import pyarrow as pa

        here = read_ids(path)
        with read_errors(path):
            missing = set(base.to_table(columns=["id"], filter="view = 0")["id"].to_pylist()) - here
        if missing:
            schema = self._schema(base, head)
            rows = pa.RecordBatchReader.from_batches(schema, self._rows(base, missing, schema))
            with disk_errors(path):
                lance.write_dataset(rows, path, mode="append" if here else "create")
        return len(missing)

    def _schema(self, base: lance.LanceDataset, head: str) -> pa.Schema:
        import pyarrow as pa

        made = json.loads(base.schema.metadata[b"winnow"])
        of = {"base": Path(base.uri).stem, "run": self.run.folder.name, PROJECTION: head, "shape": [self.dimension]}
        of["recipe"] = f"{made['recipe']}|{self.run.kind}({self.dimension}) of {self.run.folder.name}"
        fields = [pa.field("id", pa.string()), pa.field("view", pa.int32())]
        fields += [pa.field("vector", pa.list_(pa.float16(), self.dimension)), base.schema.field("bottleneck")]
        return pa.schema(fields, {"winnow": json.dumps(made | of)})

    def _rows(self, base: lance.LanceDataset, missing: set[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import onnxruntime
        import pyarrow as pa
        from onnx.utils import Extractor

        graph = Extractor(self.run.head).extract_model(["embedding"], [PROJECTION])
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        width = base.schema.field("vector").type.list_size
        for batch in base.to_batches(columns=["id", "vector", "bottleneck"], filter="view = 0"):
            batch = batch.filter(pa.array([id in missing for id in batch["id"].to_pylist()], pa.bool_()))
            vectors = batch["vector"].flatten().to_numpy().reshape(batch.num_rows, width).astype(np.float32)
            (projected,) = session.run([PROJECTION], {"embedding": vectors})
            flat = pa.array(projected.astype(np.float16).ravel())
            columns = [batch["id"], pa.array(np.zeros(batch.num_rows, np.int32))]
            columns += [pa.FixedSizeListArray.from_arrays(flat, self.dimension), batch["bottleneck"]]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

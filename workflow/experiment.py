"""What heads are trained and compared on: a scanned, embedded and divided dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate import dataset as datasets
from winnow.curate.dataset import Dataset
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.manifest import ScanResult
from winnow.curate.noise import score_table
from winnow.curate.splits import SPLITS
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.workflow.features import read_rows
from winnow.workflow.scoring import embed_timed, score_embedded

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.heads.evaluation.cleaning_effect import CleaningEffect
    from winnow.heads.evaluation.fit import Split
    from winnow.heads.evaluation.learning_curve import LearningCurve
    from winnow.heads.evaluation.search import SearchResult


@dataclass(frozen=True)
class Experiment:
    """Everything that heads are trained on: the dataset, its vectors, and how they were made.

    rows: (R, D) float, R >= N: those of the plain view of all pictures first, then those of the mirror images, and so
    on. looks: int64 (N, V), the rows that each picture is judged by.
    """

    workspace: Workspace
    data: Dataset
    rows: np.ndarray
    looks: np.ndarray
    made: dict[str, Any]  # what `embed` returned
    embedding: dict[str, Any]  # the choice of vectors, as `Vectors.document` says it
    scan: ScanResult
    notes: list[str]  # what the person should know of the data
    seed: int
    seconds: dict[str, float]  # of each stage so far
    store: Store  # the table that X is from
    near: dict[str, int]  # id -> its group of near-duplicates
    scores: pa.Table  # what `curate.ranking.score` returned, now or the last time; empty before that
    as_found: bool  # without the verdicts
    cleaning: CleaningEffect | None = None
    learning_curve: LearningCurve | None = None
    search: SearchResult | None = None

    @property
    def X(self) -> np.ndarray:
        """The vectors of the plain view, (N, D)."""
        return self.rows[: len(self.data.ids)]

    @property
    def splits(self) -> list[Split]:
        """The divisions as index arrays of pictures."""
        from winnow.heads.evaluation.fit import Split

        rows = ({name: np.flatnonzero(part == name) for name in SPLITS} for part in self.data.splits)
        return [Split(**parts, groups=self.data.groups) for parts in rows]


@dataclass(frozen=True)
class Division:
    """How the dataset is read and divided: the seed of the first split, what stays together, verdicts or none."""

    seed: int = 0
    group_by: str | None = None
    as_found: bool = False


def prepare(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    division: Division,
    repeats: int,
    scored: bool = False,
) -> Experiment:
    """Scan, embed, perhaps score, and divide: what every run begins with. Raises: InputError."""
    seconds: dict[str, float] = {}
    embedded, scores = None, None
    if scored:
        scores, embedded = score_embedded(workspace, vectors, reporter, seconds, division.as_found)
    if embedded is None or vectors.recipe.pool != "avg":
        embedded = embed_timed(workspace, vectors, reporter, seconds)
    found, store, made = embedded
    near = score_table.near_groups(workspace, store.path)
    data = _dataset(workspace, store, division, repeats, near, reporter)
    notes = [*found.warnings, *data.warnings]
    if failed := made["failed_files"]:
        notes.append(f"left out, {len(failed)} pictures that could not be embedded, as {failed[0]['path']}")
    for note in notes:
        reporter.message(f"note: {note}")
    own, looks = read_rows(store, data.ids, vectors)
    return Experiment(
        workspace=workspace,
        data=data,
        rows=own,
        looks=looks,
        made=made,
        embedding=vectors.to_json(),
        scan=found,
        notes=notes,
        seed=division.seed,
        seconds=seconds,
        store=store,
        near=near,
        scores=score_table.read(workspace) if scores is None else scores,
        as_found=division.as_found,
    )


def _dataset(
    workspace: Workspace, store: Store, division: Division, repeats: int, near: dict[str, int], reporter: Reporter
) -> Dataset:
    journal = Journal(workspace.folder, on_message=reporter.message)
    return datasets.read(
        workspace,
        repeats=repeats,
        seed=division.seed,
        group_by=division.group_by,
        only_ids=store.ids(),
        near_duplicates=near,
        verdicts=None if division.as_found else current_verdicts(journal.lines()),
    )


def dataset_as_found(experiment: Experiment, division: Division, repeats: int, reporter: Reporter) -> Dataset:
    """The dataset without the verdicts, divided as that of the experiment. Raises: InputError."""
    try:
        return _dataset(
            experiment.workspace, experiment.store, replace(division, as_found=True), repeats, experiment.near, reporter
        )
    except InputError as error:
        raise InputError(f"there is nothing to compare with, leave out --cleaning: as found, {error}") from None

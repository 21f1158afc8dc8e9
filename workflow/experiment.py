"""What heads are trained and compared on: a scanned, embedded and divided dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate import dataset as datasets
from winnow.curate.dataset import Dataset
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.noise import score_table
from winnow.curate.splits import SPLITS
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.embedding import EmbeddedFolder, embed_scanned
from winnow.workflow.features import Features, read_features
from winnow.workflow.scoring import embed_and_score, embed_timed
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.heads.evaluation.fit import Split


@dataclass(frozen=True)
class DatasetOptions:
    """How the dataset is read and divided.

    seed: random seed of the first split. group_by: rule that keeps pictures on one side of a split, see
    `curate.dataset.read`. as_found: without the verdicts. repeats: number of splits.
    """

    seed: int = 0
    group_by: str | None = None
    as_found: bool = False
    repeats: int = 1


ONE_SPLIT, FIVE_SPLITS, TEN_SPLITS = (DatasetOptions(repeats=count) for count in (1, 5, 10))


@dataclass(frozen=True)
class Experiment:
    """A dataset with its features and splits. N images.

    folder: the manifest and the table of vectors. near_duplicates: id -> group of near-duplicates. scores: rows of
    `scores.lance`, just computed or those of the last scoring; empty before the first. notes: warnings about the data.
    """

    workspace: Workspace
    folder: EmbeddedFolder
    dataset: Dataset
    features: Features
    near_duplicates: dict[str, int]
    scores: pa.Table
    options: DatasetOptions
    notes: list[str]

    @property
    def X(self) -> np.ndarray:
        """The features of the images themselves, without augmentations: (N, D)."""
        return self.features.rows[: len(self.dataset.ids)]

    @property
    def splits(self) -> list[Split]:
        """The repeated splits as index arrays of images."""
        from winnow.heads.evaluation.fit import Split

        indexes = ({name: np.flatnonzero(part == name) for name in SPLITS} for part in self.dataset.splits)
        return [Split(**parts, groups=self.dataset.groups) for parts in indexes]


def prepare(
    workspace: Workspace,
    config: EmbeddingConfig,
    reporter: Reporter,
    options: DatasetOptions,
    timer: StageTimer | None = None,
    scored: bool = False,
) -> Experiment:
    """Scan, embed, score (if `scored`), and divide: what every run begins with. Raises: InputError."""
    timer = timer or StageTimer()
    folder, scores = None, None
    if scored:
        scores, folder = embed_and_score(workspace, config, reporter, timer, options.as_found)
    if folder is None or folder.config != config:
        folder = embed_timed(workspace, config, reporter, timer)
    near_duplicates = score_table.near_groups(workspace, folder.store.path)
    dataset = _read_dataset(workspace, folder, options, near_duplicates, reporter)
    notes = [*folder.scan.warnings, *dataset.warnings]
    if failed := folder.embedding.failed_files:
        noun = "picture" if len(failed) == 1 else "pictures"
        notes.append(f"without {len(failed)} {noun} that could not be embedded, as {failed[0].path}")
    for note in notes:
        reporter.message(f"note: {note}")
    return Experiment(
        workspace=workspace,
        folder=folder,
        dataset=dataset,
        features=read_features(folder.store, dataset.ids, config),
        near_duplicates=near_duplicates,
        scores=score_table.read(workspace) if scores is None else scores,
        options=options,
        notes=notes,
    )


def with_maps(experiment: Experiment, config: EmbeddingConfig, reporter: Reporter, timer: StageTimer) -> Experiment:
    """The same dataset with intermediate feature maps, which are embedded where they are missing."""
    workspace = experiment.workspace
    folder = embed_scanned(workspace, experiment.folder.scan, config, reporter, "Embedding maps")
    timer.add("embed", folder.embedding.total_seconds)
    features = read_features(folder.store, experiment.dataset.ids, config)
    result = replace(folder.embedding, scan_seconds=experiment.folder.embedding.scan_seconds)
    return replace(experiment, folder=replace(folder, embedding=result), features=features)


def dataset_as_found(experiment: Experiment, reporter: Reporter) -> Dataset:
    """The dataset of an experiment without the verdicts, divided in the same way.

    Raises: InputError when it cannot be divided.
    """
    options = replace(experiment.options, as_found=True)
    try:
        return _read_dataset(experiment.workspace, experiment.folder, options, experiment.near_duplicates, reporter)
    except InputError as error:
        raise InputError(f"there is nothing to compare with: as found, {error}", remedy="cleaning") from None


def _read_dataset(
    workspace: Workspace,
    folder: EmbeddedFolder,
    options: DatasetOptions,
    near_duplicates: dict[str, int],
    reporter: Reporter,
) -> Dataset:
    journal = Journal(workspace.folder, on_message=reporter.message)
    return datasets.read(
        workspace,
        repeats=options.repeats,
        seed=options.seed,
        group_by=options.group_by,
        only_ids=folder.store.ids(),
        near_duplicates=near_duplicates,
        verdicts=None if options.as_found else current_verdicts(journal.lines()),
    )

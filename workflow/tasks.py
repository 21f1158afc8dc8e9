"""The tasks that heads are fitted to: stored vectors, or the feature maps that fine-tuning starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.embed.augment import AUGMENTATIONS
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.workflow.experiment import Experiment, with_maps
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    from winnow.heads.evaluation.fit import Grid, HeadSpec, Split, Task

FINETUNE_AUGMENT = 8  # rows per image for fine-tuning, unless the configuration has another number
NETWORK = ("alpha", "weights", "size")  # fields of the recipe that are parameters of a fine-tuned head, too


def as_task(experiment: Experiment, splits: list[Split] | None = None) -> tuple[Task, list[Split]]:
    """The task of an experiment, and splits of its images (None: its own) as splits of the task's rows.

    Heads learn from every augmentation of the training images, the rows of one image are in one group, and images are
    evaluated on the rows that test-time augmentation asks for.
    """
    from winnow.heads.evaluation.fit import Task

    dataset, features, config = experiment.dataset, experiment.features, experiment.folder.config
    count, per_image = len(dataset.ids), config.rows_per_image
    image_of_row = np.tile(np.arange(count), len(features.rows) // count)
    row_splits = []
    for split in experiment.splits if splits is None else splits:
        augmented = (split.train + count * np.arange(1, per_image)[:, None]).ravel() if per_image > 1 else None
        parts = {}
        if config.tta != "none":
            parts = {part: features.evaluated[getattr(split, part)] for part in ("val", "test")}
        row_splits.append(replace(split, groups=split.groups[image_of_row], augmented=augmented, **parts))
    augmentation = [config.tta, per_image, AUGMENTATIONS] if per_image > 1 else []
    key = digest([experiment.folder.embedding.key, dataset.ids, *augmentation])
    return Task(features.rows, dataset.y[image_of_row], dataset.classes, key), row_splits


def vector_config(grid: Grid, config: EmbeddingConfig) -> EmbeddingConfig:
    """The configuration of the vectors for the heads of a grid that learn from vectors.

    Fine-tuned heads learn from feature maps, which have augmentations of their own: with no other heads in the grid,
    the vectors need none.
    Raises: InputError when there are no weights to fine-tune, or for options that fine-tuning would ignore.
    """
    fine_tuned = [head for head in grid.heads if head.kind == "finetune"]
    if fine_tuned and config.backbone:
        raise InputError(
            "fine-tuning starts from Keras' own weights, not from an exported backbone", remedy="finetune-weights"
        )
    for name in NETWORK:
        if any(name in head.params for head in fine_tuned):
            raise InputError(
                f"fine-tuning takes {name} from the network that it starts from", remedy="network", name=name
            )
    if len(fine_tuned) < len(grid.heads):
        return config
    if config.recipe.layer != Recipe.layer:
        raise InputError("fine-tuning starts from the layer below the last blocks that it trains", remedy="unfreeze")
    if config.recipe.pool != Recipe.pool:
        raise InputError("fine-tuning learns from feature maps as it is, without this option", remedy="finetune-pool")
    return replace(config, augment=1, tta="none")


def experiments_by_head(
    experiment: Experiment,
    grid: Grid,
    config: EmbeddingConfig,
    reporter: Reporter,
    timer: StageTimer | None = None,
) -> tuple[Grid, dict[str, Experiment]]:
    """Map each head to the experiment with its features: fine-tuned heads use feature maps, computed on demand.

    The grid is returned with the options of the network among the parameters of its fine-tuned heads.
    Raises: InputError when there is no room.
    """
    heads, experiments, by_layer = [], dict[str, Experiment](), dict[str, Experiment]()
    network = {name: getattr(config.recipe, name) for name in NETWORK}
    for head in grid.heads:
        experiments[head.name] = experiment
        if head.kind == "finetune":
            layer = _input_layer(head)
            if layer not in by_layer:
                by_layer[layer] = with_maps(experiment, _map_config(config, layer), reporter, timer or StageTimer())
            experiments[head.name], head = by_layer[layer], replace(head, params=head.params | network)
        heads.append(head)
    return replace(grid, heads=heads), experiments


def _map_config(config: EmbeddingConfig, layer: str) -> EmbeddingConfig:
    augment = FINETUNE_AUGMENT if config.augment is None else config.augment
    return replace(config, recipe=replace(config.recipe, layer=layer, pool="none"), augment=augment)


def _input_layer(head: HeadSpec) -> str:
    from winnow.embed.backbone import finetune_input_layer
    from winnow.heads.models.finetune import FineTunedHead

    return finetune_input_layer(head.params.get("unfreeze", FineTunedHead().unfreeze))

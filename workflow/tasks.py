"""What heads are fitted on: the stored vectors of pictures and their views, or the maps that a tail begins with."""

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
from winnow.workflow import features
from winnow.workflow.experiment import Experiment

if TYPE_CHECKING:
    from winnow.heads.evaluation.fit import Grid, HeadSpec, Split, Task

TAIL_VIEWS = 8  # of each picture that a tail learns from, unless --augment says how many
NETWORK = ("alpha", "weights", "size")  # of the recipe, which are parameters of a tail, too


def divided(experiment: Experiment, splits: list[Split] | None = None) -> tuple[Task, list[Split]]:
    """The task of an experiment, and splits of its pictures (None: its own) as splits of the task's rows.

    Every view of the training pictures is learned from, a picture's views are of one group, and pictures are judged by
    the views that were asked for.
    """
    from winnow.heads.evaluation.fit import Task

    data, count = experiment.data, len(experiment.data.ids)
    repeated = np.tile(np.arange(count), len(experiment.rows) // count)
    views, judged = (experiment.embedding[name] for name in ("augment", "tta"))
    made = []
    for split in experiment.splits if splits is None else splits:
        augmented = (split.train + count * np.arange(1, views)[:, None]).ravel() if views > 1 else None
        parts = {} if judged == "none" else {part: experiment.looks[getattr(split, part)] for part in ("val", "test")}
        made.append(replace(split, groups=split.groups[repeated], augmented=augmented, **parts))
    key = digest([experiment.made["key"], data.ids, *([judged, views, AUGMENTATIONS] if views > 1 else [])])
    return Task(experiment.rows, data.y[repeated], data.classes, key), made


def beside_tails(grid: Grid, choice: EmbeddingConfig) -> EmbeddingConfig:
    """How vectors are chosen where there may be tails, whose views are of maps: without others nobody needs more.

    Raises: InputError when there are no weights that a tail could go on from, or for what a tail would not heed.
    """
    tails = [head for head in grid.heads if head.kind == "finetune"]
    if tails and choice.backbone:
        raise InputError("a tail is trained from Keras' own weights: leave out --backbone, or choose other heads")
    for name in NETWORK:
        if any(name in head.params for head in tails):
            raise InputError(f"a tail takes {name} from the network whose maps it gets: type --{name} instead")
    if len(tails) < len(grid.heads):
        return choice
    if choice.recipe.layer != Recipe.layer:
        raise InputError("a tail begins where --unfreeze says: type --unfreeze N, 1 to 16 blocks, instead of --layer")
    if choice.recipe.pool != Recipe.pool:
        raise InputError("a tail learns from maps as it is: leave out --pool none")
    return replace(choice, augment=1, tta="none")


def for_heads(
    experiment: Experiment, grid: Grid, choice: EmbeddingConfig, reporter: Reporter
) -> tuple[Grid, dict[str, Experiment]]:
    """Head name -> the work whose rows it learns from. Tails learn from maps, which are embedded where they lack.

    Returns the grid, too, with the network whose end is trained among the parameters of its tails.
    Raises: InputError when there is no room.
    """
    heads, experiments, of_layer = [], dict[str, Experiment](), dict[str, Experiment]()
    network = {name: getattr(choice.recipe, name) for name in NETWORK}
    for head in grid.heads:
        experiments[head.name] = experiment
        if head.kind == "finetune":
            layer = _layer(head)
            if layer not in of_layer:
                of_layer[layer] = _of_maps(experiment, layer, choice, reporter)
            experiments[head.name], head = of_layer[layer], replace(head, params=head.params | network)
        heads.append(head)
    return replace(grid, heads=heads), experiments


def _layer(head: HeadSpec) -> str:
    from winnow.embed.backbone import finetune_input_layer
    from winnow.heads.models.finetune import FineTunedHead

    return finetune_input_layer(head.params.get("unfreeze", FineTunedHead().unfreeze))


def _of_maps(experiment: Experiment, layer: str, choice: EmbeddingConfig, reporter: Reporter) -> Experiment:
    """The same pictures with the maps of a layer."""
    recipe = replace(choice.recipe, layer=layer, pool="none")
    choice = replace(choice, recipe=recipe, augment=TAIL_VIEWS if choice.augment is None else choice.augment)
    with reporter.progress("Embedding maps") as told:
        store, made = features.embed(experiment.workspace, choice, told, reporter.message)
    experiment.seconds["embed"] = round(experiment.seconds["embed"] + made["total_seconds"], 2)
    found, looks = features.read_rows(store, experiment.data.ids, choice)
    made = {"scan_seconds": experiment.made["scan_seconds"]} | made
    return replace(experiment, rows=found, looks=looks, made=made, embedding=choice.to_json(), store=store)

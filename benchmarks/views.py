"""What augmented views are made of, and how strongly: `python -m benchmarks.views PHOTOGRAPHS`.

Of each recipe as many views of every photograph are made as fine-tuning learns from by itself. The end of the network,
and a logistic head, learn from those of the training pictures and are judged by the plain view of the *validation*
part, over seeded splits: nothing here looks at a test part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.measures import table
from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.common.threads import processors
from winnow.curate.workspace import find_workspace
from winnow.embed import augment
from winnow.embed.backbone import finetune_input_layer, load_backbone
from winnow.embed.backends import create_onnx_session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.pipeline import embed_files
from winnow.embed.recipe import Recipe
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Task
from winnow.heads.evaluation.metrics import paired
from winnow.workflow import features
from winnow.workflow.experiment import Division, Experiment, prepare
from winnow.workflow.tasks import TAIL_VIEWS

LISTENER = reporter("views")
NONE = {"CROP": (1.0, 1.0), "TURN": 0.0, "LIGHT": 0.0, "COLOUR": 0.0}
OWN = {name: getattr(augment, name) for name in NONE}
RECIPES = {
    "no views": None,
    f"as it is: {augment.AUGMENTATIONS.replace('|', ', ')}": OWN,
    "crop and mirror alone": NONE | {"CROP": OWN["CROP"]},
    "all of the area, in other aspects": OWN | {"CROP": (1.0, 1.0)},
    "crops of at least 15%": OWN | {"CROP": (0.15, 1.0)},
    "crops of at least 60%": OWN | {"CROP": (0.6, 1.0)},
    "turn, light and colour stronger": OWN | {"TURN": 20.0, "LIGHT": 0.5, "COLOUR": 0.5},
}
UNFROZEN = 1
HEADS = (  # and the vectors that each learns from
    (
        HeadSpec("fine-tuning of the last block", "finetune", {"unfreeze": UNFROZEN}),
        Recipe(layer=finetune_input_layer(UNFROZEN), pool="none"),
    ),
    (HeadSpec("logistic", "logistic"), Recipe()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    given = parser.parse_args()
    lines = {name: [name] for name in RECIPES}
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(given.photographs, Path(folder) / "views.winnow")
        for head, recipe in HEADS:
            experiment = prepare(workspace, EmbeddingConfig(recipe), LISTENER, Division(), given.splits)
            plain = None
            for name, constants in RECIPES.items():
                f1 = on_val(head, experiment, drawn(experiment, constants) if constants else [])
                plain = f1 if plain is None else plain
                gap = paired(f1, plain, len(experiment.splits[0].train), len(experiment.splits[0].val))
                words = gap.describe_points()
                lines[name] += [f"{f1.mean():.3f}", words if constants else ""]
                print(f"{head.name}: {name}: {f1.mean():.4f} {words}", file=sys.stderr)
    print(f"{machine('onnxruntime', 'pillow', 'scikit-learn', 'keras', 'tensorflow')}\n")
    print(f"Weighted F1 on the validation part, mean of {given.splits} splits, and points to no views, paired.\n")
    print(
        table(
            [f"recipe of {TAIL_VIEWS} views", *(word for head, _ in HEADS for word in (head.name, "points"))],
            lines.values(),
        )
    )


def drawn(experiment: Experiment, constants: dict) -> list[np.ndarray]:
    """(N, D) of the mirror image and of each drawn view."""
    for name, value in constants.items():
        setattr(augment, name, value)
    backbone, files = load_backbone(Path(experiment.made["backbone"])), features.files_of(experiment.workspace)
    pictures = [(id, files[id]) for id in experiment.data.ids]
    made = embed_files(pictures, backbone.recipe, create_onnx_session(backbone), augmentations=range(1, TAIL_VIEWS))
    rows = np.concatenate([batch.vectors.astype(np.float16) for batch in made])
    return list(rows.reshape(len(pictures), TAIL_VIEWS - 1, -1).swapaxes(0, 1))


def on_val(head: HeadSpec, experiment: Experiment, more: list[np.ndarray]) -> np.ndarray:
    """Weighted F1 on the validation part of each split."""
    count, blocks = len(experiment.data.ids), 1 + len(more)
    splits = [
        replace(
            split,
            groups=np.tile(split.groups, blocks),
            more=np.concatenate([split.train + count * k for k in range(1, blocks)]) if more else None,
        )
        for split in experiment.splits
    ]
    X = np.concatenate([experiment.rows, *more]).astype(experiment.rows.dtype)
    task = Task(X, np.tile(experiment.data.y, blocks), experiment.data.classes)
    (fits,) = compare([head], task, splits, FitOptions(jobs=processors()))
    return np.array([fit.metrics["val"]["weighted_f1"] for fit in fits])


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

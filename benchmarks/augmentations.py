"""Compare recipes of random augmentations: `python -m benchmarks.augmentations PHOTOGRAPHS`.

For each recipe every photograph gets as many augmentations as fine-tuning uses by default. Fine-tuning of the last
block, and a logistic head, are trained on those of the training images and evaluated on the *validation* images
themselves, over seeded splits; test parts are never used.
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
from winnow.curate.manifest import files_by_id
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
from winnow.workflow.experiment import DatasetOptions, Experiment, prepare
from winnow.workflow.tasks import FINETUNE_AUGMENT

REPORTER = reporter("augmentations")
NONE = {"CROP": (1.0, 1.0), "ROTATION": 0.0, "LIGHTING": 0.0, "SATURATION": 0.0}
CURRENT = {name: getattr(augment, name) for name in NONE}
RECIPES = {
    "no augmentation": None,
    f"current: {augment.AUGMENTATIONS.replace('|', ', ')}": CURRENT,
    "crop and mirror alone": NONE | {"CROP": CURRENT["CROP"]},
    "crops of the whole area, in other aspect ratios": CURRENT | {"CROP": (1.0, 1.0)},
    "crops of at least 15%": CURRENT | {"CROP": (0.15, 1.0)},
    "crops of at least 60%": CURRENT | {"CROP": (0.6, 1.0)},
    "stronger rotation, lighting and saturation": CURRENT | {"ROTATION": 20.0, "LIGHTING": 0.5, "SATURATION": 0.5},
}
UNFREEZE = 1
HEADS = (  # each with the recipe of the vectors that it is trained on
    (
        HeadSpec("fine-tuning of the last block", "finetune", {"unfreeze": UNFREEZE}),
        Recipe(layer=finetune_input_layer(UNFREEZE), pool="none"),
    ),
    (HeadSpec("logistic", "logistic"), Recipe()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    arguments = parser.parse_args()
    lines = {name: [name] for name in RECIPES}
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(arguments.photographs, Path(folder) / "augmentations.winnow")
        for head, recipe in HEADS:
            experiment = prepare(workspace, EmbeddingConfig(recipe), REPORTER, DatasetOptions(repeats=arguments.splits))
            baseline = None
            for name, constants in RECIPES.items():
                f1 = validation_f1(head, experiment, augmented_vectors(experiment, constants) if constants else [])
                baseline = f1 if baseline is None else baseline
                gap = paired(f1, baseline, len(experiment.splits[0].train), len(experiment.splits[0].val))
                points = gap.describe_points()
                lines[name] += [f"{f1.mean():.3f}", points if constants else ""]
                print(f"{head.name}: {name}: {f1.mean():.4f} {points}", file=sys.stderr)
    print(f"{machine('onnxruntime', 'pillow', 'scikit-learn', 'keras', 'tensorflow')}\n")
    print(f"Weighted F1 on the validation part, mean of {arguments.splits} splits, paired with no augmentation.\n")
    print(
        table(
            [
                f"recipe of {FINETUNE_AUGMENT} rows per image",
                *(title for head, _ in HEADS for title in (head.name, "points")),
            ],
            lines.values(),
        )
    )


def augmented_vectors(experiment: Experiment, constants: dict) -> list[np.ndarray]:
    """Embed the mirror images and the random augmentations of a recipe: one (N, D) array per augmentation."""
    for name, value in constants.items():
        setattr(augment, name, value)
    backbone, paths = load_backbone(Path(experiment.folder.embedding.backbone)), files_by_id(experiment.workspace)
    files = [(id, paths[id]) for id in experiment.dataset.ids]
    batches = embed_files(
        files, backbone.recipe, create_onnx_session(backbone), augmentations=range(1, FINETUNE_AUGMENT)
    )
    rows = np.concatenate([batch.vectors.astype(np.float16) for batch in batches])
    return list(rows.reshape(len(files), FINETUNE_AUGMENT - 1, -1).swapaxes(0, 1))


def validation_f1(head: HeadSpec, experiment: Experiment, augmented: list[np.ndarray]) -> np.ndarray:
    """Weighted F1 on the validation part of each split, trained on the images and their `augmented` vectors."""
    count, blocks = len(experiment.dataset.ids), 1 + len(augmented)
    splits = [
        replace(
            split,
            groups=np.tile(split.groups, blocks),
            augmented=np.concatenate([split.train + count * k for k in range(1, blocks)]) if augmented else None,
        )
        for split in experiment.splits
    ]
    X = np.concatenate([experiment.X, *augmented]).astype(experiment.X.dtype)
    task = Task(X, np.tile(experiment.dataset.y, blocks), experiment.dataset.classes)
    (fits,) = compare([head], task, splits, FitOptions(jobs=processors()))
    return np.array([fit.metrics["val"]["weighted_f1"] for fit in fits])


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

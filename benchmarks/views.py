"""What augmented views are made of, and how strongly: `python -m benchmarks.views PHOTOGRAPHS`.

Of each recipe four views of every photograph are embedded (the plain one, and three drawn ones). A logistic head learns
from all four of the training pictures and is judged by the plain view of the *validation* part, over ten seeded splits:
nothing here looks at a test part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.measures import table
from benchmarks.quiet import listener
from choice import Vectors
from curate.workspace import locate
from embed import views
from embed.backbone import load
from embed.backends import onnx_session
from embed.errors import InputError
from embed.pipeline import embed
from heads.evaluate import metrics, paired
from heads.fit import Head, fit_estimator
from record import Work
from vectors import files_of
from workflow import Division, prepare

SPLITS, DRAWN = 10, (2, 3, 4)
NONE = {"CROP": (1.0, 1.0), "TURN": 0.0, "LIGHT": 0.0, "COLOUR": 0.0}
OWN = {name: getattr(views, name) for name in NONE}
RECIPES = {
    "no views": None,
    "as it is: " + views.VIEWS: OWN,
    "without turning": OWN | {"TURN": 0.0},
    "without light and colour": OWN | {"LIGHT": 0.0, "COLOUR": 0.0},
    "crop and mirror alone": NONE | {"CROP": OWN["CROP"]},
    "crops of at least 15%": OWN | {"CROP": (0.15, 1.0)},
    "crops of at least 60%": OWN | {"CROP": (0.6, 1.0)},
    "turned by up to 20 degrees": OWN | {"TURN": 20.0},
    "light and colour by half": OWN | {"LIGHT": 0.5, "COLOUR": 0.5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    with tempfile.TemporaryDirectory() as folder:
        workspace = locate(parser.parse_args().photographs, Path(folder) / "views.winnow")
        work = prepare(workspace, Vectors(), listener("views"), Division(), SPLITS)
        rows, plain = [], None
        for name, recipe in RECIPES.items():
            f1 = on_val(work, drawn(work, recipe) if recipe else [])
            plain = f1 if plain is None else plain
            gap = paired(f1, plain, len(work.splits[0].train), len(work.splits[0].val))
            words = f"{100 * gap['difference']:+.1f} [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
            rows.append([name, f"{f1.mean():.3f}", words if recipe else ""])
            print(" | ".join(rows[-1]), file=sys.stderr)
    print(f"{machine('onnxruntime', 'pillow', 'scikit-learn')}\n")
    print(table(["recipe of three views", "weighted F1 on val", "points to none"], rows))


def drawn(work: Work, recipe: dict) -> list[np.ndarray]:
    """(N, D) of each drawn view."""
    for name, value in recipe.items():
        setattr(views, name, value)
    backbone = load(Path(work.made["backbone"]))
    files = files_of(work.workspace)
    made = embed([(id, files[id]) for id in work.data.ids], backbone.recipe, onnx_session(backbone), views=DRAWN)
    vectors = np.concatenate([batch.vectors for batch in made]).astype(np.float16).astype(np.float32)
    return list(vectors.reshape(len(work.data.ids), len(DRAWN), -1).swapaxes(0, 1))


def on_val(work: Work, more: list[np.ndarray]) -> np.ndarray:
    """Weighted F1 on the validation part of each split."""
    X, y, count, found = np.concatenate([work.X, *more]), work.data.y, len(work.data.ids), []
    for seed, split in enumerate(work.splits):
        split.more = np.concatenate([split.train + count * (1 + k) for k in range(len(more))]) if more else None
        split.groups = np.tile(split.groups, 1 + len(more))
        head = fit_estimator(Head("logistic", "logistic"), X, np.tile(y, 1 + len(more)), split, seed)
        found.append(metrics(y[split.val], head.predict_proba(X[split.val]))["weighted_f1"])
    return np.array(found)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

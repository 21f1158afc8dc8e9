"""Evaluations of a model built by hand on the hues."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from support.models import write_model
from support.pictures import HUES
from support.reporters import silent_reporter

from winnow.deploy.inference.evaluate import Evaluation, evaluate
from winnow.deploy.inference.model import load


def evaluate_folder(folder: Path, model: Path, rule: str | Path = "folder", **changes: Any) -> Evaluation:
    """Evaluate a model that is written to the file `model`, with `changes` as of `write_model`."""
    return evaluate(load(write_model(model, **changes)), folder, str(rule), silent_reporter(), workers=2)


def mix_up(hues: Path) -> Path:
    """Move five of the twenty pictures of each class into the folder of the next one, and truncate another one."""
    names = sorted(HUES)
    for label, other in zip(names, names[1:] + names[:1], strict=True):
        for number in range(5):
            shutil.move(hues / label / f"{number:02d}.jpg", hues / other / f"{label}{number}.jpg")
    data = (hues / "red" / "10.jpg").read_bytes()
    (hues / "red" / "10.jpg").write_bytes(data[:300])
    return hues

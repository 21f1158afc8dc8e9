"""Readers of run folders."""

from __future__ import annotations

import csv
from pathlib import Path


def read_predictions(run: Path, split: str) -> list[dict[str, str]]:
    """The rows of `predictions.csv` that belong to a split."""
    with (run / "predictions.csv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == split]

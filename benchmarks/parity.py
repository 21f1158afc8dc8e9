"""Compare every head as an exported file with scikit-learn and Keras: `python -m benchmarks.parity PHOTOGRAPHS`.

Each head is trained on one split as `winnow train` does, exported as `winnow export` does, and every test picture is
predicted by the estimator that was trained (decoded, embedded in float32, `predict_proba`) and by the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.curate.workspace import find_workspace
from winnow.deploy.inference.model import load
from winnow.deploy.source import ExportOptions
from winnow.embed.backends import create_single_thread_session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.pipeline import read_square
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Task, fit_head
from winnow.heads.evaluation.head_scores import rank_heads
from winnow.heads.kinds import HEADS
from winnow.workflow.experiment import DatasetOptions, Experiment, prepare
from winnow.workflow.export import export_run
from winnow.workflow.runs import Outcome, write_run
from winnow.workflow.stage_timer import StageTimer

REPORTER = reporter("parity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--heads", default=",".join(kind for kind in HEADS if kind != "finetune"), help="kinds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(arguments.photographs, Path(folder) / "parity.winnow")
        experiment = prepare(workspace, EmbeddingConfig(), REPORTER, DatasetOptions(repeats=1))
        count, tested = len(experiment.dataset.ids), len(experiment.splits[0].test)
        print(f"\n{count:,} pictures, one split, {tested} test pictures\n")
        print("| head | other labels | largest difference of a probability | weighted F1, Python | file | megabytes |")
        print("|---|---|---|---|---|---|")
        for kind in arguments.heads.split(","):
            print(format_row(experiment, kind), flush=True)


def format_row(experiment: Experiment, kind: str) -> str:
    """The table row of one head. Raises: InputError when the file fails a check."""
    head, split = HeadSpec(kind, kind, {}), experiment.splits[0]
    task = Task(experiment.X, experiment.dataset.y, experiment.dataset.classes)
    estimator, fit = fit_head(head, task, split, FitOptions(experiment.options.seed))
    outcome = Outcome(rank_heads([head], [[fit]], experiment.splits), {kind: fit}, estimator)
    run = write_run(experiment, f"train-{kind}", outcome, REPORTER, StageTimer())
    report = export_run(run.folder, None, ExportOptions(), REPORTER)
    labels, proba = predict_with_estimator(experiment, estimator)
    model = load(report.model)
    images, paths = experiment.workspace.images, experiment.dataset.paths
    session, files = model.session(), [images / paths[row] for row in split.test]
    predictions = [session(read_square(file, model.recipe)[None])[:2] for file in files]
    differ = sum(label.item() != expected for (label, _), expected in zip(predictions, labels, strict=True))
    largest = np.abs(np.concatenate([file for _, file in predictions]) - proba).max()
    f1 = report.parity.weighted_f1
    scores = f"{f1.ordinary:.3f} | {f1.file:.3f}"
    return f"| {kind} | {differ} of {len(files)} | {largest:.1e} | {scores} | {report.bytes / 1e6:.1f} |"


def predict_with_estimator(experiment: Experiment, estimator) -> tuple[list[str], np.ndarray]:
    """Label and probabilities (n, C) of the test pictures, by the estimator on their vectors in float32."""
    backbone = create_single_thread_session(Path(experiment.folder.embedding.backbone))
    recipe = experiment.folder.config.recipe
    squares = (
        read_square(experiment.workspace.images / experiment.dataset.paths[row], recipe)
        for row in experiment.splits[0].test
    )
    X = np.concatenate([backbone.run(["embedding"], {"image": square[None]})[0] for square in squares])
    proba = np.zeros((len(X), len(experiment.dataset.classes)))
    proba[:, estimator.classes_] = estimator.predict_proba(X)
    return [experiment.dataset.classes[column] for column in proba.argmax(axis=1)], proba


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

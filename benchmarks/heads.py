"""Training time of the report's seven settings: `python -m benchmarks.heads PHOTOGRAPHS`.

On five seeded splits (70/15/15), three libraries in turn: Winnow, all settings in one batch as in
`winnow compare --grid report`; Keras, seven calls of `model.fit` that restore the best epoch; scikit-learn, seven
fits of MLPClassifier, which uses the last epoch. Weighted F1 is of the test part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import machine
from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.keras_import import import_keras
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task, fit_heads
from winnow.heads.evaluation.grid_file import read_grid
from winnow.heads.evaluation.metrics import metrics
from winnow.workflow.experiment import DatasetOptions, Experiment, prepare

ROUNDS = 5
EPOCHS, BATCH, HIDDEN = 100, 32, 128
REPORTER = reporter("heads")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    heads = read_grid("report").heads
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(parser.parse_args().photographs, Path(folder) / "heads.winnow")
        experiment = prepare(workspace, EmbeddingConfig(), REPORTER, DatasetOptions(repeats=ROUNDS))
        libraries = {"Winnow": winnow, "Keras": plain_keras, "scikit-learn": scikit_learn}
        seconds: dict[str, list[float]] = {name: [] for name in libraries}
        scores: dict[str, list[list[float]]] = {name: [] for name in libraries}
        winnow(heads[:1], experiment, experiment.splits[0], 0)  # imports do not count as fitting time
        for seed, split in enumerate(experiment.splits):
            for name in [*libraries][seed % 3 :] + [*libraries][: seed % 3]:
                start = time.perf_counter()
                probabilities = libraries[name](heads, experiment, split, seed)
                seconds[name].append(time.perf_counter() - start)
                truth = experiment.dataset.y[split.test]
                print(f"split {seed + 1}: {name} {seconds[name][-1]:.1f} s", file=sys.stderr)
                scores[name].append([100 * metrics(truth, proba)["weighted_f1"] for proba in probabilities])
    print(f"| | seconds (median of {ROUNDS}) | Winnow is faster | weighted F1 | {' | '.join(h.name for h in heads)} |")
    print("|---" + "|--:" * (len(heads) + 3) + "|")
    for name in libraries:
        total, f1 = median(seconds[name]), np.mean(scores[name], axis=0)
        ratio = "" if name == "Winnow" else f"{total / median(seconds['Winnow']):.1f} ×"
        print(f"| {name} | {total:.1f} | {ratio} | {f1.mean():.1f} | {' | '.join(f'{value:.1f}' for value in f1)} |")
    split = experiment.splits[0]
    print("\n" + machine("numpy", "keras", "tensorflow", "scikit-learn"))
    print(f"{len(split.train)} pictures to train on, {len(split.val)} for the epoch, {len(split.test)} to test on.")


def winnow(heads: list[HeadSpec], experiment: Experiment, split: Split, seed: int) -> list[np.ndarray]:
    """(n, C) test probabilities of every head."""
    task = Task(experiment.X, experiment.dataset.y, experiment.dataset.classes)
    fits = fit_heads(heads, task, split, FitOptions(seed, validation="val"))
    return [fit.proba["test"] for _, fit in fits]


def plain_keras(heads: list[HeadSpec], experiment: Experiment, split: Split, seed: int) -> list[np.ndarray]:
    """(n, C) test probabilities of every head, with a plain Keras model."""
    keras, _ = import_keras("this benchmark")
    X, y = experiment.X, experiment.dataset.y

    def fit_and_predict(head: HeadSpec) -> np.ndarray:
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(HIDDEN, "relu"), keras.layers.Dense(len(experiment.dataset.classes), "softmax")]
        model = keras.Sequential(layers)
        sgd = keras.optimizers.SGD(head.params["lr"], float(head.params.get("momentum", 0)))
        model.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"])
        best = keras.callbacks.EarlyStopping(patience=EPOCHS, restore_best_weights=True)  # never stops early
        model.fit(
            X[split.train],
            y[split.train],
            BATCH,
            EPOCHS,
            verbose=0,
            callbacks=[best],
            validation_data=(X[split.val], y[split.val]),
        )
        proba: np.ndarray = model.predict(X[split.test], verbose=0)
        return proba

    return [fit_and_predict(head) for head in heads]


def scikit_learn(heads: list[HeadSpec], experiment: Experiment, split: Split, seed: int) -> list[np.ndarray]:
    """(n, C) test probabilities of every head; a fit that diverges raises there, and predicts the first class here."""
    from sklearn.neural_network import MLPClassifier

    X, y = experiment.X, experiment.dataset.y

    def fit_and_predict(head: HeadSpec) -> np.ndarray:
        momentum = float(head.params.get("momentum", 0))
        classifier = MLPClassifier(
            (HIDDEN,),
            solver="sgd",
            alpha=0,
            batch_size=BATCH,
            learning_rate_init=head.params["lr"],
            max_iter=EPOCHS,
            n_iter_no_change=EPOCHS,
            momentum=momentum,
            nesterovs_momentum=False,
            random_state=seed,
        )
        try:
            return np.asarray(classifier.fit(X[split.train], y[split.train]).predict_proba(X[split.test]))
        except ValueError:
            return np.eye(len(experiment.dataset.classes))[np.zeros(len(split.test), np.int64)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [fit_and_predict(head) for head in heads]


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

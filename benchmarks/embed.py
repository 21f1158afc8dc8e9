"""Compare the speed of embedding with other tools: `python -m benchmarks.embed PHOTOGRAPHS [--plot FILE]`.

Every method runs in a process of its own that has loaded its network. Rounds run all methods in turn, and each round
starts with another one. All files are in the disk cache. Times are from the first file to the last vector (for Winnow,
to its last commit to disk). Peers that are not installed are reported as absent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import machine
from benchmarks.measures import table
from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.common.threads import processors
from winnow.curate import manifest
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.backbone import load_backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Task, fit_head
from winnow.heads.evaluation.metrics import paired
from winnow.workflow.experiment import DatasetOptions, prepare
from winnow.workflow.int8 import read_effect

REPORTER = reporter("embed")
PACKAGES = ("onnxruntime", "pillow", "tensorflow", "keras", "fastembed", "openvino")
WINNOW, INT8 = "Winnow", "Winnow, int8"
DECODE, INFER, INFER_INT8 = "decoding alone", "inference alone", "inference alone, int8"
DEFAULT, BEST, KERAS, OPENVINO = "fastembed, default", "fastembed, best setting", "Keras", "OpenVINO, inference alone"
METHODS = {  # name -> (function of `benchmarks.embedding_methods`, its options)
    WINNOW: ("winnow", {}),
    INT8: ("winnow", {"precision": "int8"}),
    DECODE: ("decode", {}),
    INFER: ("inference", {}),
    INFER_INT8: ("inference", {"precision": "int8"}),
    DEFAULT: ("fastembed", {}),
    KERAS: ("keras", {}),
    OPENVINO: ("inference", {"engine": "openvino"}),
}


class MethodProcess:
    """A process of `benchmarks.embedding_methods` that runs one round at a time."""

    def __init__(self, name: str, options: dict, workspace: Workspace) -> None:
        command = [
            *(sys.executable, "-m", "benchmarks.embedding_methods", name),
            *(str(workspace.folder), str(workspace.images), json.dumps(options)),
        ]
        stderr = None if os.environ.get("WINNOW_BENCHMARK_ERRORS") else subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        self.ready = self.process.stdout.readline() == "ready\n"

    def run_round(self) -> float:
        """Run one round and return its seconds."""
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(arguments.photographs, Path(folder) / "embed.winnow")
        manifest.scan(workspace)
        count = len(set(manifest.read(workspace)["id"].to_pylist()))
        quality = describe_int8_quality(workspace)
        best = find_best_fastembed_options(workspace)
        methods = METHODS | ({BEST: ("fastembed", best)} if best else {})
        seconds = run_rounds(workspace, methods, arguments.rounds)
        rates = {name: [count / value for value in values] for name, values in seconds.items()}
        print_rates(rates, count, best)
        print(f"\n{quality}")
        compare_whole_runs(workspace, methods, Path(folder), min(arguments.rounds, 3))
    if arguments.plot:
        draw_rates(rates, arguments.plot)


def run_rounds(workspace: Workspace, methods: dict, count: int) -> dict[str, list[float]]:
    running = {name: MethodProcess(function, options, workspace) for name, (function, options) in methods.items()}
    for name in [name for name, process in running.items() if not process.ready]:
        print(f"{name} is absent: it did not start", file=sys.stderr)
        running.pop(name).close()
    seconds: dict[str, list[float]] = {name: [] for name in running}
    order = [*running]
    for number in range(count):
        first = number * len(order) // count
        for name in order[first:] + order[:first]:
            seconds[name].append(running[name].run_round())
        print(f"round {number + 1} of {count}", file=sys.stderr)
    for process in running.values():
        process.close()
    return seconds


def find_best_fastembed_options(workspace: Workspace) -> dict | None:
    """Find the fastest options of fastembed on all images, each tried once; None if it is absent."""
    trials = []
    for threads, parallel, batch in product((None, 1), (None, processors()), (1, 4, 16, 64)):
        if parallel and threads is None:
            continue  # every worker would use all processors
        options = {"threads": threads, "parallel": parallel, "batch_size": batch}
        process = MethodProcess("fastembed", options | {"trial": True}, workspace)
        if not process.ready:
            return None
        trials.append((process.run_round(), options))
        process.close()
    return min(trials, key=lambda pair: pair[0])[1]


def print_rates(rates: dict[str, list[float]], count: int, best: dict | None) -> None:
    medians = {name: median(values) for name, values in rates.items()}
    bound = 1 / (1 / medians[DECODE] + 1 / medians[INFER])
    int8_bound = 1 / (1 / medians[DECODE] + 1 / medians[INFER_INT8])
    rows = [
        [
            name,
            f"{medians[name]:.0f}",
            " ".join(f"{rate:.0f}" for rate in values),
            f"{medians[WINNOW] / medians[name]:.2f}",
        ]
        for name, values in sorted(rates.items(), key=lambda pair: -medians[pair[0]])
    ]
    rows.append(["bound, 1 / (1 / decoding + 1 / inference)", f"{bound:.0f}", "", f"{medians[WINNOW] / bound:.2f}"])
    rows.append(["the same, int8", f"{int8_bound:.0f}", "", f"{medians[INT8] / int8_bound:.2f} (int8)"])
    print(f"{count:,} images, medians of {len(rates[WINNOW])} rounds. {machine(*PACKAGES)}\n")
    print(table(["method", "images per second", "rounds", "Winnow's speed-up"], rows))
    print(f"\nint8 is {medians[INT8] / medians[WINNOW]:.2f} times as fast as fp32. fastembed's best options: {best}.")


def describe_int8_quality(workspace: Workspace) -> str:
    """Describe the loss by int8 on all images: cosine to fp32, and weighted F1 over ten splits."""
    fp32, int8 = (
        prepare(workspace, EmbeddingConfig(Recipe(precision=precision)), REPORTER, DatasetOptions(repeats=10))
        for precision in ("fp32", "int8")
    )
    a, b = (experiment.folder.store.read(fp32.dataset.ids) for experiment in (fp32, int8))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    parts = []
    for kind in ("lda", "logistic", "svm-rbf"):
        scores = []
        for X in (a, b):
            fits = [
                fit_head(HeadSpec(kind, kind), Task(X, fp32.dataset.y, fp32.dataset.classes), split, FitOptions(seed))
                for seed, split in enumerate(fp32.splits)
            ]
            scores.append(np.array([fit.metrics["test"]["weighted_f1"] for _, fit in fits]))
        split = fp32.splits[0]
        gap = paired(scores[1], scores[0], len(split.train), len(split.test))
        parts.append(f"{kind} {scores[0].mean():.3f} -> {scores[1].mean():.3f} ({gap.describe_points()})")
    measured = read_effect(load_backbone(Path(int8.folder.embedding.backbone), Recipe(precision="int8")))
    return (
        f"int8 on all {len(a):,} images, calibrated on {measured.calibrated_on} of them: cosine to fp32 "
        f"{cosine.mean():.4f} (minimum {cosine.min():.4f}); weighted F1 over {len(fp32.splits)} splits: "
        + "; ".join(parts)
    )


def compare_whole_runs(workspace: Workspace, methods: dict, folder: Path, count: int) -> None:
    """Compare whole processes on a folder that was not scanned before; the networks are already exported."""
    seconds: dict[str, list[float]] = {}
    documents = []
    for number in range(count):
        elapsed, document = run_commands(workspace, folder / f"{number}.winnow", "embed")
        documents.append(document)
        seconds.setdefault("`winnow embed`", []).append(elapsed)
        elapsed, _ = run_commands(workspace, folder / f"{number}-two-steps.winnow", "scan", "embed")
        seconds.setdefault("`winnow scan`, then `winnow embed`", []).append(elapsed)
        for name in (BEST, DEFAULT, KERAS):
            if name in methods:
                start = time.perf_counter()
                process = MethodProcess(*methods[name], workspace)
                if process.ready:
                    process.run_round()
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
                process.close()
    medians = {name: median(values) for name, values in seconds.items()}
    winnow = medians["`winnow embed`"]
    rows = [[name, f"{value:.1f}", f"{value / winnow:.2f}"] for name, value in medians.items()]
    rate, total = (median(document[key] for document in documents) for key in ("images_per_second", "total_seconds"))
    print("\nWhole processes, from a folder that was not scanned before to its vectors (peers write no manifest):\n")
    print(table(["method", "seconds", "relative time"], rows))
    print(f"\n`embed --json` prints total_seconds {total:.1f}, images_per_second {rate:.0f} including the scan.")


def run_commands(workspace: Workspace, folder: Path, *names: str) -> tuple[float, dict]:
    """Run commands one after the other: (seconds, the JSON document of the last one)."""
    start = time.perf_counter()
    for name in names:
        command = [sys.executable, "cli.py", name, str(workspace.images), "--workspace", str(folder), "--json"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return time.perf_counter() - start, json.loads(output)


def draw_rates(rates: dict[str, list[float]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    medians = {name: median(values) for name, values in rates.items()}
    shown = [name for name in (KERAS, DEFAULT, BEST, WINNOW, INT8) if name in medians]
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    colours = ["#2a6f97" if name in (WINNOW, INT8) else "#b0b7bd" for name in shown]
    axes.bar_label(axes.barh(shown, [medians[name] for name in shown], color=colours), fmt="%.0f", padding=3)
    bound = 1 / (1 / medians[DECODE] + 1 / medians[INFER])
    axes.axvline(bound, color="#c1121f", linestyle="--", linewidth=1)
    axes.annotate("decoding and\ninference alone", (bound, 0), (4, -6), textcoords="offset points", fontsize=7)
    axes.set_xlabel(f"images per second, {processors()} processors")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

"""Embedding beside what people use instead: `python -m benchmarks.embed PHOTOGRAPHS [--plot FILE]`.

Every way runs in a process of its own that has loaded its network; the rounds take them by turns, each round beginning
with another. Files lie in the disk cache, for all. The seconds are those from the first file to the last vector
(Winnow's: to its last commit to disk). Peers that are not installed are named as absent.
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
from winnow.workflow.experiment import Division, prepare
from winnow.workflow.int8 import effect

LISTENER = reporter("embed")
PACKAGES = ("onnxruntime", "pillow", "tensorflow", "keras", "fastembed", "openvino")
WINNOW, INT8 = "Winnow", "Winnow, int8"
DECODE, INFER, INFER8 = "decoding alone", "inference alone", "inference alone, int8"
DEFAULT, BEST, KERAS, OPENVINO = "fastembed, default", "fastembed, best setting", "Keras", "OpenVINO, inference alone"
WAYS = {
    WINNOW: ("winnow", {}),
    INT8: ("winnow", {"precision": "int8"}),
    DECODE: ("decode", {}),
    INFER: ("inference", {}),
    INFER8: ("inference", {"precision": "int8"}),
    DEFAULT: ("fastembed", {}),
    KERAS: ("keras", {}),
    OPENVINO: ("inference", {"engine": "openvino"}),
}


class Way:
    """A process of `benchmarks.embedding_methods`, asked for one round after the other."""

    def __init__(self, name: str, how: dict, workspace: Workspace) -> None:
        words = [sys.executable, "-m", "benchmarks.embedding_methods", name]
        words += [workspace.folder, workspace.images, json.dumps(how)]
        quiet = None if os.environ.get("WINNOW_BENCHMARK_ERRORS") else subprocess.DEVNULL
        self.process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True
        )
        self.ready = self.process.stdout.readline() == "ready\n"

    def seconds(self) -> float:
        """Of one more round."""
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """Let it go."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(given.photographs, Path(folder) / "embed.winnow")
        count = len(set(manifest.scan(workspace) and manifest.read(workspace)["id"].to_pylist()))
        quality = int8_quality(workspace)
        best = best_of_fastembed(workspace)
        ways = WAYS | ({BEST: ("fastembed", best)} if best else {})
        rates = {
            name: [count / took for took in times] for name, times in rounds(workspace, ways, given.rounds).items()
        }
        show(rates, count, best)
        print(f"\n{quality}")
        folder_to_vectors(workspace, ways, Path(folder), min(given.rounds, 3))
    if given.plot:
        draw(rates, given.plot)


def rounds(workspace: Workspace, ways: dict, count: int) -> dict[str, list[float]]:
    running = {name: Way(*way, workspace) for name, way in ways.items()}
    for name in [name for name, way in running.items() if not way.ready]:
        print(f"{name} is absent: it did not start", file=sys.stderr)
        running.pop(name).end()
    seconds: dict[str, list[float]] = {name: [] for name in running}
    order = [*running]
    for number in range(count):
        turn = number * len(order) // count
        for name in order[turn:] + order[:turn]:
            seconds[name].append(running[name].seconds())
        print(f"round {number + 1} of {count}", file=sys.stderr)
    for way in running.values():
        way.end()
    return seconds


def best_of_fastembed(workspace: Workspace) -> dict | None:
    """The fastest of its settings on all pictures, each tried once."""
    found = []
    for threads, parallel, batch in product((None, 1), (None, processors()), (1, 4, 16, 64)):
        if parallel and threads is None:
            continue  # every worker would take all processors
        how = {"threads": threads, "parallel": parallel, "batch_size": batch}
        way = Way("fastembed", how | {"trial": True}, workspace)
        if not way.ready:
            return None
        found.append((way.seconds(), how))
        way.end()
    return min(found, key=lambda pair: pair[0])[1]


def show(rates: dict[str, list[float]], count: int, best: dict | None) -> None:
    middle = {name: median(values) for name, values in rates.items()}
    bound = 1 / (1 / middle[DECODE] + 1 / middle[INFER])
    bound8 = 1 / (1 / middle[DECODE] + 1 / middle[INFER8])
    rows = [
        [
            name,
            f"{middle[name]:.0f}",
            " ".join(f"{rate:.0f}" for rate in values),
            f"{middle[WINNOW] / middle[name]:.2f}",
        ]
        for name, values in sorted(rates.items(), key=lambda pair: -middle[pair[0]])
    ]
    rows.append(["bound, 1 / (1 / decoding + 1 / inference)", f"{bound:.0f}", "", f"{middle[WINNOW] / bound:.2f}"])
    rows.append(["the same, int8", f"{bound8:.0f}", "", f"{middle[INT8] / bound8:.2f} (int8)"])
    print(f"{count:,} pictures, medians of {len(rates[WINNOW])} rounds. {machine(*PACKAGES)}\n")
    print(table(["way", "pictures a second", "rounds", "Winnow is faster"], rows))
    print(f"\nint8 is {middle[INT8] / middle[WINNOW]:.2f} times as fast as fp32. fastembed's best setting: {best}.")


def int8_quality(workspace: Workspace) -> str:
    """What int8 costs on all pictures: cosine, and weighted F1 over ten splits."""
    plain, small = (
        prepare(workspace, EmbeddingConfig(Recipe(precision=precision)), LISTENER, Division(), 10)
        for precision in ("fp32", "int8")
    )
    a, b = (experiment.store.read(plain.data.ids) for experiment in (plain, small))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    parts = []
    for kind in ("lda", "logistic", "svm-rbf"):
        scores = []
        for X in (a, b):
            fits = [
                fit_head(HeadSpec(kind, kind), Task(X, plain.data.y, plain.data.classes), split, FitOptions(seed))
                for seed, split in enumerate(plain.splits)
            ]
            scores.append(np.array([fit.metrics["test"]["weighted_f1"] for _, fit in fits]))
        split = plain.splits[0]
        gap = paired(scores[1], scores[0], len(split.train), len(split.test))
        parts.append(f"{kind} {scores[0].mean():.3f} -> {scores[1].mean():.3f} ({gap.describe_points()})")
    said = effect(load_backbone(Path(small.made["backbone"]), Recipe(precision="int8")))
    return (
        f"int8 on all {len(a):,} pictures, calibrated on {said['calibrated_on']} of them: cosine to fp32 "
        f"{cosine.mean():.4f} (least {cosine.min():.4f}); weighted F1 over {len(plain.splits)} splits: "
        + "; ".join(parts)
    )


def folder_to_vectors(workspace: Workspace, ways: dict, folder: Path, count: int) -> None:
    """Whole processes on a folder that was never scanned, from their start to their end; the networks are exported."""
    seconds: dict[str, list[float]] = {}
    made = []
    for number in range(count):
        place = folder / f"{number}.winnow"
        took = winnow_commands(workspace, place, "embed")
        made.append(took[1])
        seconds.setdefault("`winnow embed`", []).append(took[0])
        place = folder / f"{number}-apart.winnow"
        took = winnow_commands(workspace, place, "scan", "embed")
        seconds.setdefault("`winnow scan`, then `winnow embed`", []).append(took[0])
        for name in (BEST, DEFAULT, KERAS):
            if name in ways:
                start = time.perf_counter()
                way = Way(*ways[name], workspace)
                if way.ready:
                    way.seconds()
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
                way.end()
    middle = {name: median(times) for name, times in seconds.items()}
    own = middle["`winnow embed`"]
    rows = [[name, f"{took:.1f}", f"{took / own:.2f}"] for name, took in middle.items()]
    rate, total = (median(one[key] for one in made) for key in ("images_per_second", "total_seconds"))
    print("\nFrom a folder never scanned to its vectors, whole processes (a peer makes no manifest):\n")
    print(table(["way", "seconds", "times as long"], rows))
    print(f"\n`embed` says: total_seconds {total:.1f}, images_per_second {rate:.0f} with the scan inside.")


def winnow_commands(workspace: Workspace, place: Path, *steps: str) -> tuple[float, dict]:
    """Seconds of the commands one after the other, and what the last printed as JSON."""
    start = time.perf_counter()
    for step in steps:
        words = [sys.executable, "cli.py", step, str(workspace.images), "--workspace", str(place), "--json"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return time.perf_counter() - start, json.loads(said)


def draw(rates: dict[str, list[float]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    middle = {name: median(values) for name, values in rates.items()}
    shown = [name for name in (KERAS, DEFAULT, BEST, WINNOW, INT8) if name in middle]
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    colours = ["#2a6f97" if name in (WINNOW, INT8) else "#b0b7bd" for name in shown]
    axes.bar_label(axes.barh(shown, [middle[name] for name in shown], color=colours), fmt="%.0f", padding=3)
    bound = 1 / (1 / middle[DECODE] + 1 / middle[INFER])
    axes.axvline(bound, color="#c1121f", linestyle="--", linewidth=1)
    axes.annotate("decoding and\ninference alone", (bound, 0), (4, -6), textcoords="offset points", fontsize=7)
    axes.set_xlabel(f"pictures a second, {processors()} processors")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

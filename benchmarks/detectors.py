"""Measure what finds noise, on real photographs, and print it as Markdown.

`python -m benchmarks.detectors PHOTOGRAPHS VERDICTS.csv`: PHOTOGRAPHS is a folder of CLASS/NAME.jpg; VERDICTS.csv
(path, verdict) says what some of them are by eye: ok, off_topic, mislabelled or doubtful. Pictures with noise and their
vectors are kept in `--folder` for the next time.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks import loop, measures, noise, peers
from benchmarks.noise import SEEDS, Folder, Pool
from winnow.common.threads import processors
from winnow.curate.noise.label_errors import score_label_errors
from winnow.curate.noise.outliers import score_off_topic

KINDS = ("drawn", "blurred", "left out")
SHARES = (0.01, 0.05, 0.10)
NATURAL = (  # near-duplicates among the photographs as they are: one shot edited twice, and two shots of a burst
    {"daisy/10993710036_2033222c91.jpg", "daisy/10993818044_4c19b86c82.jpg"},
    {"sunflowers/6606809995_edee55b770_m.jpg", "sunflowers/6606813305_c992231d29_m.jpg"},
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "winnow-benchmark")
    parser.add_argument("--scale", type=int, default=100_000, help="drawn vectors to score; 0 leaves it out")
    asked = parser.parse_args()
    start = time.monotonic()
    pool = noise.pool(asked.photographs, asked.verdicts, asked.folder, on_message)
    print(heading())
    peers.use_database(asked.folder / "fiftyone")
    for title, part in PARTS.items():
        begun = time.monotonic()
        print(f"\n### {title}\n\n{part(pool)}", flush=True)
        on_message(f"{title}: {time.monotonic() - begun:.0f} s")
    if asked.scale:
        print(f"\n### Scale\n\n{scale(asked.scale)}")
    print(f"\nAll of it took {(time.monotonic() - start) / 60:.1f} minutes.")


def on_message(message: str) -> None:
    print(message, file=sys.stderr)


def heading() -> str:
    """When, on what and with what this was measured."""
    names = ("numpy", "scikit-learn", "onnxruntime", "cleanlab", "fiftyone", "fiftyone-brain", "imagehash")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} absent")
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    missing = ", ".join(peers.absent()) or "none"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {model}, {processors()} processors, Python {platform.python_version()}, "
        f"{', '.join(versions)}. Seeds {SEEDS.start} to {SEEDS.stop - 1}. Peers absent: {missing}."
    )


def outliers(pool: Pool, folder: Folder, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Of every method its name and its off-topic scores of a folder."""
    rows = folder.rows
    pooled, bottleneck = pool.pooled[rows], pool.bottleneck[rows]
    yield "**Winnow** off_topic", score_off_topic(pooled, bottleneck, folder.labels, pool.groups[rows])
    for name, (peer, score) in peers.OFF_TOPIC.items():
        if peers.has(peer):
            yield f"{name}, pooled", score(pooled)
            yield f"{name}, bottleneck", score(bottleneck)
    yield "chance", np.random.default_rng(seed).random(len(rows))


def off_topic(pool: Pool) -> str:
    """Injected off-topic pictures."""
    cells: dict[str, list[str]] = {}
    for kind in KINDS:
        for share in SHARES:
            found: dict[str, list[dict[str, float]]] = {}
            for seed in SEEDS:
                folder = noise.off_topic(pool, kind, share, seed)
                for name, score in outliers(pool, folder, seed):
                    found.setdefault(name, []).append(measures.ranking(folder.noise, score))
            for name, rows in found.items():
                cells.setdefault(name, []).append(_triple(measures.mean(rows)))
    title = ["AUROC / AP / P@k", *(f"{kind} {share:.0%}" for kind in KINDS for share in SHARES)]
    return measures.table(title, [[name, *row] for name, row in cells.items()])


def natural(pool: Pool) -> str:
    """The off-topic photographs that the set came with."""
    rows = pool.photographs
    said = np.array([pool.verdicts.get(pool.source[row], "doubtful") for row in rows])
    judged, bad = said != "doubtful", said == "off_topic"
    out = []
    for name, score in outliers(pool, Folder(rows, pool.labels[rows], bad), 0):
        values = measures.ranking(bad[judged], score[judged])
        low, high = measures.bootstrap(bad[judged], score[judged])
        out.append(
            [name, f"{values['AUROC']:.3f}", f"{values['AP']:.2f}", f"{low:.2f}–{high:.2f}", f"{values['P@k']:.2f}"]
        )
    title = [f"{bad.sum()} off-topic among {judged.sum()} judged", "AUROC", "AP", "AP, 95% bootstrap", "P@k"]
    return measures.table(title, out)


def labels(pool: Pool) -> str:
    """10% of the labels flipped."""
    cells: dict[str, list[str]] = {}
    for kind in ("uniform", "asymmetric"):
        found: dict[str, list[dict[str, float]]] = {}
        for seed in SEEDS:
            folder = noise.flipped(pool, kind, seed)
            for name, score in label_scores(pool, folder, seed):
                found.setdefault(name, []).append(measures.ranking(folder.noise, score))
        for name, rows in found.items():
            cells.setdefault(name, []).append(_triple(measures.mean(rows)))
    return measures.table(["AUROC / AP / P@k", "uniform", "asymmetric"], [[name, *row] for name, row in cells.items()])


def label_scores(pool: Pool, folder: Folder, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Of every method its name and its label scores of a folder."""
    rows, given = folder.rows, folder.labels
    pooled, bottleneck = pool.pooled[rows], pool.bottleneck[rows]
    yield "**Winnow** label_suspect", score_label_errors(pooled, bottleneck, given, pool.groups[rows]).score
    p = peers.probabilities(pooled, given, seed)
    if peers.has("cleanlab"):
        for method in ("self_confidence", "normalized_margin"):
            yield f"cleanlab {method}", peers.cleanlab_label(given, p, method)
    if peers.has("FiftyOne"):
        yield "FiftyOne mistakenness", peers.fiftyone_mistakenness(given, p)
    yield "chance", np.random.default_rng(seed).random(len(rows))


def near(pool: Pool) -> str:
    """Near-duplicates of photographs, five of each."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS:
        rows = np.append(pool.photographs, pool.under(f"near/{seed}"))
        source = [pool.source[row] for row in rows]
        same: dict[str, list[int]] = {}
        for row, name in enumerate(source):
            same.setdefault(name, []).append(row)
        true = peers.grouped(same.values())
        neither = (
            peers.grouped([row for name in names for row in same[name]] for names in NATURAL if names <= same.keys())
            - true
        )
        kinds = {kind: _copies(pool, rows, same, kind) for kind in noise.NEAR}
        for name, pairs in duplicates(pool, rows):
            values = measures.pairs(pairs, true, neither)
            values |= {kind: len(of & pairs) / len(of) for kind, of in kinds.items()}
            found.setdefault(name, []).append(values)
    out = [[name, *(f"{value:.3f}" for value in measures.mean(rows).values())] for name, rows in found.items()]
    return measures.table(["pairs", "recall", "precision", *(f"{kind}: recall" for kind in noise.NEAR)], out)


def _copies(pool: Pool, rows: np.ndarray, same: dict[str, list[int]], kind: str) -> set[tuple[int, int]]:
    """Pairs of a photograph and its copy of one kind."""
    return {
        (group[0], row) for group in same.values() for row in group[1:] if pool.paths[rows[row]].split("/")[2] == kind
    }


def duplicates(pool: Pool, rows: np.ndarray) -> Iterator[tuple[str, set[tuple[int, int]]]]:
    """Of every method its name and the pairs that it finds, places in `rows`."""
    for name, thumbnails in (("**Winnow** near", True), ("the same without thumbnails", False)):
        group = pool.near(rows, thumbnails).group
        yield name, peers.grouped(np.flatnonzero(group == number).tolist() for number in range(group.max() + 1))
    phash = pool.table["phash"].to_numpy()[rows]
    yield f"imagededup's hash, {peers.IMAGEDEDUP_BITS} bits", peers.imagededup_phash(phash)
    if peers.has("FiftyOne"):
        for distance in (0.1, peers.FIFTYONE_DISTANCE):
            yield f"FiftyOne near-duplicates, {distance}", peers.fiftyone_near(pool.pooled[rows], distance)
    if peers.has("cleanlab's Datalab"):
        yield "cleanlab Datalab near-duplicates", peers.datalab_near(pool.pooled[rows])


def feedback(pool: Pool) -> str:
    """What is found by looking at batches of ten, re-ranked after each, and by the ranking as it was."""
    rows = pool.photographs
    said = np.array([pool.verdicts.get(pool.source[row], "doubtful") for row in rows])
    whole = Folder(rows, pool.labels[rows], said == "off_topic")
    out = []
    for looks in (25, 50):
        got, fixed = _looks(pool, whole, said != "doubtful", looks)
        out.append([f"natural noise ({whole.noise.sum()}), {looks} looks", f"{got}", f"{fixed}", f"{got / fixed:.2f}"])
    sums, ratios = np.zeros(2, dtype=int), []
    for seed in SEEDS:
        folder = noise.off_topic(pool, "left out", 0.05, seed)
        every = np.ones(len(folder.rows), dtype=bool)
        got, fixed = _looks(pool, folder, every, round(0.05 * len(every)))
        sums += got, fixed
        ratios.append(got / max(1, fixed))
        looked = f"a class left out ({folder.noise.sum()}), first 5%, seed {seed}"
        out.append([looked, f"{got}", f"{fixed}", f"{ratios[-1]:.2f}"])
    out.append(["all five: sums and their ratio", f"{sums[0]}", f"{sums[1]}", f"{sums[0] / sums[1]:.2f}"])
    out.append(["all five: mean ratio", "", "", f"{np.mean(ratios):.2f}"])
    return measures.table(["found", "with feedback", "fixed ranking", "ratio"], out)


def _looks(pool: Pool, folder: Folder, judged: np.ndarray, looks: int) -> tuple[int, int]:
    rows = folder.rows
    pooled, bottleneck, groups = pool.pooled[rows], pool.bottleneck[rows], pool.groups[rows]
    prior = score_off_topic(pooled, bottleneck, folder.labels, groups)
    ids = pool.table["id"].take(rows).to_pylist()
    return loop.simulate(ids, pooled, bottleneck, groups, prior, folder.noise, judged, looks)


def scale(count: int) -> str:
    """The whole scoring in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(run.stdout)
    stages = said["seconds"]
    row = [f"{count:,} drawn vectors", *(f"{value:.0f}" for value in stages.values())]
    row += [f"{said['total']:.0f}", f"{said['peak_gb']:.1f}"]
    return measures.table(["seconds", *stages, "all", "peak GB"], [row])


def _triple(values: dict[str, float]) -> str:
    return " / ".join(f"{values[name]:.2f}" for name in ("AUROC", "AP", "P@k"))


PARTS: dict[str, Callable[[Pool], str]] = {
    "Off-topic pictures put in": off_topic,
    "Natural noise": natural,
    "Flipped labels, 10%": labels,
    "Near-duplicates": near,
    "Feedback": feedback,
}

if __name__ == "__main__":
    main()

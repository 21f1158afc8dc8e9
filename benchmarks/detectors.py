"""Measure how well noise is found on real photographs, beside other tools, and print it as Markdown.

`python -m benchmarks.detectors PHOTOGRAPHS VERDICTS.csv`: PHOTOGRAPHS is a folder of CLASS/NAME.jpg; VERDICTS.csv
(path, verdict) states what some of them are by eye: ok, off_topic, mislabelled or doubtful. Pictures with noise and
their vectors are kept in `--folder` for the next run.
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

from benchmarks import measures, noise, peers
from benchmarks.noise import SEEDS, Folder, Pool
from benchmarks.review_simulation import simulate_review
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
    parser.add_argument("--scale", type=int, default=100_000, help="number of random vectors to score; 0 skips this")
    arguments = parser.parse_args()
    start = time.monotonic()
    pool = noise.pool(arguments.photographs, arguments.verdicts, arguments.folder, on_message)
    print(heading())
    peers.use_database(arguments.folder / "fiftyone")
    for title, part in PARTS.items():
        part_start = time.monotonic()
        print(f"\n### {title}\n\n{part(pool)}", flush=True)
        on_message(f"{title}: {time.monotonic() - part_start:.0f} s")
    if arguments.scale:
        print(f"\n### Scale\n\n{scale(arguments.scale)}")
    print(f"\nAll of it took {(time.monotonic() - start) / 60:.1f} minutes.")


def on_message(message: str) -> None:
    print(message, file=sys.stderr)


def heading() -> str:
    """Date, processor and versions of the measurement."""
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
    """Yield every method's name and its off-topic scores of a folder."""
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
            results: dict[str, list[dict[str, float]]] = {}
            for seed in SEEDS:
                folder = noise.off_topic(pool, kind, share, seed)
                for name, score in outliers(pool, folder, seed):
                    results.setdefault(name, []).append(measures.ranking(folder.noise, score))
            for name, rows in results.items():
                cells.setdefault(name, []).append(_triple(measures.mean(rows)))
    title = ["AUROC / AP / P@k", *(f"{kind} {share:.0%}" for kind in KINDS for share in SHARES)]
    return measures.table(title, [[name, *row] for name, row in cells.items()])


def natural(pool: Pool) -> str:
    """Off-topic photographs of the original set."""
    rows = pool.photographs
    verdicts = np.array([pool.verdicts.get(pool.source[row], "doubtful") for row in rows])
    known, bad = verdicts != "doubtful", verdicts == "off_topic"
    out = []
    for name, score in outliers(pool, Folder(rows, pool.labels[rows], bad), 0):
        values = measures.ranking(bad[known], score[known])
        low, high = measures.bootstrap(bad[known], score[known])
        out.append(
            [name, f"{values['AUROC']:.3f}", f"{values['AP']:.2f}", f"{low:.2f}–{high:.2f}", f"{values['P@k']:.2f}"]
        )
    title = [f"{bad.sum()} off-topic among {known.sum()} judged", "AUROC", "AP", "AP, 95% bootstrap", "P@k"]
    return measures.table(title, out)


def labels(pool: Pool) -> str:
    """10% of the labels flipped."""
    cells: dict[str, list[str]] = {}
    for kind in ("uniform", "asymmetric"):
        results: dict[str, list[dict[str, float]]] = {}
        for seed in SEEDS:
            folder = noise.flipped(pool, kind, seed)
            for name, score in label_scores(pool, folder, seed):
                results.setdefault(name, []).append(measures.ranking(folder.noise, score))
        for name, rows in results.items():
            cells.setdefault(name, []).append(_triple(measures.mean(rows)))
    return measures.table(["AUROC / AP / P@k", "uniform", "asymmetric"], [[name, *row] for name, row in cells.items()])


def label_scores(pool: Pool, folder: Folder, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every method's name and its label scores of a folder."""
    rows, labels = folder.rows, folder.labels
    pooled, bottleneck = pool.pooled[rows], pool.bottleneck[rows]
    yield "**Winnow** label_suspect", score_label_errors(pooled, bottleneck, labels, pool.groups[rows]).score
    p = peers.probabilities(pooled, labels, seed)
    if peers.has("cleanlab"):
        for method in ("self_confidence", "normalized_margin"):
            yield f"cleanlab {method}", peers.cleanlab_label(labels, p, method)
    if peers.has("FiftyOne"):
        yield "FiftyOne mistakenness", peers.fiftyone_mistakenness(labels, p)
    yield "chance", np.random.default_rng(seed).random(len(rows))


def near(pool: Pool) -> str:
    """Near-duplicates of photographs, five kinds of each."""
    results: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS:
        rows = np.append(pool.photographs, pool.under(f"near/{seed}"))
        source = [pool.source[row] for row in rows]
        same: dict[str, list[int]] = {}
        for row, name in enumerate(source):
            same.setdefault(name, []).append(row)
        true = peers.pairs_within(same.values())
        ignored = (
            peers.pairs_within(
                [row for name in names for row in same[name]] for names in NATURAL if names <= same.keys()
            )
            - true
        )
        kinds = {kind: _copies(pool, rows, same, kind) for kind in noise.NEAR}
        for name, pairs in duplicates(pool, rows):
            values = measures.pairs(pairs, true, ignored)
            values |= {kind: len(of & pairs) / len(of) for kind, of in kinds.items()}
            results.setdefault(name, []).append(values)
    out = [[name, *(f"{value:.3f}" for value in measures.mean(rows).values())] for name, rows in results.items()]
    return measures.table(["pairs", "recall", "precision", *(f"{kind}: recall" for kind in noise.NEAR)], out)


def _copies(pool: Pool, rows: np.ndarray, same: dict[str, list[int]], kind: str) -> set[tuple[int, int]]:
    """Pairs of a photograph and its copy of one kind."""
    return {
        (group[0], row) for group in same.values() for row in group[1:] if pool.paths[rows[row]].split("/")[2] == kind
    }


def duplicates(pool: Pool, rows: np.ndarray) -> Iterator[tuple[str, set[tuple[int, int]]]]:
    """Yield every method's name and the pairs that it finds, as positions in `rows`."""
    for name, thumbnails in (("**Winnow** near", True), ("the same without thumbnails", False)):
        group = pool.near(rows, thumbnails).group
        yield name, peers.pairs_within(np.flatnonzero(group == number).tolist() for number in range(group.max() + 1))
    phash = pool.table["phash"].to_numpy()[rows]
    yield f"imagededup's hash, {peers.IMAGEDEDUP_BITS} bits", peers.imagededup_phash(phash)
    if peers.has("FiftyOne"):
        for distance in (0.1, peers.FIFTYONE_DISTANCE):
            yield f"FiftyOne near-duplicates, {distance}", peers.fiftyone_near(pool.pooled[rows], distance)
    if peers.has("cleanlab's Datalab"):
        yield "cleanlab Datalab near-duplicates", peers.datalab_near(pool.pooled[rows])


def feedback(pool: Pool) -> str:
    """Off-topic pictures found in batches of ten, re-ranked after each, and by the fixed ranking."""
    rows = pool.photographs
    verdicts = np.array([pool.verdicts.get(pool.source[row], "doubtful") for row in rows])
    whole = Folder(rows, pool.labels[rows], verdicts == "off_topic")
    out = []
    for budget in (25, 50):
        got, fixed = _simulate(pool, whole, verdicts != "doubtful", budget)
        out.append([f"natural noise ({whole.noise.sum()}), {budget} looks", f"{got}", f"{fixed}", f"{got / fixed:.2f}"])
    sums, ratios = np.zeros(2, dtype=int), []
    for seed in SEEDS:
        folder = noise.off_topic(pool, "left out", 0.05, seed)
        every = np.ones(len(folder.rows), dtype=bool)
        got, fixed = _simulate(pool, folder, every, round(0.05 * len(every)))
        sums += got, fixed
        ratios.append(got / max(1, fixed))
        description = f"a class left out ({folder.noise.sum()}), first 5%, seed {seed}"
        out.append([description, f"{got}", f"{fixed}", f"{ratios[-1]:.2f}"])
    out.append(["all five: sums and their ratio", f"{sums[0]}", f"{sums[1]}", f"{sums[0] / sums[1]:.2f}"])
    out.append(["all five: mean ratio", "", "", f"{np.mean(ratios):.2f}"])
    return measures.table(["found", "with feedback", "fixed ranking", "ratio"], out)


def _simulate(pool: Pool, folder: Folder, reviewable: np.ndarray, budget: int) -> tuple[int, int]:
    rows = folder.rows
    pooled, bottleneck, groups = pool.pooled[rows], pool.bottleneck[rows], pool.groups[rows]
    prior = score_off_topic(pooled, bottleneck, folder.labels, groups)
    ids = pool.table["id"].take(rows).to_pylist()
    return simulate_review(ids, pooled, bottleneck, groups, prior, folder.noise, reviewable, budget)


def scale(count: int) -> str:
    """Run all scores in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    stages = result["seconds"]
    row = [f"{count:,} drawn vectors", *(f"{value:.0f}" for value in stages.values())]
    row += [f"{result['total']:.0f}", f"{result['peak_gb']:.1f}"]
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

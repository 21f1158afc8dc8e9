"""Seconds and memory of all scores on N random vectors: `python -m benchmarks.scale [N]` prints JSON."""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np

from winnow.curate.noise import active_learning, duplicates, label_errors, outliers

CLASSES = 10
SPREAD = 0.5  # standard deviation around the centre of a class; that of the centres is 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000, help="number of vectors")
    count = parser.parse_args().count
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    pooled, bottleneck = (_vectors(rng, labels, width) for width in (1280, 320))
    phash = rng.integers(0, 2**64, count, dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (count, 16, 16), dtype=np.uint8)
    names = [f"{number:08}" for number in range(count)]
    area = np.full(count, 240 * 320)
    seconds: dict[str, float] = {}
    start = time.monotonic()

    def note_seconds(stage: str) -> None:
        seconds[stage] = round(time.monotonic() - start - sum(seconds.values()), 1)

    near = duplicates.find_near_duplicates(bottleneck, phash, names, area, labels, names, thumbnails)
    groups = np.where(near.group < 0, count + np.arange(count), near.group)
    note_seconds("duplicates")
    prior = outliers.score_off_topic(pooled, bottleneck, labels, groups)
    note_seconds("off-topic")
    label_errors.score_label_errors(pooled, bottleneck, labels, groups)
    note_seconds("label errors")
    verdicts = np.full(count, -1, dtype=np.int8)
    verdicts[:50] = rng.integers(0, 2, 50)
    score = active_learning.rerank(pooled, bottleneck, prior, verdicts, groups)
    active_learning.next_batch(names, score, verdicts)
    active_learning.estimate_outlook(names, score, verdicts)
    note_seconds("feedback")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps({"pictures": count, "seconds": seconds, "total": sum(seconds.values()), "peak_gb": round(peak, 2)})
    )


def _vectors(rng: np.random.Generator, labels: np.ndarray, width: int) -> np.ndarray:
    """Draw vectors around a centre for each class, in place: float32 (N, width)."""
    vectors = rng.standard_normal((len(labels), width), dtype=np.float32)
    vectors *= SPREAD
    vectors += rng.standard_normal((CLASSES, width), dtype=np.float32)[labels]
    return vectors


if __name__ == "__main__":
    main()

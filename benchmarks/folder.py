"""Embedding a large folder, and a single image: `python -m benchmarks.folder [--pictures 20000]`.

Images of 320 x 240 are drawn and `cli.py embed` is run on them as a process. Measured are its peak memory on 1,000
images and on all of them, the time of the first run and of later ones, the cost of 100 new images, and whether images
that were moved away and back are embedded again; then images of forty megapixels, and the time of a whole run on one
image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from benchmarks.measures import table
from winnow.common.threads import processors

START_RUNS = 5
# Runs a command from a small process: its own memory, which counts until the command starts, does not matter.
MEASURE_COMMAND = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL, check=True)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True, order=True)
class EmbedRun:
    """One run of `embed`: seconds and peak megabytes of the whole process, and the JSON document that it printed."""

    seconds: float
    megabytes: float
    document: dict = field(compare=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        draw(root / "one", range(1))
        embed(root / "one")  # from now on the backbone is in the cache
        rows = measure_start(root) + measure_large_images(root) + measure_large_folder(root, count)
    print(f"{machine('onnxruntime', 'pillow', 'pylance')}\n")
    print(table(["run", "seconds", "peak MB", "embedded", "comparison"], rows))


def draw(folder: Path, numbers: range, size: tuple[int, int] = (320, 240), kind: str = "jpg") -> None:
    """Write images of soft coloured noise, seeded by their numbers."""

    def write(number: int) -> None:
        coarse = np.random.default_rng(number).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        file = folder / f"class {number % 5}" / f"{number:06}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, compress_level=1)

    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(write, numbers))


def embed(folder: Path, suffix: str = "") -> EmbedRun:
    command = [sys.executable, "cli.py", "embed", folder, "--json", "--workspace", f"{folder}{suffix}.winnow"]
    command = [sys.executable, "-c", MEASURE_COMMAND, *map(str, command)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, process.stderr.split())
    return EmbedRun(seconds, kilobytes / 1024, json.loads(process.stdout))


def row(name: str, run: EmbedRun, comparison: str = "") -> list[str]:
    return [name, f"{run.seconds:.1f}", f"{run.megabytes:.0f}", f"{run.document['embedded']:,}", comparison]


def measure_start(root: Path) -> list[list[str]]:
    runs = [embed(root / "one", f"-{number}") for number in range(START_RUNS)]
    typical = replace(runs[0], seconds=median(run.seconds for run in runs))
    total = median(run.document["total_seconds"] for run in runs)
    return [row(f"one image, median of {START_RUNS} workspaces", typical, f"{total:.2f} s of it after imports")]


def measure_large_images(root: Path) -> list[list[str]]:
    draw(root / "small", range(200))
    draw(root / "large", range(200))
    draw(root / "large", range(200, 206), (7300, 5480))
    draw(root / "large", range(206, 210), (7300, 5480), "png")
    small, both = embed(root / "small"), embed(root / "large")
    difference = f"{both.megabytes - small.megabytes:.0f} MB more"
    return [row("200 images", small), row("and ten of forty megapixels, four of them PNG", both, difference)]


def measure_large_folder(root: Path, count: int) -> list[list[str]]:
    folder = root / "many"
    draw(folder, range(min(1000, count)))
    few = embed(folder, "-few")
    draw(folder, range(min(1000, count), count))
    first = embed(folder)
    repeated = sorted(embed(folder) for _ in range(3))[1]
    draw(folder, range(count, count + 100))
    added = embed(folder)
    moved = sorted(folder.rglob("*.jpg"))[:50]
    for file in moved:
        file.rename(root / file.name)
    without = embed(folder)
    for file in moved:
        (root / file.name).rename(file)
    back = embed(folder)
    relative_time = f"{100 * repeated.seconds / first.seconds:.1f}% of the first"
    ratio = f"{first.megabytes / few.megabytes:.2f} times the memory of {min(1000, count):,}"
    return [
        row(f"{min(1000, count):,} images", few),
        row(f"{count:,} images", first, ratio),
        row("repeated without changes (median of 3)", repeated, relative_time),
        row("100 added", added),
        row("50 moved away", without),
        row("the 50 moved back", back),
    ]


if __name__ == "__main__":
    main()

"""A large folder, and a first picture: `python -m benchmarks.folder [--pictures 20000]`.

Pictures of 320 x 240 are drawn, and `cli.py embed` is run on them as a process: the peak of its memory on 1,000 and on
all, the seconds of the first time and of the next ones, what 100 new pictures cost, and whether pictures that were away
are embedded again. Then pictures of forty megapixels, and the time from the command to the end with one picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from benchmarks.measures import table
from winnow.common.threads import processors

STARTS = 5
# Runs a command from a process so small that its own memory, which counts until the command begins, does not matter.
ALONE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL, check=True)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


class Said(NamedTuple):
    """What one run of `embed` took and said."""

    seconds: float  # of the whole process
    megabytes: float  # its peak
    document: dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        draw(root / "one", range(1))
        embed(root / "one")  # the backbone is in the cache from now on
        rows = starts(root) + large(root) + many(root, count)
    print(f"{machine('onnxruntime', 'pillow', 'pylance')}\n")
    print(table(["what", "seconds", "peak MB", "embedded", "compared"], rows))


def draw(folder: Path, numbers: range, size: tuple[int, int] = (320, 240), kind: str = "jpg") -> None:
    """Soft coloured noise, each picture from the seed that is its number."""

    def one(number: int) -> None:
        coarse = np.random.default_rng(number).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        file = folder / f"class {number % 5}" / f"{number:06}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, compress_level=1)

    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(one, numbers))


def embed(folder: Path, again: str = "") -> Said:
    words = [sys.executable, "cli.py", "embed", folder, "--json", "--workspace", f"{folder}{again}.winnow"]
    words = [sys.executable, "-c", ALONE, *map(str, words)]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, said.stderr.split())
    return Said(seconds, kilobytes / 1024, json.loads(said.stdout))


def row(what: str, said: Said, compared: str = "") -> list[str]:
    return [what, f"{said.seconds:.1f}", f"{said.megabytes:.0f}", f"{said.document['embedded']:,}", compared]


def starts(root: Path) -> list[list[str]]:
    said = [embed(root / "one", f"-{number}") for number in range(STARTS)]
    middle = said[0]._replace(seconds=median(one.seconds for one in said))
    own = median(one.document["total_seconds"] for one in said)
    return [row(f"one picture, fresh folder (median of {STARTS})", middle, f"{own:.2f} s of it after the imports")]


def large(root: Path) -> list[list[str]]:
    draw(root / "small", range(200))
    draw(root / "large", range(200))
    draw(root / "large", range(200, 206), (7300, 5480))
    draw(root / "large", range(206, 210), (7300, 5480), "png")
    small, both = embed(root / "small"), embed(root / "large")
    more = f"{both.megabytes - small.megabytes:.0f} MB more"
    return [row("200 pictures", small), row("and ten of forty megapixels, four of them PNG", both, more)]


def many(root: Path, count: int) -> list[list[str]]:
    folder = root / "many"
    draw(folder, range(min(1000, count)))
    few = embed(folder, "-few")
    draw(folder, range(min(1000, count), count))
    first = embed(folder)
    again = [embed(folder) for _ in range(3)]
    third = sorted(again)[1]
    draw(folder, range(count, count + 100))
    added = embed(folder)
    moved = sorted(folder.rglob("*.jpg"))[:50]
    for file in moved:
        file.rename(root / file.name)
    without = embed(folder)
    for file in moved:
        (root / file.name).rename(file)
    back = embed(folder)
    ratio = f"{first.megabytes / few.megabytes:.2f} times the memory of {min(1000, count):,}"
    return [
        row(f"{min(1000, count):,} pictures", few),
        row(f"{count:,} pictures", first, ratio),
        row("again, nothing changed (median of 3)", third, f"{100 * third.seconds / first.seconds:.1f}% of the first"),
        row("100 added", added),
        row("50 taken away", without),
        row("the 50 are back", back),
    ]


if __name__ == "__main__":
    main()

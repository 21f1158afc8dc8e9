"""How fast `predict` is beside `embed` in one process: `python -m benchmarks.predict PHOTOGRAPHS`.

A head is trained and exported as `winnow train` and `winnow export` do. Then, seven times in turn, all pictures are
embedded as `winnow embed` does it (first decode to last commit) and predicted as `winnow predict` does it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.workspace import find_workspace
from winnow.deploy.export import export
from winnow.deploy.inference.model import Model, load
from winnow.deploy.inference.predict import files_of, predict
from winnow.embed import pipeline
from winnow.embed.backbone import Backbone
from winnow.embed.backends import create_onnx_session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.workflow import training
from winnow.workflow.features import backbone_of

ROUNDS = 7


LISTENER = reporter("predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--head", default="lda", help="kind of the head")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(given.photographs, Path(folder) / "speed.winnow")
        run = Path(training.train(workspace, EmbeddingConfig(), LISTENER, kind=given.head, params={})["run"])
        model = load(Path(export(run, run / "model.onnx", LISTENER)["model"]))
        files = manifest.files_by_id(workspace)
        made = backbone_of(workspace, EmbeddingConfig(), files, LISTENER.message)
        rounds = []
        for number in range(ROUNDS):
            store = Store(Path(folder) / str(number), made)
            if number % 2:  # by turns one or the other is the first
                said = predicted(model, files)
                rounds.append((embedded(made, files, store), said))
            else:
                rounds.append((embedded(made, files, store), predicted(model, files)))
    print(
        "| pictures a second | " + " | ".join(f"round {n}" for n in range(1, ROUNDS + 1)) + " | median | CPU ms each |"
    )
    print("|---" * (ROUNDS + 3) + "|")
    medians = []
    for name, column in zip(("embed", "predict"), zip(*rounds, strict=True), strict=True):
        rates, costs = zip(*column, strict=True)
        medians.append((median(rates), median(costs)))
        shown = " | ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {name} | {shown} | {medians[-1][0]:.0f} | {medians[-1][1]:.2f} |")
    (embed, spent), (said, took) = medians
    print(f"\n{len(files):,} pictures, head {given.head}: predict runs at {said / embed:.3f} of the rate of embed;")
    print(f"by CPU time, which a busy machine disturbs less, at {spent / took:.3f}")


def embedded(made: Backbone, files: dict[str, Path], store: Store) -> tuple[float, float]:
    """Pictures a second into a new table, and milliseconds of CPU each."""
    session, cpu = create_onnx_session(made), time.process_time()
    writer = pipeline.TableWriter(store)
    pipeline.embed_to_table(writer, list(files.items()), made.recipe, session)
    return writer.embedded / writer.seconds, 1000 * (time.process_time() - cpu) / writer.embedded


def predicted(model: Model, files: dict[str, Path]) -> tuple[float, float]:
    """Pictures a second from the first decode to the last answer, and milliseconds of CPU each."""
    stream = predict(model, files_of([*files.values()]))
    start, cpu = time.monotonic(), time.process_time()
    count = sum(said.problem is None for said in stream)
    return count / (time.monotonic() - start), 1000 * (time.process_time() - cpu) / count


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

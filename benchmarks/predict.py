"""Measure the speed of `predict` beside `embed` in one process: `python -m benchmarks.predict PHOTOGRAPHS`.

A head is trained and exported as `winnow train` and `winnow export` do. Then all pictures are
embedded as by `winnow embed` (first decode to last commit) and predicted as by `winnow predict`, seven times in turn.
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
from winnow.deploy.inference.model import Model, load
from winnow.deploy.inference.predict import find_files, predict
from winnow.deploy.source import ExportOptions
from winnow.embed import pipeline
from winnow.embed.backbone import Backbone
from winnow.embed.backends import create_onnx_session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.workflow import training
from winnow.workflow.embedding import resolve_backbone
from winnow.workflow.export import export_run

ROUNDS = 7


REPORTER = reporter("predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--head", default="lda", help="kind of the head")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(arguments.photographs, Path(folder) / "speed.winnow")
        run = training.train(workspace, EmbeddingConfig(), REPORTER, kind=arguments.head, params={}).folder
        model = load(export_run(run, None, ExportOptions(), REPORTER).model)
        files = manifest.files_by_id(workspace)
        backbone = resolve_backbone(workspace, EmbeddingConfig(), files, REPORTER.message)
        rounds = []
        for number in range(ROUNDS):
            store = Store(Path(folder) / str(number), backbone)
            if number % 2:  # embed and predict take turns in being first
                predict_result = measure_predict(model, files)
                rounds.append((measure_embed(backbone, files, store), predict_result))
            else:
                rounds.append((measure_embed(backbone, files, store), measure_predict(model, files)))
    print(
        "| pictures per second | "
        + " | ".join(f"round {n}" for n in range(1, ROUNDS + 1))
        + " | median | CPU ms each |"
    )
    print("|---" * (ROUNDS + 3) + "|")
    medians = []
    for name, column in zip(("embed", "predict"), zip(*rounds, strict=True), strict=True):
        rates, costs = zip(*column, strict=True)
        medians.append((median(rates), median(costs)))
        cells = " | ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {name} | {cells} | {medians[-1][0]:.0f} | {medians[-1][1]:.2f} |")
    (embed_rate, embed_cost), (predict_rate, predict_cost) = medians
    print(f"\n{len(files):,} pictures, head {arguments.head}:")
    print(f"predict runs at {predict_rate / embed_rate:.3f} of the rate of embed;")
    print(f"by CPU time, which a busy machine disturbs less, at {embed_cost / predict_cost:.3f}")


def measure_embed(backbone: Backbone, files: dict[str, Path], store: Store) -> tuple[float, float]:
    """Pictures per second that are embedded into a new table, and milliseconds of CPU for each."""
    session, cpu = create_onnx_session(backbone), time.process_time()
    writer = pipeline.TableWriter(store)
    pipeline.embed_to_table(writer, list(files.items()), backbone.recipe, session)
    return writer.embedded / writer.seconds, 1000 * (time.process_time() - cpu) / writer.embedded


def measure_predict(model: Model, files: dict[str, Path]) -> tuple[float, float]:
    """Pictures per second from the first decode to the last prediction, and milliseconds of CPU for each."""
    predictions = predict(model, find_files([*files.values()]))
    start, cpu = time.monotonic(), time.process_time()
    count = sum(prediction.problem is None for prediction in predictions)
    return count / (time.monotonic() - start), 1000 * (time.process_time() - cpu) / count


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

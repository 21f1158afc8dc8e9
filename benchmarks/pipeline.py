"""What the settings of the embedding pipeline were chosen by: `python -m benchmarks.pipeline PHOTOGRAPHS`.

Three tables: inference alone by threads, batch and options of onnxruntime; decoding a photograph and a large one, by
decoder; the kernel that makes a picture square, its time and the weighted F1 of heads on the vectors that follow.
All are medians of interleaved rounds on one machine.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from sklearn.metrics import f1_score

from benchmarks.measures import table
from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.common.threads import processors
from winnow.curate.workspace import find_workspace
from winnow.embed import images
from winnow.embed.backends import OUTPUTS
from winnow.embed.config import EmbeddingConfig
from winnow.embed.pipeline import decode_and_infer
from winnow.heads.evaluation.metrics import paired
from winnow.heads.models.baselines import lda, logistic
from winnow.workflow.experiment import Division, prepare

ROUNDS, INFERRED, DECODED = 5, 96, 200
KERNELS = ("BICUBIC", "LANCZOS", "BILINEAR", "HAMMING", "BOX", "NEAREST")
LISTENER = reporter("pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(
            find_workspace(given.photographs, Path(folder) / "pipeline.winnow"),
            EmbeddingConfig(),
            LISTENER,
            Division(),
            10,
        )
        files = [experiment.workspace.images / path for path in experiment.data.paths]
        backbone = Path(experiment.made["backbone"])
        data = [file.read_bytes() for file in files[:: len(files) // DECODED]]
        inference(backbone, np.stack([images.decode_square(one, 224) for one in data[:INFERRED]]), Path(folder))
        decoding(data)
        kernels(experiment, files, backbone)


def medians(ways: dict[str, object], count: int) -> dict[str, float]:
    """Of each way to do `count` pieces of work, the median milliseconds a piece; a way takes no arguments."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(ROUNDS + 1):  # the first warms up; each round begins with another
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            ways[name]()
            if number:
                spent[name].append(1000 * (time.perf_counter() - start) / count)
    return {name: median(times) for name, times in spent.items()}


def session(model: Path, intra: int = 1, spinning: bool = True, layout: bool = True, saved: Path | None = None):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if layout else levels.ORT_ENABLE_EXTENDED
    if saved:
        options.optimized_model_filepath = str(saved)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def inference(backbone: Path, squares: np.ndarray, folder: Path) -> None:
    cores = processors()

    def way(threads: int, batch: int, **how):
        made = session(backbone, **how)
        batches = [squares[i : i + batch] for i in range(0, len(squares), batch)]

        def experiment():
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda pixels: made.run(OUTPUTS, {"image": pixels}), batches))

        return experiment

    ways = {f"{cores} threads, one each | {batch}": way(cores, batch) for batch in (1, 2, 4, 8, 32)}
    ways |= {f"one inference in {cores} threads | {batch}": way(1, batch, intra=cores) for batch in (1, 4, 32)}
    ways["the same, not spinning | 4"] = way(1, 4, intra=cores, spinning=False)
    ways[f"{cores} threads, one each, without NCHWc layout | 4"] = way(cores, 4, layout=False)
    print(f"\nInference alone, {len(squares)} pictures, {cores} processors\n")
    rows = [[*name.split(" | "), f"{1000 / ms:.0f}"] for name, ms in medians(ways, len(squares)).items()]
    print(table(["onnxruntime", "batch", "pictures a second"], rows))
    saved = folder / "optimised.onnx"
    session(backbone, saved=saved)
    starts = medians({"exported": lambda: session(backbone), "saved": lambda: session(saved)}, 1)
    print(
        f"\nA session starts in {starts['exported']:.0f} ms; from an optimised graph that was saved, in "
        f"{starts['saved']:.0f} ms."
    )


def decoding(data: list[bytes]) -> None:
    large = io.BytesIO()
    Image.open(io.BytesIO(data[0])).convert("RGB").resize((4032, 3024)).save(large, "JPEG", quality=90)
    phone = [large.getvalue()] * 5
    ways = {
        "square of a photograph, as Winnow makes it": (lambda: [images.decode_square(one, 224) for one in data], data)
    }
    ways["Pillow, decoded whole"] = (lambda: [images.decode(one) for one in data], data)
    try:
        import simplejpeg

        ways["simplejpeg, decoded whole"] = (lambda: [simplejpeg.decode_jpeg(one) for one in data], data)
    except ImportError:
        print("\nsimplejpeg is absent")
    ways["square of a JPEG of 12 megapixels"] = (lambda: [images.decode_square(one, 224) for one in phone], phone)
    ways["the same, decoded whole"] = (
        lambda: [images.resize_to_square(images.decode(one)[0], 224) for one in phone],
        phone,
    )
    rows = []
    for name, (experiment, pieces) in ways.items():
        rows.append([name, f"{medians({name: experiment}, len(pieces))[name]:.2f}"])
    print("\nDecoding, one thread\n")
    print(table(["what", "ms each"], rows))


def kernels(experiment, files: list[Path], backbone: Path) -> None:
    made, scores, times = session(backbone), {}, {}
    pictures = [Image.open(file).convert("RGB") for file in files[::5]]
    for kernel in KERNELS:
        how = Image.Resampling[kernel]
        times |= medians({kernel: lambda how=how: [square(one, how) for one in pictures]}, len(pictures))
        batches = decode_and_infer(
            files,
            lambda file, how=how: square(Image.fromarray(images.decode(images.read_bytes(file))[0]), how),
            lambda pixels: made.run(OUTPUTS, {"image": pixels}),
        )
        X = np.concatenate([done.outputs[0] for done in batches])
        scores[kernel] = {head.__name__: f1(head, X, experiment) for head in (lda, logistic)}
    split, rows = experiment.splits[0], []
    for kernel in KERNELS:
        row = [kernel.lower(), f"{times[kernel]:.2f}"]
        for head, own in scores[kernel].items():
            with_bicubic = scores[KERNELS[0]][head]
            text = f"{own.mean():.3f}"
            if kernel != KERNELS[0]:
                gap = paired(own, with_bicubic, len(split.train), len(split.test))
                text += f" ({gap.describe_points()})"
            row.append(text)
        rows.append(row)
    print(
        f"\nThe kernel, {len(files):,} photographs, weighted F1 over {len(experiment.splits)} splits "
        "(points to bicubic)\n"
    )
    print(table(["kernel", "ms each", "lda", "logistic"], rows))


def square(image: Image.Image, kernel: Image.Resampling, size: int = 224) -> np.ndarray:
    side = min(image.size) * images.CROP_SHARE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return np.asarray(image.resize((size, size), kernel, box=(left, top, left + side, top + side)))


def f1(head, X: np.ndarray, experiment) -> np.ndarray:
    y, found = experiment.data.y, []
    for split in experiment.splits:
        predicted = head().fit(X[split.train], y[split.train]).predict(X[split.test])
        found.append(f1_score(y[split.test], predicted, average="weighted"))
    return np.array(found)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

"""Measure the settings of the embedding pipeline: `python -m benchmarks.pipeline PHOTOGRAPHS`.

Three tables: inference alone by threads, batch size and options of onnxruntime; decoding of a photograph and of a large
one, by decoder; the resampling kernel that resizes an image to a square, its time and the weighted F1 of heads on the
resulting vectors. All times are medians of interleaved rounds on one machine.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
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
from winnow.workflow.experiment import DatasetOptions, prepare

ROUNDS = 5
INFERENCE_IMAGES, DECODED_IMAGES = 96, 200
KERNELS = ("BICUBIC", "LANCZOS", "BILINEAR", "HAMMING", "BOX", "NEAREST")
REPORTER = reporter("pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(
            find_workspace(arguments.photographs, Path(folder) / "pipeline.winnow"),
            EmbeddingConfig(),
            REPORTER,
            DatasetOptions(repeats=10),
        )
        files = [experiment.workspace.images / path for path in experiment.dataset.paths]
        backbone = Path(experiment.folder.embedding.backbone)
        data = [file.read_bytes() for file in files[:: max(1, len(files) // DECODED_IMAGES)]]
        inference(backbone, np.stack([images.decode_square(one, 224) for one in data[:INFERENCE_IMAGES]]), Path(folder))
        decoding(data)
        kernels(experiment, files, backbone)


def median_times(methods: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Median milliseconds per item of each method, a function that processes `count` items."""
    spent: dict[str, list[float]] = {name: [] for name in methods}
    names = list(methods)
    for number in range(ROUNDS + 1):  # the first round warms up; each begins with another method
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            methods[name]()
            if number:
                spent[name].append(1000 * (time.perf_counter() - start) / count)
    return {name: median(times) for name, times in spent.items()}


def open_session(model: Path, intra: int = 1, spinning: bool = True, layout: bool = True, saved: Path | None = None):
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

    def method(threads: int, batch: int, **options):
        session = open_session(backbone, **options)
        batches = [squares[i : i + batch] for i in range(0, len(squares), batch)]

        def infer():
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda pixels: session.run(OUTPUTS, {"image": pixels}), batches))

        return infer

    methods = {f"{cores} threads, one each | {batch}": method(cores, batch) for batch in (1, 2, 4, 8, 32)}
    methods |= {f"one inference in {cores} threads | {batch}": method(1, batch, intra=cores) for batch in (1, 4, 32)}
    methods["the same, not spinning | 4"] = method(1, 4, intra=cores, spinning=False)
    methods[f"{cores} threads, one each, without NCHWc layout | 4"] = method(cores, 4, layout=False)
    print(f"\nInference alone, {len(squares)} images, {cores} processors\n")
    rows = [[*name.split(" | "), f"{1000 / ms:.0f}"] for name, ms in median_times(methods, len(squares)).items()]
    print(table(["onnxruntime", "batch", "images per second"], rows))
    saved = folder / "optimised.onnx"
    open_session(backbone, saved=saved)
    start_times = median_times({"exported": lambda: open_session(backbone), "saved": lambda: open_session(saved)}, 1)
    print(
        f"\nA session starts in {start_times['exported']:.0f} ms; from a saved optimised graph, in "
        f"{start_times['saved']:.0f} ms."
    )


def decoding(data: list[bytes]) -> None:
    large = io.BytesIO()
    Image.open(io.BytesIO(data[0])).convert("RGB").resize((4032, 3024)).save(large, "JPEG", quality=90)
    large_images = [large.getvalue()] * 5
    methods = {
        "square of a photograph, as Winnow decodes it": (lambda: [images.decode_square(one, 224) for one in data], data)
    }
    methods["Pillow, decoded at full size"] = (lambda: [images.decode(one) for one in data], data)
    try:
        import simplejpeg

        methods["simplejpeg, decoded at full size"] = (lambda: [simplejpeg.decode_jpeg(one) for one in data], data)
    except ImportError:
        print("\nsimplejpeg is absent")
    methods["square of a JPEG of 12 megapixels"] = (
        lambda: [images.decode_square(one, 224) for one in large_images],
        large_images,
    )
    methods["the same, decoded at full size"] = (
        lambda: [images.resize_to_square(images.decode(one)[0], 224) for one in large_images],
        large_images,
    )
    rows = []
    for name, (decode, items) in methods.items():
        rows.append([name, f"{median_times({name: decode}, len(items))[name]:.2f}"])
    print("\nDecoding, one thread\n")
    print(table(["method", "ms per image"], rows))


def kernels(experiment, files: list[Path], backbone: Path) -> None:
    session = open_session(backbone)
    scores: dict[str, dict[str, np.ndarray]] = {}
    times: dict[str, float] = {}
    pictures = [Image.open(file).convert("RGB") for file in files[::5]]
    for kernel in KERNELS:
        resampling = Image.Resampling[kernel]
        times |= median_times(
            {kernel: lambda resampling=resampling: [center_crop(one, resampling) for one in pictures]}, len(pictures)
        )
        batches = decode_and_infer(
            files,
            lambda file, resampling=resampling: center_crop(
                Image.fromarray(images.decode(images.read_bytes(file))[0]), resampling
            ),
            lambda pixels: session.run(OUTPUTS, {"image": pixels}),
        )
        X = np.concatenate([batch.outputs[0] for batch in batches])
        scores[kernel] = {head.__name__: weighted_f1(head, X, experiment) for head in (lda, logistic)}
    split, rows = experiment.splits[0], []
    for kernel in KERNELS:
        row = [kernel.lower(), f"{times[kernel]:.2f}"]
        for head, values in scores[kernel].items():
            bicubic = scores[KERNELS[0]][head]
            text = f"{values.mean():.3f}"
            if kernel != KERNELS[0]:
                gap = paired(values, bicubic, len(split.train), len(split.test))
                text += f" ({gap.describe_points()})"
            row.append(text)
        rows.append(row)
    print(
        f"\nThe resampling kernel, {len(files):,} photographs, weighted F1 over {len(experiment.splits)} splits "
        "(and the difference to bicubic)\n"
    )
    print(table(["kernel", "ms per image", "lda", "logistic"], rows))


def center_crop(image: Image.Image, resampling: Image.Resampling, size: int = 224) -> np.ndarray:
    """Resize to a square as `embed.images` does for "crop", with another kernel."""
    side = min(image.size) * images.CROP_SHARE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return np.asarray(image.resize((size, size), resampling, box=(left, top, left + side, top + side)))


def weighted_f1(head, X: np.ndarray, experiment) -> np.ndarray:
    y, scores = experiment.dataset.y, []
    for split in experiment.splits:
        predicted = head().fit(X[split.train], y[split.train]).predict(X[split.test])
        scores.append(f1_score(y[split.test], predicted, average="weighted"))
    return np.array(scores)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

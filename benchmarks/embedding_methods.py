"""Methods of embedding, each timed in a process of its own: Winnow, its parts alone, and other tools.

`python -m benchmarks.embedding_methods NAME WORKSPACE PHOTOGRAPHS JSON` prepares the method, prints `ready`, and then
runs it once for each line on standard input, and prints the seconds. JSON holds the method's keyword arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.quiet import reporter
from winnow.common.threads import processors
from winnow.curate import manifest
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.backends import BATCH_SIZES, create_onnx_session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.pipeline import TableWriter, batched, embed_to_table, read_square
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store
from winnow.workflow.embedding import resolve_backbone

Round = Callable[[], float]  # runs a method once on all photographs, and returns the seconds
LISTENER = reporter("embed")
# fastembed's preprocessing: the scaling that the weights expect, and Winnow's crop.
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def timed(run: Callable[[], object]) -> Round:
    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return once


def winnow(workspace: Workspace, precision: str = "fp32") -> Round:
    files = manifest.files_by_id(workspace)
    backbone = resolve_backbone(workspace, EmbeddingConfig(Recipe(precision=precision)), files, LISTENER.message)
    session = create_onnx_session(backbone)

    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            writer = TableWriter(Store(Path(folder), backbone))
            embed_to_table(writer, list(files.items()), backbone.recipe, session)
        if writer.embedded != len(files):
            raise RuntimeError(f"{writer.embedded} of {len(files)} embedded")
        return writer.seconds

    return once


def decode(workspace: Workspace) -> Round:
    files = [*manifest.files_by_id(workspace).items()]

    def run() -> None:
        with ThreadPoolExecutor(processors()) as pool:
            for _ in pool.map(lambda file: read_square(file[1], Recipe(), file[0]), files):
                pass

    return timed(run)


def inference(workspace: Workspace, precision: str = "fp32", engine: str = "onnxruntime") -> Round:
    files = manifest.files_by_id(workspace)
    backbone = resolve_backbone(workspace, EmbeddingConfig(Recipe(precision=precision)), files, LISTENER.message)
    squares = np.stack([read_square(path, backbone.recipe) for path in files.values()])
    batches = [squares[list(rows)] for rows in batched(range(len(squares)), BATCH_SIZES["onnx"])]
    if engine == "openvino":
        import openvino

        # Without the hint it computes in bfloat16 where the processor supports that.
        options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(processors())}
        network = openvino.Core().compile_model(backbone.file, "CPU", options)
        queue = openvino.AsyncInferQueue(network, processors())

        def run() -> None:
            for pixels in batches:
                queue.start_async({"image": pixels})
            queue.wait_all()

    else:
        session = create_onnx_session(backbone)

        def run() -> None:
            with ThreadPoolExecutor(processors()) as pool:
                list(pool.map(session, batches))

    return timed(run)


def fastembed(workspace: Workspace, threads: int | None = None, trial: bool = False, **how) -> Round:
    from fastembed import ImageEmbedding

    os.environ["HF_HUB_OFFLINE"] = "1"
    files = manifest.files_by_id(workspace)
    backbone = resolve_backbone(workspace, EmbeddingConfig(), files, LISTENER.message)
    folder = workspace.folder / "fastembed"
    folder.mkdir(exist_ok=True)
    if not (folder / "preprocessor_config.json").is_file():
        channels_first(backbone.file, folder / "model.onnx")
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    model = ImageEmbedding("Qdrant/resnet50-onnx", threads=threads, specific_model_path=str(folder))
    paths = [str(path) for path in files.values()]
    if trial:  # of settings: check that the vectors are the same
        first = np.stack(list(model.embed(paths[:8], batch_size=8)))
        squares = np.stack([read_square(Path(path), backbone.recipe) for path in paths[:8]])
        own = create_onnx_session(backbone)(squares)[0]
        cosine = (first * own).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(own, axis=1)
        if not cosine.mean() > 0.98:
            raise RuntimeError(f"fastembed gives other vectors: cosine {cosine.mean():.3f}")
    return timed(lambda: list(model.embed(paths, **how)))


def channels_first(exported: Path, file: Path) -> None:
    """Write the same network for scaled pixels, float32 (batch, 3, S, S)."""
    import onnx

    model = onnx.load(exported)
    graph = model.graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    entry = first.input[0]
    before = {entry}
    for node in reversed(list(graph.node)):
        if before.intersection(node.output):
            before.update(node.input)
            graph.node.remove(node)
    shape = ["batch", 3, 224, 224]
    del graph.input[:]
    graph.input.append(onnx.helper.make_tensor_value_info(entry, onnx.TensorProto.FLOAT, shape))
    del graph.output[1:]
    onnx.save(model, file)


def keras(workspace: Workspace) -> Round:
    from winnow.embed.keras_import import import_keras

    kit, tf = import_keras("this benchmark")
    weights = next((Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models").glob("*1.0_224_no_top.h5"))
    net = kit.applications.MobileNetV2(include_top=False, pooling="avg", weights=weights, input_shape=(224, 224, 3))
    scale = kit.applications.mobilenet_v2.preprocess_input

    def run() -> None:
        pictures = kit.utils.image_dataset_from_directory(
            workspace.images,
            labels=None,
            image_size=(224, 224),
            crop_to_aspect_ratio=True,
            shuffle=False,
            verbose=False,
        )
        net.predict(pictures.map(scale, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE), verbose=0)

    net.predict(np.zeros((32, 224, 224, 3), np.float32), verbose=0)
    return timed(run)


METHODS = {
    "winnow": winnow,
    "decode": decode,
    "inference": inference,
    "fastembed": fastembed,
    "keras": keras,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding_methods", description=__doc__)
    parser.add_argument("name", choices=METHODS)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("arguments", metavar="JSON", type=json.loads)
    given = parser.parse_args()
    workspace = find_workspace(given.photographs, given.workspace)
    if not workspace.manifest.exists():
        manifest.scan(workspace)
    run_once = METHODS[given.name](workspace, **given.arguments)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(run_once(), flush=True)


if __name__ == "__main__":
    main()

"""Keras MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) as one ONNX file: exported, compared with Keras, cached.

The graph takes `image`, uint8 (batch, S, S, 3), scales it inside, and returns in one pass `embedding`, float32
(batch, D) or (batch, H, W, D), and `bottleneck`, float32 (batch, B): the spatial mean of the linear layer before the
last expansion.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.progress import OnMessage, ignore_message
from winnow.embed.keras_import import function_to_onnx, import_keras
from winnow.embed.recipe import Recipe
from winnow.embed.weights import Weights, find_weights, imagenet_file

BOTTLENECK = "block_16_project_BN"
RESIDUAL_BLOCKS = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)  # blocks that add their input to their output
PARITY_IMAGES = 8  # images on which an export is compared with Keras
TOLERANCE = 1e-3  # largest absolute difference from Keras that an export may show
OPSET = 17  # tf2onnx writes up to 18; heads are written with 17 too, so that both can be merged
FORMAT = "1"  # of the exported graph: raise it if the export changes what the graph computes


@dataclass(frozen=True)
class Backbone:
    """An exported backbone.

    file: the ONNX file.
    recipe: preprocessing and options of the network.
    weights: the weights that it was exported from.
    parity: largest absolute difference from Keras, in either output, on real images.
    dimension: shape of one embedding, (D,) or (H, W, D).
    bottleneck: width of the bottleneck vector.
    """

    file: Path
    recipe: Recipe
    weights: Weights
    parity: float
    dimension: tuple[int, ...]
    bottleneck: int

    @property
    def key(self) -> str:
        """Name of the table that holds its vectors, see `Recipe.key`."""
        return self.recipe.key(self.weights.digest)


def cache_folder() -> Path:
    """Return the user's folder of exported backbones: `$WINNOW_CACHE`, or else the platform's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("WINNOW_CACHE") or user_cache_path("winnow", appauthor=False)).expanduser()


def load_or_export(
    recipe: Recipe, parity_images: Callable[[], np.ndarray], on_message: OnMessage = ignore_message
) -> Backbone:
    """Load the backbone of a recipe from the cache, or export it. A cached one needs no TensorFlow.

    Parameters: `parity_images`, returns uint8 (n, S, S, 3) real images on which an export is compared with Keras; only
    called if there is something to export.
    Raises: InputError if the weights or TensorFlow are missing, the cache cannot be written, or the export differs from
    Keras.
    """
    folder = cache_folder()
    if recipe.weights == "imagenet" and not imagenet_file(recipe.alpha).is_file():
        for cached in sorted(folder.glob(f"{_file_stem(recipe)}-*.onnx")):
            with contextlib.suppress(InputError):  # the weights were deleted, but their export is still here
                return load_backbone(cached, recipe)
    weights = find_weights(recipe)
    file = folder / f"{_file_stem(recipe)}-{weights.digest[:12]}.onnx"
    with contextlib.suppress(InputError):  # not exported yet, or damaged
        return replace(load_backbone(file, recipe), recipe=recipe, weights=weights)
    on_message("Exporting MobileNetV2 to ONNX and comparing it with Keras (once for these options)")
    _write(export(recipe, weights, parity_images()), file)
    return replace(load_backbone(file, recipe), recipe=recipe, weights=weights)


def _file_stem(recipe: Recipe) -> str:
    name = recipe.weights if recipe.weights in ("imagenet", "random") else "own"
    return f"mobilenet_v2-{name}-{digest(recipe.graph_options() | {'format': FORMAT})[:8]}"


def _write(model: Any, file: Path) -> None:
    """Write the file atomically: a killed export leaves no partial file in the cache."""
    try:
        with atomic_write(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(
            f"{file.parent}: {error.strerror}; make room there or set WINNOW_CACHE to another folder"
        ) from None


def load_backbone(file: Path, recipe: Recipe | None = None) -> Backbone:
    """Load an exported backbone from the metadata of its file.

    Parameters: `recipe`, whose `resize` is used (the graph does not contain it).
    Raises: InputError if the file is missing, damaged or was not exported by Winnow, or if an option of `recipe` that
    differs from the default contradicts the file.
    """
    import onnxruntime  # which is needed anyway: `onnx` takes several times as long to import and to read the file

    if not file.is_file():
        raise InputError(f"{file}: no such file", remedy="backbone-file")
    requested = recipe or Recipe()
    try:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # errors are raised anyway; logging would print them a second time
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        metadata = json.loads(session.get_modelmeta().custom_metadata_map["winnow_backbone"])
        backbone = Backbone(
            file=file,
            recipe=replace(requested, weights=metadata["weights_name"], **metadata["graph"]),
            weights=Weights(metadata["weights"], None),
            parity=metadata["parity"],
            dimension=tuple(metadata["dimension"]),
            bottleneck=metadata["bottleneck"],
        )
    except Exception as error:  # onnxruntime raises a dozen types on damaged or foreign files
        raise InputError(
            f"{file} is not a backbone that Winnow exported ({type(error).__name__}): export it again"
        ) from None
    for name, value in requested.graph_options().items():
        actual = getattr(backbone.recipe, name)
        if value not in (getattr(Recipe(), name), actual):
            message = f"{file} was exported with {name} {actual!r}, not {value!r}"
            raise InputError(message, remedy="backbone-option", option=name)
    return backbone


def build_keras_function(recipe: Recipe, weights: Weights) -> tuple[Any, Any]:
    """Build the reference that is exported.

    Returns: a Keras model whose outputs are the maps of the recipe's layers and of the bottleneck, and a tf.function
    from uint8 (batch, S, S, 3) to {"embedding", "bottleneck"}.
    Raises: InputError if TensorFlow is missing, the weights do not fit the network, or it has no such layer.
    """
    keras, tf = import_keras("exporting the backbone", remedy="backbone-without-tensorflow")
    network = build_network(keras, recipe, weights)
    known = [layer.name for layer in network.layers if len(layer.output.shape) == 4]
    for name in recipe.layers:
        if name not in known:
            similar = get_close_matches(name, known, n=3) or known[:-4:-1]
            raise InputError(f"the network has no layer {name!r}, but {', '.join(similar)}", remedy="layer-names")
    layers = [network.get_layer(name).output for name in (*recipe.layers, BOTTLENECK)]
    model = keras.Model(network.input, layers)

    def function(image: Any) -> dict[str, Any]:
        pixels = tf.cast(image, tf.float32)
        if recipe.scale == "symmetric":
            pixels = keras.applications.mobilenet_v2.preprocess_input(pixels)
        *maps, bottleneck = model(pixels, training=False)
        means = [tf.reduce_mean(map_, axis=(1, 2)) for map_ in maps]
        embedding = maps[0] if recipe.pool == "none" else tf.concat(means, axis=1) if len(means) > 1 else means[0]
        return {"embedding": embedding, "bottleneck": tf.reduce_mean(bottleneck, axis=(1, 2))}

    signature = tf.TensorSpec((None, recipe.size, recipe.size, 3), tf.uint8, name="image")
    return model, tf.function(function, input_signature=[signature])


def build_network(keras: Any, recipe: Recipe, weights: Weights) -> Any:
    """Build Keras' MobileNetV2 without its classification layer, for the recipe's input size, with these weights.

    Raises: InputError if the weights do not fit.
    """
    if weights.file is None:
        keras.utils.set_random_seed(0)
    shape = (recipe.size, recipe.size, 3)
    network = keras.applications.MobileNetV2(input_shape=shape, alpha=recipe.alpha, include_top=False, weights=None)
    if weights.file is not None:
        try:
            network.load_weights(weights.file)
        except Exception as error:  # h5py and Keras raise OSError, ValueError, KeyError … on files that do not fit
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{weights.file} does not fit MobileNetV2 {recipe.alpha} without top: {reason}") from None
    else:
        _calibrate_batch_norms(network, recipe.size)
    return network


def finetune_input_layer(unfreeze: int) -> str:
    """Name the Keras layer whose feature map is the input of the last `unfreeze` blocks (1 to 16)."""
    block = 16 - unfreeze
    if block == 0:
        return "expanded_conv_project_BN"
    return f"block_{block}_{'add' if block in RESIDUAL_BLOCKS else 'project_BN'}"


def _calibrate_batch_norms(network: Any, size: int) -> None:
    """Set the statistics of an untrained network's batch norms from seeded soft noise.

    Without it the signal fades to nothing on its way through the layers.
    """
    noise = np.random.default_rng(0).uniform(-1, 1, (16, 7, 7, 3)).astype(np.float32)
    steps = np.arange(size) * 7 // size
    batch_norms = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in batch_norms:
        layer.momentum = 0.0  # the moving statistics become those of this one batch
    network(noise[:, steps][:, :, steps], training=True)


def export(recipe: Recipe, weights: Weights, parity_images: np.ndarray) -> Any:
    """Export a recipe to ONNX and compare it with Keras on `parity_images`, uint8 (n, S, S, 3), n >= 1.

    Returns: onnx.ModelProto whose metadata holds the recipe, the weights' digest and the largest difference.
    Raises: InputError if the difference exceeds `TOLERANCE`, or as `build_keras_function` does.
    """
    import onnx

    _, function = build_keras_function(recipe, weights)
    proto = function_to_onnx(function, function.input_signature, OPSET)
    expected = {name: tensor.numpy() for name, tensor in function(parity_images).items()}
    proto = _tidy(proto)
    parity = _parity(proto, parity_images, expected)
    if not parity <= TOLERANCE:  # written so that NaN is refused too
        raise InputError(f"the exported graph differs from Keras by {parity:.2g}, more than {TOLERANCE:g}: not kept")
    metadata = {
        "graph": recipe.graph_options(),
        "weights": weights.digest,
        "weights_name": recipe.weights,
        "parity": parity,
        "dimension": expected["embedding"].shape[1:],
        "bottleneck": expected["bottleneck"].shape[1],
    }
    onnx.helper.set_model_props(proto, {"winnow_backbone": json.dumps(metadata), "recipe": str(recipe)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _tidy(proto: Any) -> Any:
    """Put `embedding` first, name the free axis `batch` (tf2onnx calls it unk__N) and infer all shapes again."""
    import onnx

    outputs = sorted(proto.graph.output, key=lambda value: value.name != "embedding")
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(proto)


def _parity(proto: Any, images: np.ndarray, expected: dict[str, np.ndarray]) -> float:
    """Largest absolute difference between the outputs of the graph and the expected ones."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(list(expected), {"image": images})
    return float(
        max(np.abs(exported - keras).max() for exported, keras in zip(outputs, expected.values(), strict=True))
    )

"""Keras MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) as one ONNX file: exported, compared with Keras, cached.

The graph takes `image`, uint8 (batch, S, S, 3), scales it inside, and gives in one pass `embedding`, float32 (batch, D)
or (batch, H, W, D), and `bottleneck`, float32 (batch, B): the mean of the linear layer before the last expansion.
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

from winnow.common.atomic_write import whole_file
from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.embed.keras_import import import_keras, to_onnx
from winnow.embed.recipe import Recipe
from winnow.embed.weights import Weights, find, imagenet_file

BOTTLENECK = "block_16_project_BN"
RESIDUAL = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)  # blocks that add their input to what they make of it
PARITY_PICTURES = 8  # on which an export is compared with Keras
TOLERANCE = 1e-3  # largest difference from Keras that an export may show
OPSET = 17  # the newest that tf2onnx writes is 18; heads are written with 17 too, so that they can be joined
FORMAT = "1"  # of the exported graph: raise it when the export changes what the graph computes


@dataclass(frozen=True)
class Backbone:
    """An exported backbone: the file, the recipe it follows, its weights, and how far it is from Keras."""

    file: Path
    recipe: Recipe
    weights: Weights
    parity: float  # largest absolute difference from Keras on real pictures, either output
    dimension: tuple[int, ...]  # of one embedding: (D,) or (H, W, D)
    bottleneck: int

    @property
    def key(self) -> str:
        """Name of the table that its vectors belong to."""
        return self.recipe.key(self.weights.digest)


def cache_folder() -> Path:
    """Where exported backbones are kept for this user: `$WINNOW_CACHE`, else the platform's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("WINNOW_CACHE") or user_cache_path("winnow", appauthor=False)).expanduser()


def obtain(
    recipe: Recipe, pictures: Callable[[], np.ndarray], on_message: Callable[[str], None] = lambda _: None
) -> Backbone:
    """The backbone of a recipe from the cache, or exported now. A cached one is found without TensorFlow.

    Parameters: `pictures`, gives uint8 (n, S, S, 3) real pictures to compare the export with Keras on; called only when
    there is something to export; `on_message`, told what takes long.
    Raises: InputError when the weights, TensorFlow or a place to write are missing, or the export is not like Keras.
    """
    folder = cache_folder()
    if recipe.weights == "imagenet" and not imagenet_file(recipe.alpha).is_file():
        for made in sorted(folder.glob(f"{_stem(recipe)}-*.onnx")):
            with contextlib.suppress(InputError):  # the weights have gone, what was made of them is still here
                return load(made, recipe)
    weights = find(recipe)
    file = folder / f"{_stem(recipe)}-{weights.digest[:12]}.onnx"
    with contextlib.suppress(InputError):  # not there yet, or damaged
        return replace(load(file, recipe), recipe=recipe, weights=weights)
    on_message("Exporting MobileNetV2 to ONNX and comparing it with Keras (once for these options)")
    _write(export(recipe, weights, pictures()), file)
    return replace(load(file, recipe), recipe=recipe, weights=weights)


def _stem(recipe: Recipe) -> str:
    name = recipe.weights if recipe.weights in ("imagenet", "random") else "own"
    return f"mobilenet_v2-{name}-{digest(recipe.graph() | {'format': FORMAT})[:8]}"


def _write(model: Any, file: Path) -> None:
    """Whole or not at all: a killed export leaves no half file in the cache."""
    try:
        with whole_file(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(
            f"{file.parent}: {error.strerror}; make room there or set WINNOW_CACHE to another folder"
        ) from None


def load(file: Path, recipe: Recipe | None = None) -> Backbone:
    """Read what an exported file says of itself.

    Parameters: `recipe`, whose `resize` is taken over (it is not in the graph).
    Raises: InputError when the file is missing, damaged, or was not exported by Winnow, or an option of `recipe` that
    is not the usual one is another than that of the file.
    """
    import onnxruntime  # which is needed anyway: `onnx` takes several times as long to load and to read it

    if not file.is_file():
        raise InputError(f"{file}: no such file; --backbone takes an ONNX file that `winnow embed` exported")
    wanted = recipe or Recipe()
    try:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # errors are raised: printed, they would be told twice
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        said = json.loads(session.get_modelmeta().custom_metadata_map["winnow_backbone"])
        made = Backbone(
            file=file,
            recipe=replace(wanted, weights=said["weights_name"], **said["graph"]),
            weights=Weights(said["weights"], None),
            parity=said["parity"],
            dimension=tuple(said["dimension"]),
            bottleneck=said["bottleneck"],
        )
    except Exception as error:  # onnxruntime raises a dozen kinds on foreign bytes
        raise InputError(
            f"{file} is not a backbone that Winnow exported ({type(error).__name__}): export it again"
        ) from None
    for name, value in wanted.graph().items():
        own = getattr(made.recipe, name)
        if value not in (getattr(Recipe(), name), own):
            raise InputError(f"{file} was exported with {name} {own!r}, not {value!r}: leave the option out")
    return made


def keras_function(recipe: Recipe, weights: Weights) -> tuple[Any, Any]:
    """Keras' network (of its layers' maps), and the tf.function uint8 (batch, S, S, 3) -> {embedding, bottleneck}.

    Raises: InputError when TensorFlow is missing or the weights do not fit the network.
    """
    keras, tf = import_keras("exporting the backbone", "use --backbone FILE.onnx")
    net = network(keras, recipe, weights)
    known = [layer.name for layer in net.layers if len(layer.output.shape) == 4]
    for name in recipe.layers:
        if name not in known:
            near = get_close_matches(name, known, n=3) or known[:-4:-1]
            every = "python -c 'import keras; keras.applications.MobileNetV2(weights=None).summary()'"
            raise InputError(f"the network has no layer {name!r}, but {', '.join(near)}; {every} lists all")
    layers = [net.get_layer(name).output for name in (*recipe.layers, BOTTLENECK)]
    every = keras.Model(net.input, layers)

    def function(image: Any) -> dict[str, Any]:
        pixels = tf.cast(image, tf.float32)
        if recipe.scale == "symmetric":
            pixels = keras.applications.mobilenet_v2.preprocess_input(pixels)
        *maps, bottleneck = every(pixels, training=False)
        means = [tf.reduce_mean(one, axis=(1, 2)) for one in maps]
        embedding = maps[0] if recipe.pool == "none" else tf.concat(means, axis=1) if len(means) > 1 else means[0]
        return {"embedding": embedding, "bottleneck": tf.reduce_mean(bottleneck, axis=(1, 2))}

    signature = tf.TensorSpec((None, recipe.size, recipe.size, 3), tf.uint8, name="image")
    return every, tf.function(function, input_signature=[signature])


def network(keras: Any, recipe: Recipe, weights: Weights) -> Any:
    """Keras' MobileNetV2 without its top, for pictures of the size of the recipe, with these weights.

    Raises: InputError when they do not fit.
    """
    if weights.file is None:
        keras.utils.set_random_seed(0)
    shape = (recipe.size, recipe.size, 3)
    net = keras.applications.MobileNetV2(input_shape=shape, alpha=recipe.alpha, include_top=False, weights=None)
    if weights.file is not None:
        try:
            net.load_weights(weights.file)
        except Exception as error:  # h5py and Keras raise OSError, ValueError, KeyError … on files that do not fit
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{weights.file} does not fit MobileNetV2 {recipe.alpha} without top: {reason}") from None
    else:
        _settle(net, recipe.size)
    return net


def front(unfreeze: int) -> str:
    """The Keras layer whose map the last `unfreeze` blocks (1 to 16) begin with."""
    block = 16 - unfreeze
    if block == 0:
        return "expanded_conv_project_BN"
    return f"block_{block}_{'add' if block in RESIDUAL else 'project_BN'}"


def _settle(net: Any, size: int) -> None:
    """Set the batch norms of an untrained network from seeded soft noise; without it the signal fades to nothing."""
    noise = np.random.default_rng(0).uniform(-1, 1, (16, 7, 7, 3)).astype(np.float32)
    steps = np.arange(size) * 7 // size
    norms = [layer for layer in net.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in norms:
        layer.momentum = 0.0  # the moving statistics become those of this one batch
    net(noise[:, steps][:, :, steps], training=True)


def export(recipe: Recipe, weights: Weights, pictures: np.ndarray) -> Any:
    """The ONNX model of a recipe, compared with Keras on `pictures`, uint8 (n, S, S, 3), n >= 1.

    Returns: onnx.ModelProto whose metadata holds the recipe, the weights' digest and the largest difference.
    Raises: InputError when the largest difference passes `TOLERANCE`, or as `keras_function` does.
    """
    import onnx

    _, function = keras_function(recipe, weights)
    proto = to_onnx(function, function.input_signature, OPSET)
    expected = {name: tensor.numpy() for name, tensor in function(pictures).items()}
    proto = _tidy(proto)
    parity = _parity(proto, pictures, expected)
    if not parity <= TOLERANCE:  # NaN is refused too
        raise InputError(f"the exported graph differs from Keras by {parity:.2g}, more than {TOLERANCE:g}: not kept")
    said = {
        "graph": recipe.graph(),
        "weights": weights.digest,
        "weights_name": recipe.weights,
        "parity": parity,
        "dimension": expected["embedding"].shape[1:],
        "bottleneck": expected["bottleneck"].shape[1],
    }
    onnx.helper.set_model_props(proto, {"winnow_backbone": json.dumps(said), "recipe": str(recipe)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _tidy(proto: Any) -> Any:
    """Put `embedding` first, name the free axis `batch` (tf2onnx calls it unk__N) and infer every shape anew."""
    import onnx

    outputs = sorted(proto.graph.output, key=lambda value: value.name != "embedding")
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(proto)


def _parity(proto: Any, pictures: np.ndarray, expected: dict[str, np.ndarray]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(list(expected), {"image": pictures})
    return float(max(np.abs(mine - keras).max() for mine, keras in zip(outputs, expected.values(), strict=True)))

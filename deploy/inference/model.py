"""Load an exported model that may come from anyone: check the file before it is run, and run it on onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.embed.backends import create_single_thread_session
from winnow.embed.config import TTA_OF_0_1_0
from winnow.embed.recipe import Recipe
from winnow.heads.kinds import current_kind

FORMAT = 1  # newest format that is read; raise it when an old reader would misunderstand the file
ID_DIGITS = 12  # leading digits of a picture's sha256, by which a model lists its training and validation pictures
MAX_BYTES = 2**31  # no ONNX file can be larger
OUTPUTS = ("label", "probabilities", "embedding", "familiarity")

# Metadata that every model has: JSON values by type, and plain texts.
_JSON_KEYS: dict[str, type] = {"labels": list, "trained_on": list}
_JSON_KEYS |= dict.fromkeys(("recipe", "params", "familiarity", "metrics", "training", "parity"), dict)
_TEXT_KEYS = ("winnow", "preprocessing", "backbone", "weights", "precision", "tta", "kind", "created")
_ALLOWED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_FORBIDDEN_OPERATORS = ("Loop", "Scan")  # they may never end
_DYNAMIC_DIMENSIONS = ("batch", "height", "width")

# uint8 (B, S, S, 3) -> label object (B,), probabilities float32 (B, C), familiarity float32 (B,)
Session = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Model:
    """A backbone and a head in one ONNX file, with its metadata.

    labels : in the order of the probabilities.
    recipe : how a picture becomes the square that the backbone takes.
    any_size : the graph resizes by itself and takes one picture (H, W, 3) at a time.
    threshold : of familiarity; a picture below it is called unfamiliar.
    metadata : all of it, JSON decoded.
    content : the bytes that were checked, and that are run.
    """

    file: Path
    labels: list[str]
    recipe: Recipe
    any_size: bool
    threshold: float
    metadata: dict[str, Any]
    content: bytes = field(repr=False)

    def session(self) -> Session:
        """Start onnxruntime on the CPU, one thread per inference; the result may be called from many threads at once.

        It takes uint8 (B, S, S, 3), with `any_size` (1, H, W, 3), and returns labels, object (B,), probabilities,
        float32 (B, C), and familiarity, float32 (B,). Raises: InputError when the file cannot be run, or its outputs do
        not fit its metadata.
        """
        try:
            session = create_single_thread_session(self.content, arena=not self.any_size)
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise self._run_error(error) from None
        names = [name for name in OUTPUTS if name != "embedding"]

        def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            try:
                image = pixels[0] if self.any_size else pixels
                label, probabilities, familiarity = session.run(names, {"image": image})
            except Exception as error:
                raise self._run_error(error) from None
            rows = (len(pixels),)
            if not label.shape == familiarity.shape == rows or probabilities.shape != (*rows, len(self.labels)):
                raise self._output_error()
            return label, probabilities, familiarity

        self._check_session_labels(run)
        return run

    def _check_session_labels(self, run: Session) -> None:
        """Run two pictures, in one batch where possible. Raises: InputError when a label is not the most probable."""
        size = self.recipe.size
        pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        pixels[0] = 128
        for batch in (pixels[:1], pixels[1:]) if self.any_size else (pixels,):
            label, probabilities, _ = run(batch)
            if label.tolist() != [self.labels[column] for column in probabilities.argmax(axis=1)]:
                raise self._output_error()

    def _run_error(self, error: Exception) -> InputError:
        return InputError(f"{self.file} cannot be run ({_one_line(error)})", remedy="replace-model")

    def _output_error(self) -> InputError:
        return InputError(f"{self.file} returns outputs that do not fit its metadata", remedy="replace-model")


def load(file: Path) -> Model:
    """Read an exported model and check it without running any of it. Models of version 0.1.0 are read, too.

    Raises: InputError, one line that names the file, for anything else.
    """
    import onnx

    content = _read(file)
    try:
        proto = onnx.load_model_from_string(content)
        metadata = _read_metadata(proto)
        recipe = Recipe(**metadata["recipe"])
        _check_self_contained(proto)
        _check_inputs_and_outputs(proto.graph, recipe, metadata)
        _check_graph_labels(proto.graph, metadata["labels"])
    except InputError as error:
        raise InputError(f"{file} {error}", error.remedy, **error.details) from None
    except Exception as error:  # protobuf and onnx raise a dozen kinds on foreign bytes
        raise InputError(
            f"{file} is no ONNX file, is cut off or damaged ({type(error).__name__})", remedy="replace-model"
        ) from None
    any_size, threshold = metadata["input"] == "any", float(metadata["familiarity_threshold"])
    return Model(file, metadata["labels"], recipe, any_size, threshold, metadata, content)


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise InputError(f"{file} is a folder, not a model", remedy="name-model")
    if not file.exists():
        raise InputError(f"{file}: no such file", remedy="name-model")
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{file} is no regular file below {MAX_BYTES >> 30} GiB, as a model is", remedy="replace-model"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="replace-model") from None
    if not content:
        raise InputError(f"{file} is empty", remedy="replace-model")
    return content


def _read_metadata(proto: Any) -> dict[str, Any]:
    """The metadata, JSON decoded and checked. Raises: InputError without the file's name."""
    metadata: dict[str, Any] = {entry.key: entry.value for entry in proto.metadata_props}
    _check_format(proto, metadata)
    for name, kind in _JSON_KEYS.items():
        try:
            metadata[name] = json.loads(metadata[name])
        except (KeyError, ValueError, RecursionError):
            raise InputError(f"has no readable {name!r} in its metadata", remedy="replace-model") from None
        if not isinstance(metadata[name], kind):
            raise InputError(f"has a {name!r} in its metadata that is no {kind.__name__}", remedy="replace-model")
    metadata = _rename_old_keys(metadata)
    missing = [name for name in _TEXT_KEYS if not metadata.get(name)]
    if missing:
        raise InputError(f"has no {missing[0]!r} in its metadata", remedy="replace-model")
    labels = metadata["labels"]
    checks = {
        "labels": labels and all(isinstance(label, str) for label in labels) and len({*labels}) == len(labels),
        "trained_on": all(isinstance(id, str) for id in metadata["trained_on"]),
        "input": metadata.get("input") in ("square", "any"),
        "familiarity_threshold": _is_share(metadata.get("familiarity_threshold", "")),
        "recipe": _is_recipe(metadata["recipe"]),
    }
    for name, is_valid in checks.items():
        if not is_valid:
            raise InputError(f"has an invalid {name!r} in its metadata", remedy="replace-model")
    return metadata


def _rename_old_keys(metadata: dict[str, Any]) -> dict[str, Any]:
    """Translate what version 0.1.0 wrote: `test_views` ("one", "mirror", "mean") to `tta` ("none", "flip", "mean"), and
    old kinds of heads."""

    def rename(document: dict[str, Any]) -> dict[str, Any]:
        if "test_views" not in document:
            return document
        renamed = {name: value for name, value in document.items() if name != "test_views"}
        return renamed | {"tta": TTA_OF_0_1_0.get(document["test_views"], document["test_views"])}

    kind = current_kind(metadata.get("kind", ""))
    return rename(metadata) | {"metrics": rename(metadata["metrics"]), "kind": kind}


def _check_format(proto: Any, metadata: dict[str, str]) -> None:
    version = metadata.get("winnow_model", "")
    if version == str(FORMAT):
        return
    if version.isdecimal() and int(version) > FORMAT:
        raise InputError(f"was written by a newer Winnow (format {_one_line(version)})", remedy="update")
    if "winnow_backbone" in metadata:
        raise InputError("is only a backbone, without a head", remedy="export-model")
    if [value.name for value in proto.graph.input] == ["embedding"] and "labels" in metadata:
        raise InputError("is only a head, without the backbone", remedy="export-model")
    if not proto.graph.node:
        raise InputError("is no ONNX file, or is cut off", remedy="replace-model")
    raise InputError("is not a model that Winnow exported", remedy="export-model")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _is_recipe(fields: dict[str, Any]) -> bool:
    try:
        return isinstance(Recipe(**fields).weights, str)
    except (InputError, TypeError):
        return False


def _check_self_contained(proto: Any) -> None:
    """Everything is in the file, and every onnxruntime can run it. Raises: InputError without the file's name."""
    for message in _messages(proto):
        if message.DESCRIPTOR.name == "TensorProto" and (message.external_data or message.data_location):
            raise InputError(
                "keeps numbers in other files (external data), which no exported model does", remedy="replace-model"
            )
        if message.DESCRIPTOR.name in ("NodeProto", "FunctionProto"):
            operator = _one_line(getattr(message, "op_type", message.name))
            if message.domain not in _ALLOWED_DOMAINS:
                raise InputError(
                    f"needs {_one_line(message.domain)}.{operator}, which is no operator of ONNX",
                    remedy="replace-model",
                )
            if operator in _FORBIDDEN_OPERATORS:
                raise InputError(
                    f"has a {operator}, which may never end and no exported model has", remedy="replace-model"
                )


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages nested in it: subgraphs, attributes, functions."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for nested in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(nested)


def _check_inputs_and_outputs(graph: Any, recipe: Recipe, metadata: dict[str, Any]) -> None:
    """Compare names, types and shapes with the format. Raises: InputError without the file's name."""
    from onnx import TensorProto

    any_size = metadata["input"] == "any"
    image: Shape = ("height", "width", 3) if any_size else ("batch", recipe.size, recipe.size, 3)
    batch: int | str = 1 if any_size else "batch"
    embedding: Shape = (batch, "D") if recipe.pool == "avg" else (batch, "H", "W", "D")
    shapes: list[Shape] = [(batch,), (batch, len(metadata["labels"])), embedding, (batch,)]
    types = [TensorProto.STRING, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT]
    expected = [("image", TensorProto.UINT8, image), *zip(OUTPUTS, types, shapes, strict=True)]
    actual = [_tensor_info(value) for value in (*graph.input, *graph.output)]
    if len(graph.input) != 1 or len(actual) != len(expected):
        names = ", ".join(_one_line(name) for name, *_ in actual)
        raise InputError(
            f"has other inputs and outputs ({names}) than a model that Winnow exported", remedy="replace-model"
        )
    for tensor, wanted in zip(actual, expected, strict=True):
        if tensor[:2] != wanted[:2] or not _shape_fits(tensor[2], wanted[2]):
            raise InputError(
                f"has {_describe_tensor(*tensor)} where {_describe_tensor(*wanted)} is expected", remedy="replace-model"
            )


def _tensor_info(value: Any) -> tuple[str, int, Shape]:
    """Name, element type and shape of an input or output."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim)


def _shape_fits(shape: Shape, expected: Shape) -> bool:
    """Whether a shape is the expected one; in that a name allows any size, or one of `_DYNAMIC_DIMENSIONS` no fixed
    one."""
    return len(shape) == len(expected) and all(
        side == wanted if isinstance(wanted, int) else isinstance(side, str) or wanted not in _DYNAMIC_DIMENSIONS
        for side, wanted in zip(shape, expected, strict=True)
    )


def _describe_tensor(name: str, element_type: int, shape: Shape) -> str:
    from onnx import TensorProto

    type_names = {number: text.lower() for text, number in TensorProto.DataType.items()}
    return _one_line(f"{name} {type_names.get(element_type, '?')} [{', '.join(map(str, shape))}]")


def _check_graph_labels(graph: Any, labels: list[str]) -> None:
    """Compare the labels in the graph with the metadata. Raises: InputError without the file's name."""
    from onnx import TensorProto

    texts = [[*tensor.string_data] for tensor in graph.initializer if tensor.data_type == TensorProto.STRING]
    if texts != [[label.encode() for label in labels]]:
        raise InputError("has other labels in its graph than in its metadata", remedy="replace-model")


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:120]

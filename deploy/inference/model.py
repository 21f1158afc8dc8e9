"""A model file as anyone may hand it over: checked before it is run, and run on onnxruntime alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.embed.backends import create_single_thread_session
from winnow.embed.recipe import Recipe

FORMAT = 1  # the newest that is read; raise it when an old reader would misunderstand the file
ID_DIGITS = 12  # of the sha256 of a picture, by which a model names those that it was trained or chosen on
MAX_BYTES = 2**31  # no ONNX file can be larger
OUTPUTS = ("label", "probabilities", "embedding", "familiarity")

# Metadata that every model has: kinds of JSON values, and plain texts.
_JSON: dict[str, type] = {"labels": list, "trained_on": list}
_JSON |= dict.fromkeys(("recipe", "params", "familiarity", "metrics", "training", "parity"), dict)
_TEXTS = ("winnow", "preprocessing", "backbone", "weights", "precision", "tta", "kind", "created")
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_ENDLESS = ("Loop", "Scan")
_OPEN = ("batch", "height", "width")  # dimensions that are not the same every time
_ANEW = "copy it again, or make it with `winnow export RUN`"

# uint8 (B, S, S, 3) -> label object (B,), probabilities float32 (B, C), familiarity float32 (B,)
Session = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Model:
    """A backbone and a head in one ONNX file, and what it says of itself.

    labels: in the order of the probabilities.
    recipe: how a picture becomes the square that the network sees.
    any_size: the graph does that itself, and takes one picture (H, W, 3) at a time.
    threshold: of familiarity; a picture below it is called unfamiliar.
    said: the metadata, JSON decoded.
    content: the bytes that were checked, and are run.
    """

    file: Path
    labels: list[str]
    recipe: Recipe
    any_size: bool
    threshold: float
    said: dict[str, Any]
    content: bytes = field(repr=False)

    def session(self) -> Session:
        """What runs it on the CPU, one thread an inference; call it from as many threads as there are processors.

        It takes uint8 (B, S, S, 3), with `any_size` (1, H, W, 3), and gives label, object (B,); probabilities, float32
        (B, C); familiarity, float32 (B,). Raises: InputError when the file cannot be run, or does not do what it says.
        """
        try:
            made = create_single_thread_session(self.content, arena=not self.any_size)
        except Exception as error:  # onnxruntime has no common base class for what it raises
            raise self._not_run(error) from None
        names = [name for name in OUTPUTS if name != "embedding"]

        def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            try:
                label, probabilities, familiarity = made.run(names, {"image": pixels[0] if self.any_size else pixels})
            except Exception as error:
                raise self._not_run(error) from None
            rows = (len(pixels),)
            if not label.shape == familiarity.shape == rows or probabilities.shape != (*rows, len(self.labels)):
                raise self._not_as_said()
            return label, probabilities, familiarity

        self._probe(run)
        return run

    def _probe(self, run: Session) -> None:
        """Two pictures, together where that can be. Raises: InputError when they get other labels than the largest."""
        size = self.recipe.size
        pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        pixels[0] = 128
        for given in (pixels[:1], pixels[1:]) if self.any_size else (pixels,):
            label, probabilities, _ = run(given)
            if label.tolist() != [self.labels[column] for column in probabilities.argmax(axis=1)]:
                raise self._not_as_said()

    def _not_run(self, error: Exception) -> InputError:
        return InputError(f"{self.file} cannot be run ({_one_line(error)}): {_ANEW}")

    def _not_as_said(self) -> InputError:
        return InputError(f"{self.file} does not give what it says of itself: {_ANEW}")


def load(file: Path) -> Model:
    """Read a model that `winnow export` made, and check it without running any of it.

    Raises: InputError, one line that names the file and says what to do, for whatever else there is.
    """
    import onnx

    content = _read(file)
    try:
        proto = onnx.load_model_from_string(content)
        said = _metadata(proto)
        recipe = Recipe(**said["recipe"])
        _check_closed(proto)
        _check_ends(proto.graph, recipe, said)
        _check_labels(proto.graph, said["labels"])
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    except Exception as error:  # protobuf and onnx raise a dozen kinds on foreign bytes
        raise InputError(f"{file} is no ONNX file, is cut off or damaged ({type(error).__name__}): {_ANEW}") from None
    threshold = float(said["familiarity_threshold"])
    return Model(file, said["labels"], recipe, said["input"] == "any", threshold, said, content)


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise InputError(f"{file} is a folder: name the model in it, a FILE.onnx that `winnow export RUN` made")
    if not file.exists():
        raise InputError(f"{file}: no such file; `winnow export RUN` makes a model")
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file} is no ordinary file below {MAX_BYTES >> 30} GiB, as a model is: {_ANEW}")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; mend that, or {_ANEW}") from None
    if not content:
        raise InputError(f"{file} is empty: {_ANEW}")
    return content


def _metadata(proto: Any) -> dict[str, Any]:
    """The metadata, JSON decoded and of the right kinds. Raises: InputError without the file's name."""
    said: dict[str, Any] = {entry.key: entry.value for entry in proto.metadata_props}
    _check_format(proto, said)
    for name, kind in _JSON.items():
        try:
            said[name] = json.loads(said[name])
        except (KeyError, ValueError, RecursionError):
            raise InputError(f"has no {name!r} in its metadata that can be read: {_ANEW}") from None
        if not isinstance(said[name], kind):
            raise InputError(f"has a {name!r} in its metadata that is no {kind.__name__}: {_ANEW}")
    missing = [name for name in _TEXTS if not said.get(name)]
    if missing:
        raise InputError(f"has no {missing[0]!r} in its metadata: {_ANEW}")
    labels = said["labels"]
    good = {
        "labels": labels and all(isinstance(label, str) for label in labels) and len({*labels}) == len(labels),
        "trained_on": all(isinstance(id, str) for id in said["trained_on"]),
        "input": said.get("input") in ("square", "any"),
        "familiarity_threshold": _is_share(said.get("familiarity_threshold", "")),
        "recipe": _is_recipe(said["recipe"]),
    }
    for name, holds in good.items():
        if not holds:
            raise InputError(f"has a {name!r} in its metadata that cannot be: {_ANEW}")
    return said


def _check_format(proto: Any, said: dict[str, str]) -> None:
    version = said.get("winnow_model", "")
    if version == str(FORMAT):
        return
    if version.isdecimal() and int(version) > FORMAT:
        raise InputError(f"was made by a newer Winnow (format {_one_line(version)}): upgrade Winnow, or export it anew")
    if "winnow_backbone" in said:
        raise InputError("is only a backbone, without a head: `winnow export RUN` makes a model of both")
    if [value.name for value in proto.graph.input] == ["embedding"] and "labels" in said:
        raise InputError("is only a head, without the backbone: `winnow export RUN` makes a model of both")
    if not proto.graph.node:
        raise InputError(f"is no ONNX file, or is cut off: {_ANEW}")
    raise InputError("is not a model that Winnow exported: `winnow export RUN` makes one")


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


def _check_closed(proto: Any) -> None:
    """Everything is in the file, and is what every onnxruntime has. Raises: InputError without the file's name."""
    for message in _messages(proto):
        if message.DESCRIPTOR.name == "TensorProto" and (message.external_data or message.data_location):
            raise InputError(f"keeps numbers in other files (external data), which a model never does: {_ANEW}")
        if message.DESCRIPTOR.name in ("NodeProto", "FunctionProto"):
            kind = _one_line(getattr(message, "op_type", message.name))
            if message.domain not in _DOMAINS:
                raise InputError(f"needs {_one_line(message.domain)}.{kind}, which is no operator of ONNX: {_ANEW}")
            if kind in _ENDLESS:
                raise InputError(f"has a {kind}, which may never end and no model has: {_ANEW}")


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that lie in it: subgraphs, attributes, functions."""
    yield message
    for kind, value in message.ListFields():
        if kind.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(part)


def _check_ends(graph: Any, recipe: Recipe, said: dict[str, Any]) -> None:
    """Inputs and outputs are those of the contract. Raises: InputError without the file's name."""
    from onnx import TensorProto

    side = recipe.size
    any_size = said["input"] == "any"
    image = ("height", "width", 3) if any_size else ("batch", side, side, 3)
    batch: int | str = 1 if any_size else "batch"
    embedding = (batch, "D") if recipe.pool == "avg" else (batch, "H", "W", "D")
    shapes = [(batch,), (batch, len(said["labels"])), embedding, (batch,)]
    kinds = [TensorProto.STRING, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT]
    wanted = [("image", TensorProto.UINT8, image), *zip(OUTPUTS, kinds, shapes, strict=True)]
    found = [_end(value) for value in (*graph.input, *graph.output)]
    if len(graph.input) != 1 or len(found) != len(wanted):
        names = ", ".join(_one_line(name) for name, *_ in found)
        raise InputError(f"has other inputs and outputs ({names}) than a model that Winnow exported: {_ANEW}")
    for mine, right in zip(found, wanted, strict=True):
        if mine[:2] != right[:2] or not _fits(mine[2], right[2]):
            raise InputError(f"has {_in_words(*mine)} where {_in_words(*right)} is expected: {_ANEW}")


def _end(value: Any) -> tuple[str, int, tuple[int | str, ...]]:
    """Name, element type and shape of an input or output."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim)


def _fits(shape: tuple[int | str, ...], wanted: tuple[int | str, ...]) -> bool:
    """Whether a shape is the wanted one, in which a name stands for any size, and one of `_OPEN` for no fixed one."""
    return len(shape) == len(wanted) and all(
        mine == right if isinstance(right, int) else isinstance(mine, str) or right not in _OPEN
        for mine, right in zip(shape, wanted, strict=True)
    )


def _in_words(name: str, kind: int, shape: tuple[int | str, ...]) -> str:
    from onnx import TensorProto

    names = {number: text.lower() for text, number in TensorProto.DataType.items()}
    return _one_line(f"{name} {names.get(kind, '?')} [{', '.join(map(str, shape))}]")


def _check_labels(graph: Any, labels: list[str]) -> None:
    """The graph's own labels are those of the metadata. Raises: InputError without the file's name."""
    from onnx import TensorProto

    own = [[*tensor.string_data] for tensor in graph.initializer if tensor.data_type == TensorProto.STRING]
    if own != [[label.encode() for label in labels]]:
        raise InputError(f"has other labels in its graph than in its metadata: {_ANEW}")


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:120]

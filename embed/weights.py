"""Where the backbone's weights are, and how to come by them without waiting for ever."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.common.atomic_write import whole_file
from winnow.common.errors import InputError
from winnow.embed.recipe import Recipe

# Keras' own address of these weights (keras.applications.mobilenet_v2).
URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
HDF5 = b"\x89HDF\r\n\x1a\n"  # how Keras' weights begin
PATIENCE = 10.0  # seconds until a server must have answered, name look-up included


class WeightsMissing(InputError):
    """Weights that are neither here nor to be had; the message says which file to put where."""


@dataclass(frozen=True)
class Weights:
    """A set of weights: its sha256 (of the file, or of what seeds them) and its file; None for random ones."""

    digest: str
    file: Path | None


def keras_home() -> Path:
    """Keras' own folder: `$KERAS_HOME`, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()


def imagenet_file(alpha: float) -> Path:
    """Where Keras keeps the ImageNet weights of this width; every input size uses those trained at 224."""
    return keras_home() / "models" / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"


def find(recipe: Recipe) -> Weights:
    """The weights that a recipe names, downloaded when they are Keras' own and not here yet.

    Raises: WeightsMissing when they cannot be had, InputError when a named file is not one of weights.
    """
    if recipe.weights == "random":
        return Weights(hashlib.sha256(f"random, seed 0, alpha {recipe.alpha}".encode()).hexdigest(), None)
    if recipe.weights == "imagenet":
        file = imagenet_file(recipe.alpha)
        if not file.is_file():
            _download(file)
    else:
        file = Path(recipe.weights).expanduser()
        if not file.is_file():
            raise WeightsMissing(f"{file}: no such weights file; --weights takes imagenet, random or a Keras .h5 file")
        if file.suffix != ".h5":
            raise InputError(f"{file}: --weights takes a Keras file that ends in .h5 or .weights.h5")
    try:
        with file.open("rb") as stream:
            return Weights(hashlib.file_digest(stream, "sha256").hexdigest(), file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; check its permissions or put another copy there") from None


def _download(file: Path) -> None:
    """Fetch one of Keras' files, whole or not at all."""
    answer = _open_within(URL + file.name, PATIENCE)
    if answer is None:
        raise WeightsMissing(
            f"the ImageNet weights are not here and cannot be downloaded: put {file.name} into {file.parent} "
            "(or set KERAS_HOME), or use --weights random for an untrained backbone"
        )
    try:
        with answer, whole_file(file) as part:
            head = answer.read(len(HDF5))
            part.write(head)
            shutil.copyfileobj(answer, part)
            expected = int(answer.headers.get("Content-Length") or part.tell())
            if part.tell() != expected:
                raise OSError(f"{part.tell()} of {expected} bytes came")
            if head != HDF5:  # the page of a hotel's network
                raise OSError("what came is no weights file")
    except (OSError, http.client.HTTPException) as error:
        raise WeightsMissing(f"downloading {file.name} into {file.parent} failed ({error}): try again") from None


def _open_within(url: str, seconds: float) -> Any:
    """The open http.client.HTTPResponse, or None when nothing answered in time (a name look-up has no timeout)."""
    answers: list = []

    def attempt() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            answers.append(urllib.request.urlopen(url, timeout=seconds))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None

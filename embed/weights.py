"""The weights of the backbone: where they are, and their download with a time limit."""

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

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.embed.recipe import Recipe

# Keras' own address of these weights (keras.applications.mobilenet_v2).
URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"  # the first bytes of Keras' weights files
TIMEOUT = 10.0  # seconds within which a server must respond, name look-up included


class WeightsMissing(InputError):
    """The weights are neither on this machine nor downloadable; the message names the file and its folder."""


@dataclass(frozen=True)
class Weights:
    """A set of weights.

    digest: sha256 (hex) of the file, or of the seed's description for random weights.
    file: the Keras file; None for random weights, and for those known by their digest only.
    """

    digest: str
    file: Path | None


def keras_home() -> Path:
    """Return Keras' own folder: `$KERAS_HOME`, or else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()


def imagenet_file(alpha: float) -> Path:
    """Return the path at which Keras keeps the ImageNet weights of a width.

    Every input size uses the weights trained at 224 x 224.
    """
    return keras_home() / "models" / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"


def find_weights(recipe: Recipe) -> Weights:
    """Find the weights that a recipe names; Keras' own are downloaded if they are not on this machine.

    Raises: WeightsMissing if they cannot be obtained, InputError if a named file is not a Keras weights file.
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
            raise WeightsMissing(f"{file}: no such weights file; weights are imagenet, random or a Keras .h5 file")
        if file.suffix != ".h5":
            raise InputError(f"{file} is not a Keras weights file, whose name ends in .h5 or .weights.h5")
    try:
        return Weights(file_digest(file), file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; check its permissions or put another copy there") from None


def _download(file: Path) -> None:
    """Download one of Keras' files, completely or not at all."""
    response = _open_url(URL + file.name, TIMEOUT)
    if response is None:
        raise WeightsMissing(
            f"the ImageNet weights are not in {file.parent} (set KERAS_HOME for another folder) and cannot be "
            f"downloaded; their file is {file.name}",
            remedy="imagenet-weights",
        )
    try:
        with response, atomic_write(file) as part:
            head = response.read(len(HDF5_MAGIC))
            part.write(head)
            shutil.copyfileobj(response, part)
            expected = int(response.headers.get("Content-Length") or part.tell())
            if part.tell() != expected:
                raise OSError(f"{part.tell()} of {expected} bytes arrived")
            if head != HDF5_MAGIC:  # such as the login page of a hotel's network
                raise OSError("the response is not a weights file")
    except (OSError, http.client.HTTPException) as error:
        raise WeightsMissing(f"downloading {file.name} into {file.parent} failed ({error}): try again") from None


def _open_url(url: str, seconds: float) -> Any:
    """Open a URL: an http.client.HTTPResponse, or None if nothing responds in time.

    The request runs in a thread of its own, because a name look-up has no timeout.
    """
    responses: list = []

    def request() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            responses.append(urllib.request.urlopen(url, timeout=seconds))

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(seconds)
    return responses[0] if responses else None

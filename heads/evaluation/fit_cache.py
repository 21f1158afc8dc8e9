"""Stores fits as `DIGEST.npz` files, named by a digest of everything that the result of a fit depends on."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from tokenize import TokenError

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.versions import installed_version
from winnow.heads.evaluation.fit import Fit, HeadSpec, Split, Task, build
from winnow.heads.evaluation.metrics import ReliabilityBins

FORMAT = "4"  # raise it when the result of a fit changes although no parameter or library version does
_LIBRARIES = {"dense": ("keras", "tensorflow"), "finetune": ("keras", "tensorflow")}


def split_digest(task: Task, split: Split, validation: str) -> str:
    """Digest (hex) of the labels, groups and rows of a split, and of `task.key`, which stands for the features.

    Each array is preceded by its name and shape, so that no two different splits have the same digest.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, task.key, len(task.classes), validation]).encode())
    arrays = {name: getattr(split, name) for name in ("train", "val", "test", "second_test", "augmented")}
    arrays |= {"y": task.y, "groups": np.asarray(split.groups)[split.training_rows]}
    for name, array in arrays.items():
        if array is not None:
            digest.update(f"{name} {array.shape} ".encode() + np.asarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


def fit_digest(head: HeadSpec, split: str, seed: int) -> str:
    """Digest (hex) of a fit on a split with this digest.

    It contains all parameters, defaults included, and the versions of the libraries, but not the name of the head.
    """
    params = {name: repr(value) for name, value in build(head, seed).get_params().items()}
    libraries = {name: installed_version(name) for name in ("numpy", "scikit-learn", *_LIBRARIES.get(head.kind, ()))}
    return hashlib.sha256(json.dumps([split, head.kind, params, libraries], sort_keys=True).encode()).hexdigest()


def save(file: Path, fit: Fit) -> None:
    """Write a fit, whole or not at all."""
    document = {name: value for name, value in asdict(fit).items() if name not in ("proba", "y")}
    arrays = {f"{name}_{part}": array for name in ("proba", "y") for part, array in getattr(fit, name).items()}
    with atomic_write(file) as stream:
        np.savez(stream, fit=np.array(json.dumps(document)), **arrays)


def load(file: Path) -> Fit | None:
    """Read a fit; None when the file is missing or damaged: the head is then fitted again."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            document = json.loads(str(stored["fit"]))
            document["reliability"] = ReliabilityBins(**document["reliability"])
            for name in ("proba", "y"):
                document[name] = {part: stored[f"{name}_{part}"] for part in document["metrics"] if part != "train"}
            return Fit(**document)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    except (SyntaxError, TokenError):  # NumPy parses the header of an array as Python
        return None

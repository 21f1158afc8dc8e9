"""Where the project and the data beside it are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = str(PROJECT / "commands" / "from_checkout")  # for PYTHONPATH: makes the checkout the package `winnow`


SHARED = PROJECT.parent / "shared"


def absent(what: str) -> None:
    """Skip a test for want of something, with the reason; where CI says that everything is there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} (CI=true: this must be there)")
    pytest.skip(what)


class Photographs(NamedTuple):
    """The flower photographs as Winnow sees them, in the order of paths, and what is publicly known of their noise."""

    workspace: Any
    table: Any  # the manifest
    ids: list[str]
    pooled: np.ndarray
    bottleneck: np.ndarray
    labels: np.ndarray  # int64 (N,), indexes of the sorted names
    known: np.ndarray  # (N,) of ok, off_topic, mislabelled; "doubtful" where nobody can tell, or it is not public

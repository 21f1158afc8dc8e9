"""Where the project and the data beside it are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.curate.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = str(PROJECT / "commands" / "from_checkout")  # for PYTHONPATH: makes the checkout the package `winnow`
SHARED = PROJECT.parent / "shared"


def absent(reason: str) -> None:
    """Skip a test because data or a tool is missing; under CI=true, where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: this must be there)")
    pytest.skip(reason)


@dataclass(frozen=True)
class Photographs:
    """The N flower photographs, scanned and embedded, in the order of paths.

    table: the manifest. pooled: float32 (N, 1280). bottleneck: float32 (N, 320). labels: int64 (N,), indexes of the
    sorted names. noise: str (N,), the public verdicts: ok, off_topic, mislabelled; doubtful where there is none.
    """

    workspace: Workspace
    table: pa.Table
    ids: list[str]
    pooled: np.ndarray
    bottleneck: np.ndarray
    labels: np.ndarray
    noise: np.ndarray

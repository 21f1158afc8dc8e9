"""Fixtures of the tests of curate: a scanned workspace, and what tests need that open the App."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.review_app import chromium, scored_workspace

from winnow.curate import manifest
from winnow.curate.workspace import Workspace, find_workspace

__all__ = ["chromium", "scored_workspace"]


@pytest.fixture
def workspace(folder: Path) -> Workspace:
    """The workspace of the two classes of six pictures of `folder`, scanned."""
    manifest.scan(find_workspace(folder))
    return find_workspace(folder)

"""Pictures to vectors. `from embed import Embedder` is the Python face."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Embedder":  # it is a scikit-learn class, and `winnow --help` must not wait for scikit-learn
        from embed.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'embed' has no attribute {name!r}")

"""Pictures to vectors. `from embed import Embedder` is the Python face."""

from __future__ import annotations

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported: it calls Microsoft's servers otherwise
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own keeps the pages of what it has freed


def __getattr__(name: str) -> Any:
    if name == "Embedder":  # it is a scikit-learn class, and `winnow --help` must not wait for scikit-learn
        from winnow.embed.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'embed' has no attribute {name!r}")

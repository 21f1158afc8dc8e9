"""Images to vectors: MobileNetV2 as an ONNX graph, decoding, augmentation, and the table that holds the vectors.

The Python interface is `Embedder`, a scikit-learn transformer; `winnow.Embedder` is the same class.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported: otherwise it contacts Microsoft's servers
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own pool never returns freed pages


def __getattr__(name: str) -> Any:
    if name == "Embedder":  # imported on demand, so that `winnow --help` does not wait for scikit-learn
        from winnow.embed.embedder import Embedder

        return Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

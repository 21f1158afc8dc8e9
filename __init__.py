"""Winnow: a folder of noisy photographs becomes a classifier that can be trusted, on a laptop without a GPU.

The public names of `_PUBLIC` are imported on first use, so that `import winnow` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.common.errors import InputError
    from winnow.common.progress import Reporter
    from winnow.embed.config import EmbeddingConfig
    from winnow.embed.embedder import Embedder
    from winnow.embed.recipe import Recipe

__version__ = "0.1.0"

# Public name -> the module that defines it.
_PUBLIC = {
    "Embedder": "winnow.embed.embedder",
    "EmbeddingConfig": "winnow.embed.config",
    "InputError": "winnow.common.errors",
    "Recipe": "winnow.embed.recipe",
    "Reporter": "winnow.common.progress",
}
__all__ = ["Embedder", "EmbeddingConfig", "InputError", "Recipe", "Reporter"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})

"""Which versions of which packages are installed, without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

# What the numbers of a run may depend on.
PACKAGES = ("numpy", "pillow", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "keras", "tensorflow", "tf2onnx")


def installed(package: str) -> str | None:
    """Version of an installed package; None when it is not installed. TensorFlow is known by its CPU build too."""
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None

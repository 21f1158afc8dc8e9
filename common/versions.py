"""Versions of installed packages, without importing them."""

from __future__ import annotations

# The packages that the numbers of a run may depend on.
PACKAGES = ("numpy", "pillow", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "keras", "tensorflow", "tf2onnx")


def installed_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed; `tensorflow` also matches its CPU build."""
    from importlib.metadata import PackageNotFoundError, version  # 12 ms, which `winnow --help` need not wait for

    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None

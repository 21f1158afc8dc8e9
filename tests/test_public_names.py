"""The names that `import winnow` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import winnow


def test_every_public_name_is_imported_from_its_module():
    for name, module in winnow._PUBLIC.items():
        assert getattr(winnow, name).__module__ == module
    assert set(winnow.__all__) == winnow._PUBLIC.keys() <= set(dir(winnow))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'winnow' has no attribute 'Embedding'"):
        winnow.Embedding  # noqa: B018


def test_importing_winnow_imports_nothing_else():
    code = "import sys, winnow; print({'numpy', 'sklearn', 'onnxruntime', 'click'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"

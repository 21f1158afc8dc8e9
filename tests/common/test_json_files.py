"""JSON documents have no NaN and are written atomically."""

from __future__ import annotations

import json

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.common.json_files import to_json, write_json


def test_nan_becomes_null_and_arrays_become_lists(tmp_path):
    value = {"loss": [0.5, float("nan")], "f1": np.float64(0.25), "matrix": np.eye(2, dtype=int), "folder": tmp_path}
    assert json.loads(to_json(value)) == {
        "loss": [0.5, None],
        "f1": 0.25,
        "matrix": [[1, 0], [0, 1]],
        "folder": str(tmp_path),
    }


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"a": 1})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"a": 1}
    with pytest.raises(InputError, match=r"b\.json cannot be written \(File exists\)$"):
        write_json(tmp_path / "deep" / "a.json" / "b.json", {})

"""`embed` with a cached backbone loads only what the first picture needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PROJECT

EMBED = """
import json, sys
from winnow import cli
try:
    winnow.cli.main()
finally:
    json.dump(sorted(sys.modules), open(sys.argv[-1] + ".loaded.json", "w"))
"""


@pytest.mark.slow
def test_embed_loads_no_package_that_it_does_not_need(hues, colours):
    arguments = [sys.executable, "-c", EMBED, "embed", "--workspace", f"{hues}.winnow", "--backbone", colours, hues]
    made = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "60 embedded" in made.stdout, made.stderr
    loaded = set(json.loads(Path(f"{hues}.loaded.json").read_text()))
    assert {"lance", "onnxruntime", "PIL"} <= loaded
    not_needed = {"imagehash", "jinja2", "joblib", "keras", "matplotlib", "onnx", "scipy", "sklearn", "tensorflow"}
    assert not loaded & not_needed

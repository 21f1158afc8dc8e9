"""Help starts without heavy libraries, and `embed` with a cached backbone loads only what the first image needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PACKAGE

ENVIRONMENT = os.environ | {"PYTHONPATH": PACKAGE}
HEAVY = ["numpy", "PIL", "pyarrow", "lance", "sklearn", "scipy", "tensorflow", "keras", "onnx", "onnxruntime"]
HEAVY += ["matplotlib", "rich", "jinja2", "joblib"]
EMBED = """
import json, sys
from winnow import cli
try:
    cli.main()
finally:
    json.dump(sorted(sys.modules), open(sys.argv[-1] + ".loaded.json", "w"))
"""


@pytest.mark.slow
def test_embed_loads_no_package_that_it_does_not_need(hues, colours):
    arguments = [sys.executable, "-c", EMBED, "embed", "--workspace", f"{hues}.winnow", "--backbone", colours, hues]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "60 embedded" in done.stdout, done.stderr
    loaded = set(json.loads(Path(f"{hues}.loaded.json").read_text()))
    assert {"lance", "onnxruntime", "PIL"} <= loaded
    not_needed = {"imagehash", "jinja2", "joblib", "keras", "matplotlib", "onnx", "scipy", "sklearn", "tensorflow"}
    assert not loaded & not_needed


@pytest.mark.parametrize("words", [["--help"], ["embed", "--help"], ["train", "--help"]])
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    code = (
        "import sys; from winnow import cli\n"
        f"try: cli.main({words})\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"

"""Help loads no heavy library, and `embed` with an exported backbone only those that inference needs."""

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
RECORD_MODULES = """
import json, sys
from winnow import cli
try:
    cli.main()
finally:
    json.dump(sorted(sys.modules), open(sys.argv[-1] + ".loaded.json", "w"))
"""


@pytest.mark.slow
def test_embed_loads_only_what_inference_needs(hues, colours):
    arguments = ["embed", "--workspace", f"{hues}.winnow", "--backbone", colours, hues]
    command = [sys.executable, "-c", RECORD_MODULES, *arguments]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "60 embedded" in result.stdout, result.stderr
    loaded = set(json.loads(Path(f"{hues}.loaded.json").read_text()))
    assert {"lance", "onnxruntime", "PIL"} <= loaded
    not_needed = {"imagehash", "jinja2", "joblib", "keras", "matplotlib", "onnx", "scipy", "sklearn", "tensorflow"}
    assert not loaded & not_needed


@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["train", "--help"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys; from winnow import cli\n"
        f"try: cli.main({arguments})\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"

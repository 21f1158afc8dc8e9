"""The command embed: each image once, whatever its name is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import winnow, winnow_json
from support.project import PACKAGE

pytestmark = pytest.mark.slow
UNTRAINED = ("embed", "--weights", "random", "--size", "96")


def test_embeds_once_and_reuses(folder: Path) -> None:
    first = winnow_json(*UNTRAINED, folder)
    assert (first["embedded"], first["reused"], first["failed"]) == (12, 0, 0)
    assert first["dimension"] == 1280
    assert (first["backend"], first["precision"]) == ("onnx", "fp32")
    assert first["images_per_second"] > 0
    assert Path(first["store"]).is_dir()
    again = winnow_json(*UNTRAINED, folder)
    assert (again["embedded"], again["reused"]) == (0, 12)
    assert again["made_by"].startswith("onnxruntime ")


def test_adding_a_picture_costs_one_picture_and_a_renamed_one_nothing(folder: Path) -> None:
    winnow_json(*UNTRAINED, folder)
    (folder / "red" / "0.jpg").rename(folder / "blue" / "renamed.jpg")
    (folder / "red" / "new.png").write_bytes(_png())
    result = winnow_json(*UNTRAINED, folder)
    assert (result["embedded"], result["reused"]) == (1, 12)


def test_with_an_exported_backbone_needs_no_tensorflow(folder: Path) -> None:
    file = winnow_json(*UNTRAINED, folder)["backbone"]
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from winnow import cli\n"
        f"cli.main(['embed', {str(folder)!r}, '--workspace', 'w', '--backbone', {file!r}, '--json'])"
    )
    environment = os.environ | {
        "PYTHONPATH": PACKAGE,
        "WINNOW_CACHE": str(folder.parent / "none"),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedded"] == 12


def test_without_weights_says_which_file_to_put_where(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("winnow.embed.weights.URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    done = winnow("embed", folder)
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" in last
    assert str(tmp_path / "no-keras-home" / "models") in last


def _png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
    return stream.getvalue()

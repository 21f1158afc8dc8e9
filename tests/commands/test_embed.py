"""The command embed: each image once, whatever its name is; and what int8 costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import winnow, winnow_json
from support.networks import INT8_EFFECT, write_network
from support.project import PACKAGE

from winnow.commands.embed import describe_int8
from winnow.workflow import int8

UNTRAINED = ("embed", "--weights", "random", "--size", "96")


@pytest.mark.slow
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


@pytest.mark.slow
def test_adding_a_picture_costs_one_picture_and_a_renamed_one_nothing(folder: Path) -> None:
    winnow_json(*UNTRAINED, folder)
    (folder / "red" / "0.jpg").rename(folder / "blue" / "renamed.jpg")
    (folder / "red" / "new.png").write_bytes(_png())
    result = winnow_json(*UNTRAINED, folder)
    assert (result["embedded"], result["reused"]) == (1, 12)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("vnni", "pays", "speedup", "end"),
    [
        (True, True, 1.4, "1.4 times as fast here."),
        (False, True, 1.4, "1.4 times as fast here, without VNNI."),
        (
            False,
            False,
            0.9,
            "this processor has no VNNI: 0.9 times as fast as fp32 here, which does not pay: "
            "leave --precision int8 out.",
        ),
    ],
)
def test_the_effect_of_int8_is_one_line(
    monkeypatch: pytest.MonkeyPatch, vnni: bool, pays: bool, speedup: float, end: str
) -> None:
    monkeypatch.setattr(int8, "has_vnni", lambda: vnni)
    begin = "int8: cosine to fp32 0.994 (least 0.984), weighted F1 0.880 -> 0.879 [-0.5, +0.4 points] on 300 pictures; "
    assert describe_int8(replace(INT8_EFFECT, pays=pays, speedup=speedup)) == begin + end


def test_the_effect_of_int8_has_no_f1_where_it_was_not_measured() -> None:
    assert "weighted F1" not in describe_int8(replace(INT8_EFFECT, weighted_f1=None, reason="there are no labels"))


@pytest.mark.slow
def test_with_int8_prints_what_it_costs(hues: Path, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network.onnx")
    result = winnow("embed", hues, "--backbone", network, "--precision", "int8")
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("int8: "))
    assert line.startswith("int8: cosine to fp32 ")
    assert " on 60 pictures; " in line


def _png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
    return stream.getvalue()

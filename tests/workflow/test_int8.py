"""The int8 network of a workspace: made once of its pictures, kept beside its table, and what it costs is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from support.networks import a_network

from winnow import cli
from winnow.commands.embed import describe_int8
from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.backbone import load_backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.workflow import int8
from winnow.workflow.features import embed


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A backbone file of nine seeded convolutions, for pictures of 96 x 96."""
    model = a_network(size=96)
    said = {"graph": Recipe(size=96).graph_options(), "weights": "n" * 64, "weights_name": "imagenet", "parity": 0.0}
    onnx.helper.set_model_props(model, {"winnow_backbone": json.dumps(said | {"dimension": [16], "bottleneck": 16})})
    onnx.save(model, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


@pytest.fixture
def workspace(hues: Path) -> Workspace:
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    return workspace


def embedded(workspace: Workspace, network: Path, precision: str = "int8") -> Any:
    messages: list[str] = []
    config = EmbeddingConfig(Recipe(precision=precision), network)
    return *embed(workspace, config, lambda done, total: None, messages.append), messages


def test_is_made_once_and_kept_beside_its_table(workspace, network):
    store, result, messages = embedded(workspace, network)
    file = store.path.with_suffix(".onnx")
    assert Path(result.backbone) == file
    assert (result.precision, result.embedded) == ("int8", 60)
    assert result.recipe.endswith("|int8")
    assert messages == [
        "Quantising the network to int8 on 60 of your pictures (once for these options)",
        "Measuring what int8 costs on 60 pictures",
    ]
    before = file.read_bytes()
    _, again, messages = embedded(workspace, network)
    assert (again.embedded, again.reused, messages) == (0, 60, [])
    assert again.int8 == result.int8
    assert file.read_bytes() == before
    assert load_backbone(file).recipe == Recipe(size=96, precision="int8")


@pytest.mark.slow
def test_the_two_precisions_have_tables_of_their_own(workspace, network):
    plain, result, _ = embedded(workspace, network, "fp32")
    store, _, _ = embedded(workspace, network)
    assert result.int8 is None
    assert plain.path != store.path
    ids = sorted(plain.ids())
    a, b = plain.read(ids), store.read(ids)
    assert np.abs(a - b).max() > 0
    assert ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.99


@pytest.mark.slow
def test_what_it_costs_is_measured_and_told(workspace, network):
    effect = embedded(workspace, network)[1].int8
    assert (effect.calibrated_on, effect.measured_on) == (60, 60)
    assert effect.fp32 == file_digest(network)
    assert 0.99 < effect.cosine_min <= effect.cosine_mean < 1
    f1 = effect.weighted_f1
    assert (f1.on, f1.splits) == (60, 10)
    assert f1.difference == pytest.approx(f1.int8 - f1.fp32)
    assert f1.low <= f1.difference <= f1.high
    assert min(f1.fp32, f1.int8) > 0.8
    assert effect.speedup > 0
    assert effect.pays == (effect.speedup >= 1.05)
    assert effect.to_json()["vnni"] == int8.has_vnni()


@pytest.mark.slow
def test_pictures_that_were_not_calibrated_on_are_measured_on_where_there_are_enough(workspace, network, monkeypatch):
    monkeypatch.setattr(int8, "CALIBRATION_PICTURES", 30)
    effect = embedded(workspace, network)[1].int8
    assert (effect.calibrated_on, effect.measured_on) == (30, 30)


def test_without_labels_there_is_no_f1_and_the_reason_is_told(folder, network):
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):
        file.rename(folder / f"{number}.jpg")
    workspace = find_workspace(folder)
    manifest.scan(workspace)
    effect = embedded(workspace, network)[1].int8
    assert effect.weighted_f1 is None
    assert effect.reason == "fewer than two labels have 4 of these pictures"
    assert "weighted F1" not in describe_int8(effect)


@pytest.mark.slow
def test_a_table_whose_network_is_gone_takes_no_vectors_of_another(workspace, network):
    store, *_ = embedded(workspace, network)
    file = store.path.with_suffix(".onnx")
    away = file.rename(file.with_suffix(".away"))
    with pytest.raises(InputError, match=rf"{file.name}, the int8 network of .*, is gone: put it back, or move that"):
        embedded(workspace, network)
    model = onnx.load(away)
    model.doc_string = "calibrated on other pictures"
    onnx.save(model, file)
    with pytest.raises(InputError, match="was made by another int8 network, calibrated on other pictures: move it"):
        embedded(workspace, network)
    away.replace(file)
    assert embedded(workspace, network)[1].reused == 60


@pytest.mark.slow
def test_an_int8_file_is_used_as_it_is(workspace, network, tmp_path):
    store, result, _ = embedded(workspace, network)
    file = store.path.with_suffix(".onnx").rename(tmp_path / "int8.onnx")
    for precision in ("fp32", "int8"):
        _, again, messages = embedded(workspace, file, precision)
        assert (again.reused, again.backbone, again.key, messages) == (60, str(file), result.key, [])


@pytest.mark.slow
def test_only_onnxruntime_runs_it(workspace, network):
    config = EmbeddingConfig(Recipe(precision="int8"), network, backend="tensorflow")
    with pytest.raises(InputError, match="the backend tensorflow cannot run an int8 network"):
        embed(workspace, config, lambda done, total: None, print)


@pytest.mark.slow
def test_a_run_on_int8_vectors_gives_a_file_that_says_the_same(workspace, network):
    def winnow(*words: object) -> Any:
        return CliRunner().invoke(cli.main, [*map(str, words)])

    done = winnow(
        "train", workspace.images, "--backbone", network, "--precision", "int8", "--head", "logistic", "--json"
    )
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)["run"]
    for options in ((), ("--precision", "int8")):
        done = winnow("export", run, *options, "--json")
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert (said["precision"], said["parity"]["labels_differ"]) == ("int8", 0)
        assert said["parity"]["largest_difference"] < 1e-4
    done = winnow("export", run, "--precision", "fp16")
    assert done.exit_code == 1
    assert "learned from int8 vectors: leave --precision out" in done.stderr


@pytest.mark.slow
def test_embed_prints_one_line_of_it(workspace, network):
    done = CliRunner().invoke(
        cli.main, ["embed", str(workspace.images), "--backbone", str(network), "--precision", "int8"]
    )
    assert done.exit_code == 0, done.output
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("int8: "))
    assert line.startswith("int8: cosine to fp32 ")
    assert " on 60 pictures; " in line


EFFECT = int8.Int8Effect(
    calibrated_on=100,
    calibration="c" * 64,
    fp32="f" * 64,
    measured_on=300,
    cosine_mean=0.9941,
    cosine_min=0.984,
    weighted_f1=int8.F1Comparison(0.88, 0.879, -0.001, -0.005, 0.004, on=300, splits=10),
    speedup=1.4,
    pays=True,
)


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
def test_the_effect_is_one_line(monkeypatch, vnni, pays, speedup, end):
    monkeypatch.setattr(int8, "has_vnni", lambda: vnni)
    begin = "int8: cosine to fp32 0.994 (least 0.984), weighted F1 0.880 -> 0.879 [-0.5, +0.4 points] on 300 pictures; "
    assert describe_int8(replace(EFFECT, pays=pays, speedup=speedup)) == begin + end


def test_the_effect_is_read_as_it_was_written():
    assert int8.Int8Effect.from_json(EFFECT.to_json()) == EFFECT


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t: fpu avx2 avx512_vnni\n", True),
        ("flags : avx_vnni", True),
        ("flags : avx2", False),
        ("Features: x", None),
    ],
)
def test_vnni_is_read_from_the_flags(tmp_path, text, has):
    (tmp_path / "cpuinfo").write_text(text)
    assert int8.has_vnni(tmp_path / "cpuinfo") is has
    assert int8.has_vnni(tmp_path / "none") is None


def test_calibration_takes_labels_in_turn():
    labels = {"1": "a", "2": "a", "3": "a", "4": "b"}
    assert int8.sample_by_label(["1", "2", "3", "4", "5"], labels, 4) == ["5", "1", "4", "2"]
    assert int8.sample_by_label(["1", "2"], labels, 4) == ["1", "2"]


def test_equal_vectors_cost_nothing():
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    labels = ["a" if row[0] > 0 else "b" for row in X]
    f1 = int8.compare_f1(X, X, [*labels[:-2], None, "rare"])
    assert f1 is not None
    assert (f1.difference, f1.low, f1.high, f1.on) == (0, 0, 0, 38)
    assert f1.fp32 > 0.7
    assert int8.compare_f1(X, X, ["a"] * 40) is None


@pytest.mark.slow
def test_on_photographs(exported, keras_home, photographs, tmp_path):
    """Vectors as near, and heads as good, as is promised."""
    workspace = Workspace(tmp_path / "flowers.winnow", photographs.workspace.images)
    workspace.folder.mkdir()
    workspace.manifest.symlink_to(photographs.workspace.manifest)
    plain = exported(Recipe(), keras_home)
    effect = int8.read_effect(int8.calibrated(workspace, plain, manifest.files_by_id(workspace), lambda line: None))
    assert effect is not None
    assert (effect.calibrated_on, effect.measured_on) == (100, 300)
    assert effect.cosine_mean >= 0.988
    assert effect.cosine_min >= 0.97
    assert abs(effect.weighted_f1["difference"]) <= 0.01

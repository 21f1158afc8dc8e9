"""The int8 network of a workspace: calibrated once, kept beside its table, and compared with the float32 network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.command_line import winnow_error, winnow_json
from support.networks import INT8_EFFECT, write_network

from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.common.progress import ignore_message, ignore_progress
from winnow.curate import manifest
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.backbone import load_backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store
from winnow.workflow import int8
from winnow.workflow.embedding import EmbedResult, embed


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The backbone of `write_network`."""
    return write_network(tmp_path / "network.onnx")


@pytest.fixture
def workspace(hues: Path) -> Workspace:
    """The workspace of the sixty pictures of `hues`, scanned."""
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    return workspace


def embed_network(workspace: Workspace, network: Path, precision: str = "int8") -> tuple[Store, EmbedResult, list[str]]:
    """The table, what was embedded, and the messages."""
    messages: list[str] = []
    config = EmbeddingConfig(Recipe(precision=precision), network)
    return *embed(workspace, config, ignore_progress, messages.append), messages


def test_the_network_is_calibrated_once_and_kept_beside_its_table(workspace, network):
    store, result, messages = embed_network(workspace, network)
    file = store.path.with_suffix(".onnx")
    assert Path(result.backbone) == file
    assert (result.precision, result.embedded) == ("int8", 60)
    assert result.recipe.endswith("|int8")
    assert messages == [
        "Quantising the network to int8 on 60 of your pictures (once for these options)",
        "Measuring what int8 costs on 60 pictures",
    ]
    before = file.read_bytes()
    _, again, messages = embed_network(workspace, network)
    assert (again.embedded, again.reused, messages) == (0, 60, [])
    assert again.int8 == result.int8
    assert file.read_bytes() == before
    assert load_backbone(file).recipe == Recipe(size=96, precision="int8")


@pytest.mark.slow
def test_each_precision_has_its_own_table(workspace, network):
    plain, result, _ = embed_network(workspace, network, "fp32")
    store, _, _ = embed_network(workspace, network)
    assert result.int8 is None
    assert plain.path != store.path
    ids = sorted(plain.ids())
    fp32, quantised = plain.read(ids), store.read(ids)
    assert np.abs(fp32 - quantised).max() > 0
    lengths = np.linalg.norm(fp32, axis=1) * np.linalg.norm(quantised, axis=1)
    assert ((fp32 * quantised).sum(axis=1) / lengths).min() > 0.99


@pytest.mark.slow
def test_its_costs_and_its_speed_are_measured(workspace, network):
    effect = embed_network(workspace, network)[1].int8
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
def test_it_is_compared_on_pictures_that_were_not_calibrated_on_if_there_are_enough(workspace, network, monkeypatch):
    monkeypatch.setattr(int8, "CALIBRATION_PICTURES", 30)
    effect = embed_network(workspace, network)[1].int8
    assert (effect.calibrated_on, effect.measured_on) == (30, 30)


def test_without_labels_there_is_no_f1_but_a_reason(folder, network):
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))):
        file.rename(folder / f"{number}.jpg")
    workspace = find_workspace(folder)
    manifest.scan(workspace)
    effect = embed_network(workspace, network)[1].int8
    assert effect.weighted_f1 is None
    assert effect.reason == "fewer than two labels have 4 of these pictures"


@pytest.mark.slow
def test_a_table_whose_network_is_gone_takes_no_vectors_of_another_network(workspace, network):
    store, *_ = embed_network(workspace, network)
    file = store.path.with_suffix(".onnx")
    away = file.rename(file.with_suffix(".away"))
    with pytest.raises(InputError, match=rf"{file.name}, the int8 network of .*, is gone: put it back, or move that"):
        embed_network(workspace, network)
    model = onnx.load(away)
    model.doc_string = "calibrated on other pictures"
    onnx.save(model, file)
    with pytest.raises(InputError, match="was computed by another int8 network, calibrated on other pictures: move it"):
        embed_network(workspace, network)
    away.replace(file)
    assert embed_network(workspace, network)[1].reused == 60


@pytest.mark.slow
def test_an_int8_backbone_file_is_used_as_it_is(workspace, network, tmp_path):
    store, result, _ = embed_network(workspace, network)
    file = store.path.with_suffix(".onnx").rename(tmp_path / "int8.onnx")
    for precision in ("fp32", "int8"):
        _, again, messages = embed_network(workspace, file, precision)
        assert (again.reused, again.backbone, again.key, messages) == (60, str(file), result.key, [])


@pytest.mark.slow
def test_only_onnxruntime_runs_an_int8_network(workspace, network):
    config = EmbeddingConfig(Recipe(precision="int8"), network, backend="tensorflow")
    with pytest.raises(InputError, match="the backend tensorflow cannot run an int8 network"):
        embed(workspace, config, ignore_progress, ignore_message)


@pytest.mark.slow
def test_a_head_trained_on_int8_vectors_is_exported_with_the_int8_network(workspace, network):
    options = ("--backbone", network, "--precision", "int8", "--head", "logistic")
    run = winnow_json("train", workspace.images, *options)["run"]
    for precision in ((), ("--precision", "int8")):
        report = winnow_json("export", run, *precision)
        assert (report["precision"], report["parity"]["labels_differ"]) == ("int8", 0)
        assert report["parity"]["largest_difference"] < 1e-4
    message = winnow_error("export", run, "--precision", "fp16")
    assert "learned from int8 vectors, which fp16 does not reproduce: leave --precision out" in message


def test_the_effect_survives_the_way_to_json_and_back():
    assert int8.Int8Effect.from_json(INT8_EFFECT.to_json()) == INT8_EFFECT


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t: fpu avx2 avx512_vnni\n", True),
        ("flags : avx_vnni", True),
        ("flags : avx2", False),
        ("Features: x", None),
    ],
)
def test_vnni_is_read_from_the_flags_of_the_processor(tmp_path, cpuinfo, expected):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert int8.has_vnni(tmp_path / "cpuinfo") is expected
    assert int8.has_vnni(tmp_path / "none") is None


def test_calibration_takes_labels_in_turn():
    labels = {"1": "a", "2": "a", "3": "a", "4": "b"}
    assert int8.sample_by_label(["1", "2", "3", "4", "5"], labels, 4) == ["5", "1", "4", "2"]
    assert int8.sample_by_label(["1", "2"], labels, 4) == ["1", "2"]


def test_equal_vectors_have_equal_f1():
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    labels = ["a" if row[0] > 0 else "b" for row in X]
    f1 = int8.compare_f1(X, X, [*labels[:-2], None, "rare"])
    assert f1 is not None
    assert (f1.difference, f1.low, f1.high, f1.on) == (0, 0, 0, 38)
    assert f1.fp32 > 0.7
    assert int8.compare_f1(X, X, ["a"] * 40) is None


@pytest.mark.slow
def test_on_photographs_vectors_and_heads_differ_little(exported, keras_home, photographs, tmp_path):
    """The cosine of vectors is at least 0.988 in the mean, and weighted F1 changes by a point at most."""
    workspace = Workspace(tmp_path / "flowers.winnow", photographs.workspace.images)
    workspace.folder.mkdir()
    workspace.manifest.symlink_to(photographs.workspace.manifest)
    plain = exported(Recipe(), keras_home)
    effect = int8.read_effect(int8.calibrated(workspace, plain, manifest.files_by_id(workspace), ignore_message))
    assert effect is not None
    assert (effect.calibrated_on, effect.measured_on) == (100, 300)
    assert effect.cosine_mean >= 0.988
    assert effect.cosine_min >= 0.97
    assert abs(effect.weighted_f1.difference) <= 0.01

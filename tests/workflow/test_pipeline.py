"""The whole pipeline: from a folder to a report and one file to deploy."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import winnow_json
from support.reporters import silent_reporter

from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import pipeline
from winnow.workflow.experiment import DatasetOptions
from winnow.workflow.pipeline import PipelineResult

KEYS = {  # stage -> the keys that its part of the document has at least
    "scan": {"files", "images", "ignored", "problems", "problem_files", "labels", "exact_duplicates"},
    "embed": {
        *("embedded", "reused", "failed", "images_per_second", "total_seconds"),
        *("dimension", "backend", "precision", "store"),
    },
    "score": {"suspects", "next", "outlook", "duplicate_groups", "verdicts"},
    "compare": {"heads", "data", "run"},
    "train": {"head", "run", "weighted_f1", "accuracy", "model"},
    "export": {"model", "card", "parity", "familiarity", "tta", "precision"},
}


def run(images: Path, backbone: Path, messages: list[str] | None = None) -> PipelineResult:
    """The pipeline with the centroid head on one split."""
    reporter = silent_reporter(([] if messages is None else messages).append)
    config, dataset = EmbeddingConfig(backbone=backbone), DatasetOptions(repeats=1)
    return pipeline.run(find_workspace(images), config, reporter, heads="centroid", dataset=dataset, jobs=1)


@pytest.mark.slow
def test_the_document_has_a_part_for_each_stage(hues: Path, colours: Path) -> None:
    result = run(hues, colours)
    document = result.to_json()
    assert set(document) == {*KEYS, "report", "seconds"}
    for stage, keys in KEYS.items():
        assert keys <= set(document[stage]), stage
    assert document["scan"]["images"] == document["embed"]["embedded"] == 60
    assert len(document["score"]["suspects"]) == 60
    assert document["train"]["head"] == document["compare"]["heads"][0]["name"] == "centroid"
    assert document["train"]["run"] == document["compare"]["run"] == str(result.run.folder)
    assert document["report"] == str(result.run.folder / "report.html")
    assert document["export"]["model"] == str(result.run.folder / "model.onnx")
    assert list(document["seconds"]) == ["scan", "embed", "score", "compare", "train", "report", "export"]


@pytest.mark.slow
def test_without_a_head_file_there_is_no_export(hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.deploy.onnx.head.TOLERANCE", -1.0)
    messages: list[str] = []
    document = run(hues, colours, messages).to_json()
    assert document["train"]["model"] is None
    assert document["export"] is None
    assert any(message.startswith("note: head.onnx was not written: ") for message in messages)


@pytest.mark.slow
def test_heads_may_learn_from_maps_while_pictures_are_scored_by_pooled_vectors(hues: Path) -> None:
    small_network = ("--weights", "random", "--alpha", "0.35", "--size", 96)
    options = ("--pool", "none", "--heads", "centroid", "--repeats", 1, "--jobs", 1)
    document = winnow_json("run", hues, *small_network, *options)
    assert document["embed"]["dimension"] == 3 * 3 * 1280
    assert document["embed"]["embedded"] == 60
    assert len(document["score"]["suspects"]) == 60
    assert document["export"]["parity"]["largest_difference"] <= 1e-4
    assert len(list(Path("hues.winnow/embeddings").glob("*.lance"))) == 2


@pytest.mark.slow
def test_the_flower_photographs_become_a_report_and_a_model(flowers: Path, imagenet: Path) -> None:
    document = winnow_json("run", flowers)
    assert document["scan"]["images"] == 1000
    assert document["scan"]["problems"] == 0
    assert document["embed"]["embedded"] == 1000
    assert document["embed"]["parity"] <= 1e-3
    heads = {head["name"]: head["weighted_f1"]["mean"] for head in document["compare"]["heads"]}
    assert document["compare"]["data"]["repeats"] == 10
    assert document["compare"]["heads"][0]["weighted_f1"]["mean"] >= 0.88
    assert heads["dense"] > 0.8
    assert heads["dummy"] < 0.1
    assert Path(document["report"]).is_file()
    assert Path(document["train"]["model"]).is_file()
    assert Path(document["export"]["model"]).name == "model.onnx"
    parity = document["export"]["parity"]
    assert (parity["pictures"], parity["labels_differ"]) == (150, 0)
    assert parity["largest_difference"] <= 1e-4
    assert parity["largest_from_run"] < 0.05
    assert document["export"]["familiarity"]["held_out"]["rejected"] < 0.15

    fits = {file: file.stat().st_mtime_ns for file in Path("small_flower_dataset.winnow/fits").iterdir()}
    again = winnow_json("run", flowers)
    assert (again["embed"]["embedded"], again["embed"]["reused"]) == (0, 1000)
    assert {file: file.stat().st_mtime_ns for file in Path("small_flower_dataset.winnow/fits").iterdir()} == fits
    assert again["compare"]["heads"][0]["weighted_f1"] == document["compare"]["heads"][0]["weighted_f1"]

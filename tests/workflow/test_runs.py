"""What a run folder holds, when it is not written, and the document of a run."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import pytest
from support.command_line import winnow, winnow_error, winnow_json
from support.pictures import paint
from support.reporters import silent_reporter

from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import training
from winnow.workflow.experiment import DatasetOptions
from winnow.workflow.report.document import DataSection, HeadRow, RunDocument, ShownFit, VectorsSection
from winnow.workflow.runs import Run, new_folder, write_history
from winnow.workflow.training import CompareOptions

RUN_KEYS = {*RunDocument.__annotations__, "run", "report"}


def compare(images: Path, backbone: Path, heads: str = "centroid,dummy") -> Run:
    config = EmbeddingConfig(backbone=backbone)
    options = CompareOptions(heads=heads, jobs=1, dataset=DatasetOptions(repeats=2))
    return training.compare(find_workspace(images), config, silent_reporter(), options)


def train(images: Path, backbone: Path, kind: str = "centroid", **params: Any) -> Run:
    config = EmbeddingConfig(backbone=backbone)
    return training.train(find_workspace(images), config, silent_reporter(), kind=kind, params=params)


class TestFiles:
    @pytest.mark.slow
    def test_a_run_folder_records_how_the_heads_were_trained(self, hues: Path, colours: Path) -> None:
        options = ("--heads", "centroid,logistic,dummy", "--repeats", 3, "--jobs", 1)
        document = winnow_json("compare", hues, "--backbone", colours, *options)
        folder = Path(document["run"])
        record = json.loads((folder / "run.json").read_text())
        assert (record["seed"], record["repeats"], record["kind"]) == (0, 3, "compare")
        assert record["vectors"] == document["vectors"]["key"]
        assert record["versions"]["scikit-learn"]
        splits = lance.dataset(folder / "splits.lance").to_table().to_pylist()
        assert len(splits) == 3 * 60
        assert {row["split"] for row in splits} == {"train", "val", "test"}
        with (folder / "predictions.csv").open(newline="") as stream:
            predictions = list(csv.DictReader(stream))
        test_ids = {row["id"] for row in splits if row["repeat"] == 0 and row["split"] == "test"}
        assert {row["id"] for row in predictions if row["split"] == "test"} == test_ids
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["heads"][0]["name"] == document["heads"][0]["name"]
        assert "hues" in (folder / "report.html").read_text()

    @pytest.mark.slow
    def test_groups_are_kept_together_in_the_splits_of_the_file(self, hues: Path, colours: Path) -> None:
        group_by = r"/\d(\d)\.jpg$"  # pictures 03 and 13 of every class are of one camera
        options = ("--heads", "centroid", "--repeats", 1, "--jobs", 1, "--group-by", group_by)
        folder = Path(winnow_json("compare", hues, "--backbone", colours, *options)["run"])
        splits = lance.dataset(folder / "splits.lance").to_table().to_pylist()
        with (folder / "predictions.csv").open(newline="") as stream:
            cameras = {row["id"]: row["path"][-5] for row in csv.DictReader(stream) if row["split"] == "test"}
        assert cameras
        assert {row["split"] for row in splits if row["id"] in cameras} == {"test"}
        assert sum(row["split"] == "test" for row in splits) == 6 * len(set(cameras.values()))

    def test_a_head_that_ended_early_has_fewer_rows_in_the_history(self, tmp_path: Path) -> None:
        file = tmp_path / "history.csv"
        write_history(
            file, {"long": {"loss": [0.9, 0.5, 0.4], "lr": [0.1, 0.1, 0.05]}, "short": {"loss": [0.8], "lr": [0.2]}}
        )
        assert file.read_text().splitlines() == [
            "head,epoch,loss,lr",
            "long,0,0.9,0.1",
            "long,1,0.5,0.1",
            "long,2,0.4,0.05",
            "short,0,0.8,0.2",
        ]

    def test_runs_of_one_second_are_numbered(self, tmp_path: Path) -> None:
        now = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
        names = [new_folder(tmp_path / "runs", "train-lda", now).name for _ in range(2)]
        assert names == ["20260131-120005-train-lda", "20260131-120005-train-lda-2"]


class TestFailures:
    def test_a_run_that_cannot_be_written_leaves_no_folder(
        self, hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("winnow.workflow.report.page._write_file", fail)
        assert "No space left on device" in winnow_error("train", hues, "--backbone", colours, "--head", "centroid")
        assert list(Path("hues.winnow/runs").iterdir()) == []

    def test_a_head_whose_file_differs_is_reported_and_the_run_is_kept(
        self, hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("winnow.deploy.onnx.head.TOLERANCE", -1.0)
        result = winnow("train", hues, "--backbone", colours, "--head", "centroid", "--json")
        assert "note: head.onnx was not written: the exported head differs" in result.stderr
        document = json.loads(result.stdout)
        assert document["model"] is None
        assert Path(document["report"]).is_file()
        assert not (Path(document["run"]) / "head.onnx").exists()


class TestDocument:
    def test_of_a_comparison(self, hues: Path, colours: Path) -> None:
        run = compare(hues, colours)
        document = run.to_json()
        assert set(document) == RUN_KEYS
        assert (document["run"], document["report"]) == (str(run.folder), str(run.folder / "report.html"))
        assert document["kind"] == "compare"
        assert document["title"] == "hues"
        assert [head["name"] for head in document["heads"]] == ["centroid", "dummy"]
        assert [head["chosen"] for head in document["heads"]] == [True, False]
        assert set(document["seconds"]) == {"scan", "embed", "compare", "report"}
        assert [document[name] for name in ("cleaning", "learning_curve", "search")] == [None] * 3
        assert run.model is None

    def test_of_its_heads_data_and_vectors(self, hues: Path, colours: Path) -> None:
        document = compare(hues, colours).to_json()
        head = document["heads"][0]
        assert set(head) == set(HeadRow.__annotations__)
        assert set(head["weighted_f1"]) == {"mean", "low", "high"}
        assert head["seconds"] == head["fit_seconds"] + head["predict_seconds"]
        assert set(head["shown"]) == set(ShownFit.__annotations__)
        assert set(document["data"]) == set(DataSection.__annotations__)
        assert document["data"]["pictures"] == 60
        assert set(document["vectors"]) == set(VectorsSection.__annotations__)
        assert document["vectors"]["dimension"] == 3

    def test_of_a_trained_head_has_its_scores_and_its_model_too(self, hues: Path, colours: Path) -> None:
        run = train(hues, colours)
        document = run.to_json()
        assert set(document) == {*RUN_KEYS, "weighted_f1", "accuracy", "model"}
        head = document["heads"][0]
        assert (document["weighted_f1"], document["accuracy"]) == (head["weighted_f1"], head["accuracy"])
        assert document["model"] == str(run.folder / "head.onnx")
        assert run.folder.name.endswith("-train-centroid")

    def test_in_metrics_json_has_no_paths_of_the_run(self, hues: Path, colours: Path) -> None:
        run = train(hues, colours)
        assert json.loads((run.folder / "metrics.json").read_text()) == json.loads(json.dumps(run.record.to_json()))

    def test_names_the_classes_that_are_left_out(self, hues: Path, colours: Path) -> None:
        paint(hues / "rare" / "only.jpg", (128, 128, 128), seed=1)
        data = train(hues, colours).to_json()["data"]
        assert data["left_out"] == {"rare": 1}
        assert data["classes"] == ["blue", "green", "red"]
        assert "left out, fewer than 4 different pictures: rare (1)" in data["warnings"]

    def test_names_the_rule_of_splits_that_the_folders_give(self, hues: Path, colours: Path, tmp_path: Path) -> None:
        for file in sorted(hues.rglob("*.jpg")):
            part = "test" if int(file.stem) < 5 else "train"
            target = tmp_path / "given" / part / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        data = compare(tmp_path / "given", colours).to_json()["data"]
        assert data["repeats"] == 1
        assert data["splits"]["test"] == {"blue": 5, "green": 5, "red": 5}
        assert "as the folders give them" in data["split_rule"]

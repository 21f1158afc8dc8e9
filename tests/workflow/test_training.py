"""From a folder to trained heads: what `compare`, `train` and `tune` measure, and the run that each writes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import winnow, winnow_error, winnow_json
from support.pictures import HUES
from support.runs import read_predictions

from winnow.curate.workspace import find_workspace
from winnow.embed.backbone import load_backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.heads.evaluation import search
from winnow.heads.models import finetune
from winnow.workflow import runs, tasks
from winnow.workflow.experiment import Experiment

SMALL_NETWORK = ("--weights", "random", "--alpha", 0.35, "--size", 96)


class TestCompare:
    def test_the_head_that_is_best_on_val_comes_first(self, hues: Path, colours: Path) -> None:
        quick = ("--heads", "centroid,logistic,dummy", "--repeats", 3, "--jobs", 1)
        document = winnow_json("compare", hues, "--backbone", colours, *quick)
        best, *_, worst = document["heads"]
        assert worst["name"] == "dummy"
        val_scores = [head["val_weighted_f1"] for head in document["heads"]]
        assert val_scores == sorted(val_scores, reverse=True)
        assert best["weighted_f1"]["low"] <= best["weighted_f1"]["mean"] <= best["weighted_f1"]["high"]
        assert best["weighted_f1"]["mean"] > 0.9
        assert best["versus_chosen"] is None
        assert worst["versus_chosen"]["difference"] < -0.5
        assert document["data"]["repeats"] == 3
        assert document["data"]["splits"]["train"] == {"blue": 14, "green": 14, "red": 14}

    def test_cleaning_is_not_measured_with_augmentation(self, hues: Path, colours: Path) -> None:
        message = winnow_error("compare", hues, "--backbone", colours, "--cleaning", "--augment", 2)
        expected = "the effect of cleaning is measured on plain vectors: leave out --augment, --tta and finetune"
        assert expected in message


class TestTrain:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["centroid", "logistic", "dummy", "knn", "svm-linear", "svm-rbf", "lda", "mlp"])
    def test_the_onnx_file_of_a_head_gives_the_predictions_of_the_head(
        self, hues: Path, colours: Path, kind: str
    ) -> None:
        import onnxruntime

        document = winnow_json("train", hues, "--backbone", colours, "--head", kind)
        folder = Path(document["run"])
        assert document["model"] == str(folder / "head.onnx")
        rows = read_predictions(folder, "test")
        vectors = Store(find_workspace(hues).embeddings, load_backbone(colours)).read([row["id"] for row in rows])
        labels, probabilities = onnxruntime.InferenceSession(folder / "head.onnx").run(None, {"embedding": vectors})
        assert labels.tolist() == [row["predicted"] for row in rows]
        expected = np.array([[float(row[f"p_{label}"]) for label in sorted(HUES)] for row in rows])
        assert np.abs(probabilities - expected).max() < 1e-4
        assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".joblib", ".keras", ".h5")]

    @pytest.mark.slow
    def test_a_head_is_trained_with_the_requested_calibration(self, hues: Path, colours: Path) -> None:
        arguments = ("train", hues, "--backbone", colours, "--head")
        calibrated = winnow_json(*arguments, "knn", "--calibration", "temperature")
        plain = winnow_json(*arguments, "knn")
        head = calibrated["heads"][0]
        assert head["params"] == {"calibration": "temperature"}
        assert calibrated["model"] is not None
        assert calibrated["weighted_f1"] == plain["weighted_f1"]
        assert head["log_loss"] != plain["heads"][0]["log_loss"]
        assert sum(head["reliability"]["count"]) == 9
        message = winnow_error(*arguments, "svm-rbf", "--calibration", "none")
        assert "SVC has no probabilities without calibration" in message

    @pytest.mark.slow
    def test_the_history_holds_the_schedule_and_the_report_draws_it(self, hues: Path, colours: Path) -> None:
        schedule = ("--schedule", "cosine", "--warmup", 2, "--momentum", 0.9, "--momentum-end", 0, "--epochs", 8)
        dense = ("--head", "dense", "--lr", 0.1, *schedule, "--patience", 8, "--class-weight", "balanced")
        document = winnow_json("train", hues, "--backbone", colours, *dense)
        with (Path(document["run"]) / "history.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        rates, momenta = ([float(row[name]) for row in rows] for name in ("lr", "momentum"))
        assert len(rows) == 8
        assert rates.index(max(rates)) in (1, 2)
        assert rates[-1] < 0.02 * max(rates)
        assert momenta == sorted(momenta, reverse=True)
        report = Path(document["report"]).read_text()
        assert "Loss of dense over 8 epochs, with learning rate and momentum" in report
        assert document["model"]


class TestAugmentation:
    @pytest.mark.slow
    def test_augmentation_and_tta_are_recorded_and_exported(self, hues: Path, colours: Path) -> None:
        arguments = ("train", hues, "--backbone", colours, "--head", "logistic", "--augment", 3)
        run = winnow_json(*arguments, "--tta", "flip")["run"]
        embedding = json.loads((Path(run) / "run.json").read_text())["embedding"]
        assert (embedding["augment"], embedding["tta"]) == (3, "flip")
        report = winnow_json("export", run)
        assert report["tta"] == report["metrics"]["tta"] == "flip"
        assert report["parity"]["largest_difference"] <= 1e-4
        assert Path(report["model"]).name == "model.onnx"

    @pytest.mark.slow
    def test_a_file_cannot_average_over_all_augmentations(self, hues: Path, colours: Path) -> None:
        options = ("--backbone", colours, "--head", "logistic", "--augment", 3, "--tta", "mean")
        run = winnow_json("train", hues, *options)["run"]
        message = winnow_error("export", run)
        assert "with test-time augmentation 'mean', which one file cannot compute: `winnow export " in message
        assert f"{run} --tta none` or --tta flip exports a file" in message

    @pytest.mark.slow
    @pytest.mark.parametrize("tta", ["none", "flip"])
    def test_the_cost_of_fewer_augmentations_in_the_file_is_measured(self, hues: Path, colours: Path, tta: str) -> None:
        options = ("--backbone", colours, "--head", "logistic", "--augment", 4, "--tta", "mean")
        run = Path(winnow_json("train", hues, *options)["run"])
        report = winnow_json("export", run, "--tta", tta)
        assert (report["tta"], report["metrics"]["tta"]) == (tta, "mean")
        assert Path(report["model"]).name == f"model-{tta}.onnx"
        parity = report["parity"]
        assert parity["largest_difference"] <= 1e-4  # between the file and Python, both with this augmentation
        assert parity["largest_from_run"] < 0.01  # between Python with all augmentations and the stored predictions
        f1 = json.loads((run / "metrics.json").read_text())["heads"][0]["weighted_f1"]["mean"]
        assert parity["weighted_f1"]["ordinary"] == pytest.approx(f1)
        assert "before the export it had" in Path(report["card"]).read_text()


class TestFineTuning:
    @pytest.mark.slow
    def test_it_is_compared_trained_and_exported_like_other_heads(
        self, hues: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "FINETUNE_AUGMENT", 2)
        params = {"unfreeze": 1, "epochs": 2, "lr": 0.003}
        grid = Path("grid.toml")
        table = "".join(f"{name} = {value}\n" for name, value in params.items())
        grid.write_text(f'[[head]]\nkind = "finetune"\n{table}[[head]]\nkind = "centroid"\n')
        document = winnow_json("compare", hues, *SMALL_NETWORK, "--grid", grid, "--repeats", 2, "--jobs", 1)
        heads = {head["name"]: head for head in document["heads"]}
        assert set(heads) == {"finetune", "centroid"}
        assert heads["finetune"]["params"] == params | {"alpha": 0.35, "weights": "random", "size": 96}

        options = ("--head", "finetune", "--unfreeze", 1, "--epochs", 2, "--lr", 0.003, "--tta", "flip")
        run = winnow_json("train", hues, *SMALL_NETWORK, *options)["run"]
        embedding = json.loads((Path(run) / "run.json").read_text())["embedding"]
        recipe = embedding["recipe"]
        assert (recipe["layer"], recipe["pool"], embedding["augment"]) == ("block_15_add", "none", 2)
        for tta, override in (("none", ("--tta", "none")), ("flip", ())):
            report = winnow_json("export", run, *override)
            assert report["tta"] == tta
            assert report["parity"]["labels_differ"] == 0
            assert report["parity"]["largest_difference"] <= 1e-4
            assert report["parity"]["largest_from_run"] < 0.01
        (prediction,) = winnow_json("predict", report["model"], hues / "red" / "00.jpg")["predictions"]
        assert prediction["label"] in HUES


QUICK_SEARCH = ("--candidates", 4, "--repeats", 2, "--jobs", 1)


class TestTune:
    @pytest.mark.slow
    def test_the_head_of_the_run_has_the_settings_of_the_first_split(self, hues: Path, colours: Path) -> None:
        import onnx

        arguments = ("tune", hues, "--backbone", colours, "--head", "knn", *QUICK_SEARCH)
        document = winnow_json(*arguments)
        choices = document["chosen_on_each_split"]
        assert document["head"] == "knn"
        assert document["searched"] == 4
        assert len(choices) == 2
        assert document["params"] == choices[0]["params"] == document["heads"][0]["params"]
        for name in ("weighted_f1", "default"):
            mean = sum(choice[name] for choice in choices) / 2
            assert document[name]["mean"] == pytest.approx(mean)
            assert document[name]["low"] <= mean <= document[name]["high"]
        gain = document["weighted_f1"]["mean"] - document["default"]["mean"]
        assert document["difference"]["difference"] == pytest.approx(gain)
        assert {"search", "train"} <= set(document["seconds"])
        metadata = {entry.key: entry.value for entry in onnx.load(document["model"]).metadata_props}
        assert json.loads(metadata["params"]) == document["params"]
        metrics = json.loads((Path(document["run"]) / "metrics.json").read_text())
        assert metrics["kind"] == "tune"
        assert metrics["search"]["difference"] == document["difference"]
        report = Path(document["report"]).read_text()
        assert '<h2 id="search">Hyperparameter search</h2>' in report
        assert "Tuned " in report
        assert winnow_json(*arguments)["chosen_on_each_split"] == choices

    @pytest.mark.slow
    def test_splits_that_the_folders_give_have_one_search(self, hues: Path, colours: Path, tmp_path: Path) -> None:
        folder = tmp_path / "given"
        for number, file in enumerate(sorted(hues.rglob("*.jpg"))):
            part = "test" if number % 5 == 0 else "train"
            (folder / part / file.parent.name).mkdir(parents=True, exist_ok=True)
            file.rename(folder / part / file.parent.name / file.name)
        document = winnow_json("tune", folder, "--backbone", colours, "--head", "logistic", *QUICK_SEARCH)
        assert len(document["chosen_on_each_split"]) == 1
        difference = document["difference"]
        assert difference["low"] <= difference["difference"] <= difference["high"]

    @pytest.mark.slow
    def test_a_search_trains_on_all_augmentations_and_evaluates_with_tta(
        self, hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        splits, compare = [], search.compare

        def record_splits(heads: Any, task: Any, compared: Any, *rest: Any, **options: Any) -> Any:
            splits.extend(compared)
            return compare(heads, task, compared, *rest, **options)

        monkeypatch.setattr(search, "compare", record_splits)
        options = ("--head", "logistic", "--augment", 3, "--tta", "flip", "--candidates", 2, "--repeats", 1)
        winnow_json("tune", hues, "--backbone", colours, *options, "--jobs", 1)
        *inner, outer = splits
        assert len(inner) == 5
        # The rows: 60 plain images, 60 of each of two augmentations, 60 means of plain images and their mirror images.
        for split in splits:
            train = set(split.train.tolist())
            expected = sorted(row + 60 * number for row in train for number in range(3))
            assert sorted(split.training_rows.tolist()) == expected
            for part in ("val", "test"):
                images = set((split.evaluation_rows(part) - 180).ravel().tolist())
                assert images <= set(range(60)) - train
            training_groups = set(split.groups[split.training_rows].tolist())
            assert not training_groups & set(split.groups[split.evaluation_rows("val")].ravel().tolist())
        searched = {
            row % 60 for split in inner for row in [*split.training_rows, *split.evaluation_rows("val").ravel()]
        }
        assert searched == set(outer.train.tolist())

    @pytest.mark.slow
    def test_fine_tuning_is_searched_on_maps_of_all_augmentations(
        self, hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fits, layers = [], []  # fits: learning rate, rows, images

        class QuickHead(finetune.FineTunedHead):
            def fit(
                self, X: np.ndarray, y: np.ndarray, groups: Any = None, rows: Any = None, on_epoch: Any = None
            ) -> QuickHead:
                fits.append((self.lr, len(rows), len(np.unique(groups))))
                self.classes_, self.history_ = np.unique(y), {"loss": []}
                return self

            def predict_proba(self, X: np.ndarray) -> np.ndarray:
                if self.lr == 0.01:
                    return X / X.sum(axis=1, keepdims=True)
                return np.full((len(X), 3), 1 / 3, np.float32)

        def with_maps(experiment: Experiment, config: EmbeddingConfig, *_: Any) -> Experiment:
            layers.append(config.recipe.layer)
            rows = np.tile(experiment.features.rows, (2, 1)).astype(np.float16)
            folder = replace(experiment.folder, config=replace(experiment.folder.config, augment=2))
            return replace(experiment, features=replace(experiment.features, rows=rows), folder=folder)

        monkeypatch.setattr(finetune, "FineTunedHead", QuickHead)
        monkeypatch.setattr(tasks, "with_maps", with_maps)
        monkeypatch.setattr(tasks, "vector_config", lambda grid, config: config)  # the backbone here has no maps
        monkeypatch.setattr(runs, "_write_head", lambda *_: None)
        options = ("--head", "finetune", "--candidates", 3, "--repeats", 1, "--jobs", 1)
        result = winnow("tune", hues, "--backbone", colours, *options)
        assert result.exit_code == 0, result.output
        # Three folds of each setting, then the chosen and the default one on the split.
        assert "Searching among 3 settings of finetune: 11 fits" in result.stderr
        assert "To train with these: winnow train" in result.stderr
        assert layers == ["block_10_project_BN"]
        images = fits[-1][2]
        assert [count for *_, count in fits[9:]] == [images] * 3
        assert sum(count for *_, count in fits[:3]) == 2 * images
        assert all(rows == 2 * count for _, rows, count in fits)
        rates = [lr for lr, *_ in fits]
        assert len(set(rates[:9])) == 3
        assert rates[:3] == rates[9:] == [0.01] * 3
        (run,) = Path("hues.winnow/runs").glob("*-tune-finetune")
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["search"]["params"] == {}  # the default settings; the options of the network are not searched
        assert metrics["heads"][0]["params"] == {"alpha": 1.0, "weights": "imagenet", "size": 224}

    def test_a_head_without_settings_is_refused_before_the_work(self, hues: Path) -> None:
        assert winnow_error("tune", hues, "--head", "dummy") == (
            "Error: the dummy head has no settings worth a search; those that have: "
            "dense, knn, logistic, svm-linear, svm-rbf, lda, forest, mlp, triplet, supcon, finetune"
        )
        assert not Path("hues.winnow/manifest.lance").exists()

"""From a folder to compared heads: what is used again, what is left out, what a run leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.pictures import HUES, paint

from winnow import cli


def winnow(*words: object) -> Any:
    done = CliRunner().invoke(cli.main, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


SLOW_KINDS = ("dummy", "knn", "svm-linear", "svm-rbf", "lda", "mlp")
QUICK = ("--heads", "centroid,logistic,dummy", "--repeats", 3, "--jobs", 1)


def test_compare_puts_the_head_that_is_best_on_val_first(hues: Path, colours: Path) -> None:
    said = winnow("compare", hues, "--backbone", colours, *QUICK)
    names = [head["name"] for head in said["heads"]]
    assert names[-1] == "dummy"
    vals = [head["val_weighted_f1"] for head in said["heads"]]
    assert vals == sorted(vals, reverse=True)
    best = said["heads"][0]
    assert best["weighted_f1"]["low"] <= best["weighted_f1"]["mean"] <= best["weighted_f1"]["high"]
    assert best["weighted_f1"]["mean"] > 0.9
    assert best["versus_chosen"] is None
    assert said["heads"][-1]["versus_chosen"]["difference"] < -0.5
    assert said["data"]["repeats"] == 3
    assert said["data"]["splits"]["train"] == {"blue": 14, "green": 14, "red": 14}


@pytest.mark.slow
def test_fits_done_before_are_used_again_unless_fresh_ones_are_asked_for(hues: Path, colours: Path) -> None:
    words = ("compare", hues, "--backbone", colours, *QUICK)
    winnow(*words)
    fits = {file: file.stat().st_mtime_ns for file in Path("hues.winnow/fits").iterdir()}
    assert len(fits) == 9
    winnow(*words)
    assert {file: file.stat().st_mtime_ns for file in Path("hues.winnow/fits").iterdir()} == fits
    winnow(*words, "--fresh")
    assert all(file.stat().st_mtime_ns > then for file, then in fits.items())


@pytest.mark.slow
def test_a_learning_curve_is_fitted_on_parts_of_the_same_splits_and_found_again(hues: Path, colours: Path) -> None:
    words = ("compare", hues, "--backbone", colours, *QUICK, "--learning-curve")
    said = winnow(*words)
    curve, best = said["learning_curve"], said["heads"][0]
    assert curve["head"] == best["name"]
    assert [size["pictures"] for size in curve["sizes"]] == [6, 9, 15, 21, 30, 42]
    assert [size["share"] for size in curve["sizes"]] == [0.1, 0.2, 0.35, 0.5, 0.7, 1.0]
    assert curve["sizes"][-1]["weighted_f1"] == best["weighted_f1"]
    assert set(curve) == {"head", "sizes", "guess", "reason", "exponent", "law"}
    assert (curve["guess"] is None) == isinstance(curve["reason"], str)
    assert said["seconds"]["learning_curve"] > 0
    assert 'id="learning"' in (Path(said["run"]) / "report.html").read_text()
    fits = {file: file.stat().st_mtime_ns for file in Path("hues.winnow/fits").iterdir()}
    assert len(fits) == 9 + 5 * 3
    assert winnow(*words)["learning_curve"] == curve
    assert {file: file.stat().st_mtime_ns for file in Path("hues.winnow/fits").iterdir()} == fits


@pytest.mark.slow
def test_a_head_is_trained_with_the_calibration_that_is_asked_for(hues: Path, colours: Path) -> None:
    said = winnow("train", hues, "--backbone", colours, "--head", "knn", "--calibration", "temperature")
    plain = winnow("train", hues, "--backbone", colours, "--head", "knn")
    assert said["heads"][0]["params"] == {"calibration": "temperature"}
    assert said["model"] is not None
    assert said["weighted_f1"] == plain["weighted_f1"]
    assert said["heads"][0]["log_loss"] != plain["heads"][0]["log_loss"]
    assert sum(said["heads"][0]["reliability"]["count"]) == 9
    done = CliRunner().invoke(
        cli.main, list(map(str, ["train", hues, "--backbone", colours, "--head", "svm-rbf", "--calibration", "none"]))
    )
    assert done.exit_code == 1
    assert "SVC has no probabilities without calibration" in done.stderr


@pytest.mark.slow
def test_a_changed_picture_makes_new_fits(hues: Path, colours: Path) -> None:
    words = ("compare", hues, "--backbone", colours, "--heads", "centroid", "--repeats", 1, "--jobs", 1)
    winnow(*words)
    paint(hues / "red" / "00.jpg", HUES["red"], seed=999)
    winnow(*words)
    assert len(list(Path("hues.winnow/fits").iterdir())) == 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(hues: Path, colours: Path) -> None:
    words = ("compare", hues, "--backbone", colours, "--heads", "mlp", "--repeats", 2, "--jobs", 1, "--fresh")
    scores = [winnow(*words, "--seed", seed)["heads"][0]["log_loss"] for seed in (0, 0, 5)]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.slow
def test_a_run_folder_says_how_it_was_made(hues: Path, colours: Path) -> None:
    import lance

    said = winnow("compare", hues, "--backbone", colours, *QUICK)
    folder = Path(said["run"])
    run = json.loads((folder / "run.json").read_text())
    assert (run["seed"], run["repeats"], run["kind"]) == (0, 3, "compare")
    assert run["vectors"] == said["vectors"]["key"]
    assert run["versions"]["scikit-learn"]
    splits = lance.dataset(folder / "splits.lance").to_table().to_pylist()
    assert len(splits) == 3 * 60
    assert {row["split"] for row in splits} == {"train", "val", "test"}
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    test_ids = {row["id"] for row in splits if row["repeat"] == 0 and row["split"] == "test"}
    assert {row["id"] for row in rows if row["split"] == "test"} == test_ids
    assert json.loads((folder / "metrics.json").read_text())["heads"][0]["name"] == said["heads"][0]["name"]
    assert "hues" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "kind",
    [
        "centroid",
        "logistic",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("dummy", "knn", "svm-linear", "svm-rbf", "lda", "mlp")
        ),
    ],
)
@pytest.mark.slow
def test_a_trained_head_is_an_onnx_file_that_says_the_same(hues: Path, colours: Path, kind: str) -> None:
    import onnxruntime

    said = winnow("train", hues, "--backbone", colours, "--head", kind)
    folder = Path(said["run"])
    assert said["model"] == str(folder / "head.onnx")
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    vectors = winnow_vectors(hues, colours, [row["id"] for row in rows])
    labels, probabilities = onnxruntime.InferenceSession(folder / "head.onnx").run(None, {"embedding": vectors})
    assert labels.tolist() == [row["predicted"] for row in rows]
    written = np.array([[float(row[f"p_{label}"]) for label in sorted(HUES)] for row in rows])
    assert np.abs(probabilities - written).max() < 1e-4
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".joblib", ".keras", ".h5")]


def winnow_vectors(images: Path, backbone: Path, ids: list[str]) -> np.ndarray:
    from winnow.curate.workspace import find_workspace
    from winnow.embed.backbone import load_backbone
    from winnow.embed.store import Store

    return Store(find_workspace(images).embeddings, load_backbone(backbone)).read(ids)


@pytest.mark.slow
def test_pictures_of_a_group_never_stand_on_two_sides(hues: Path, colours: Path) -> None:
    import lance

    group = r"/\d(\d)\.jpg$"  # pictures 03 and 13 of every class are of one camera
    said = winnow("compare", hues, "--backbone", colours, *QUICK, "--group-by", group)
    splits = lance.dataset(Path(said["run"]) / "splits.lance").to_table().to_pylist()
    with (Path(said["run"]) / "predictions.csv").open(newline="") as stream:
        digit = {row["id"]: row["path"][-5] for row in csv.DictReader(stream) if row["split"] == "test"}
    sides: dict[str, set[str]] = {}
    for row in splits:
        if row["repeat"] == 0 and row["id"] in digit:
            sides.setdefault(digit[row["id"]], set()).add(row["split"])
    assert sides
    assert all(side == {"test"} for side in sides.values())
    tested = {digit[row["id"]] for row in splits if row["repeat"] == 0 and row["split"] == "test"}
    assert sum(row["split"] == "test" and row["repeat"] == 0 for row in splits) == 6 * len(tested)


@pytest.mark.slow
def test_splits_of_the_folders_are_honoured(hues: Path, colours: Path, tmp_path: Path) -> None:
    for label in HUES:
        for number in range(20):
            part = "test" if number < 5 else "train"
            target = tmp_path / "given" / part / label / f"{number:02d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((hues / label / f"{number:02d}.jpg").read_bytes())
    said = winnow("compare", tmp_path / "given", "--backbone", colours, *QUICK)
    assert said["data"]["repeats"] == 1
    assert said["data"]["splits"]["test"] == {"blue": 5, "green": 5, "red": 5}
    assert sum(said["data"]["splits"]["val"].values()) > 0
    assert "as the folders give them" in said["data"]["split_rule"]


def test_one_class_is_told_what_is_missing(hues: Path, colours: Path) -> None:
    done = CliRunner().invoke(cli.main, ["compare", str(hues / "red"), "--backbone", str(colours)])
    assert done.exit_code == 1
    assert "a classifier needs two classes" in done.stderr
    assert "--labels FILE.csv" in done.stderr


@pytest.mark.slow
def test_a_class_too_small_to_divide_is_left_out_and_named(hues: Path, colours: Path) -> None:
    paint(hues / "rare" / "only.jpg", (128, 128, 128), seed=1)
    done = CliRunner().invoke(
        cli.main, list(map(str, ["compare", hues, "--backbone", colours, *QUICK, "--json"])), catch_exceptions=False
    )
    said = json.loads(done.stdout)
    assert said["data"]["left_out"] == {"rare": 1}
    assert said["data"]["classes"] == ["blue", "green", "red"]
    assert "note: left out, fewer than 4 different pictures: rare (1)" in done.stderr


@pytest.mark.slow
def test_numbers_that_json_has_not_become_null(hues: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('[[head]]\nname = "hard"\nkind = "logistic"\nC = inf\n')
    done = CliRunner().invoke(
        cli.main, ["compare", str(hues), "--backbone", str(colours), "--grid", "grid.toml", "--repeats", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert "Infinity" not in done.stdout
    assert json.loads(done.stdout)["heads"][0]["params"] == {"C": None}


@pytest.mark.slow
def test_a_run_that_fails_leaves_no_folder(hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("winnow.workflow.report.page._write_file", full)
    done = CliRunner().invoke(cli.main, ["compare", str(hues), "--backbone", str(colours), "--heads", "dummy"])
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert list(Path("hues.winnow/runs").iterdir()) == []


@pytest.mark.slow
def test_a_head_whose_file_is_not_like_it_is_told_and_the_run_kept(
    hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.deploy.onnx.head.TOLERANCE", -1.0)
    words = ["train", str(hues), "--backbone", str(colours), "--head", "centroid", "--json"]
    done = CliRunner().invoke(cli.main, words)
    assert "note: head.onnx was not written: the exported head differs" in done.stderr
    said = json.loads(done.stdout)
    assert said["model"] is None
    assert Path(said["report"]).is_file()
    assert not (Path(said["run"]) / "head.onnx").exists()


@pytest.mark.slow
def test_heads_whose_time_is_quadratic_are_left_out_of_large_folders_unless_named(
    hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.workflow.fitting.QUADRATIC_LIMIT", 10)
    monkeypatch.setattr("winnow.heads.kinds.DEFAULT_HEADS", ("centroid", "knn", "svm-rbf"))
    words = ["compare", str(hues), "--backbone", str(colours), "--repeats", "1", "--json"]
    done = CliRunner().invoke(cli.main, words)
    assert [head["name"] for head in json.loads(done.stdout)["heads"]] == ["centroid"]
    assert "knn, svm-linear, svm-rbf are left out, slow on 42 pictures" in done.stderr
    assert [head["name"] for head in winnow(*words[:-1], "--heads", "knn")["heads"]] == ["knn"]


@pytest.mark.slow
def test_from_the_flower_photographs_to_a_report(flowers: Path, imagenet: Path) -> None:
    said = winnow("run", flowers)
    assert said["scan"]["images"] == 1000
    assert said["scan"]["problems"] == 0
    assert said["embed"]["embedded"] == 1000
    assert said["embed"]["parity"] <= 1e-3
    heads = {head["name"]: head["weighted_f1"]["mean"] for head in said["compare"]["heads"]}
    assert said["compare"]["data"]["repeats"] == 10
    assert said["compare"]["heads"][0]["weighted_f1"]["mean"] >= 0.88
    assert heads["dense"] > 0.8
    assert heads["dummy"] < 0.1
    assert Path(said["report"]).is_file()
    assert Path(said["train"]["model"]).is_file()
    assert Path(said["export"]["model"]).name == "model.onnx"
    parity = said["export"]["parity"]
    assert (parity["pictures"], parity["labels_differ"]) == (150, 0)
    assert parity["largest_difference"] <= 1e-4
    assert parity["largest_from_run"] < 0.05
    assert said["export"]["familiarity"]["held_out"]["rejected"] < 0.15

    fits = {file: file.stat().st_mtime_ns for file in Path("small_flower_dataset.winnow/fits").iterdir()}
    again = winnow("run", flowers)
    assert (again["embed"]["embedded"], again["embed"]["reused"]) == (0, 1000)
    assert {file: file.stat().st_mtime_ns for file in Path("small_flower_dataset.winnow/fits").iterdir()} == fits
    assert again["compare"]["heads"][0]["weighted_f1"] == said["compare"]["heads"][0]["weighted_f1"]


@pytest.mark.slow
def test_heads_may_learn_from_maps_and_pictures_are_scored_by_pooled_vectors_all_the_same(hues: Path) -> None:
    tiny = ("--weights", "random", "--alpha", "0.35", "--size", 96)
    said = winnow("run", hues, *tiny, "--pool", "none", "--heads", "centroid", "--repeats", 1, "--jobs", 1)
    assert said["embed"]["dimension"] == 3 * 3 * 1280
    assert said["embed"]["embedded"] == 60
    assert len(said["score"]["suspects"]) == 60
    assert said["export"]["parity"]["largest_difference"] <= 1e-4
    assert len(list(Path("hues.winnow/embeddings").glob("*.lance"))) == 2


@pytest.mark.slow
def test_classes_of_five_pictures_are_compared_with_all_heads(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "winnow.curate.noise.score_table.near_groups", lambda *_: {}
    )  # none is; to make sure takes ten seconds here
    hues = {"amber": (230, 180, 40), "teal": (30, 160, 160), **{name: HUES[name] for name in ("red", "blue")}}
    for index, (label, count) in enumerate(zip(hues, (5, 5, 40, 200), strict=True)):
        for number in range(count):
            paint(tmp_path / "photos" / label / f"{number:03d}.jpg", hues[label], 1000 * index + number)
    said = winnow("compare", tmp_path / "photos", "--backbone", colours, "--repeats", 1, "--jobs", 1)
    assert len(said["heads"]) == 10
    assert said["data"]["left_out"] == {}
    assert said["data"]["warnings"] == []
    splits = said["data"]["splits"]
    assert [splits[part]["amber"] for part in ("train", "val", "test")] == [3, 1, 1]
    assert [splits[part]["blue"] for part in ("train", "val", "test")] == [140, 30, 30]
    scores = {head["name"]: head["weighted_f1"]["mean"] for head in said["heads"]}
    assert min(score for name, score in scores.items() if name != "dummy") > scores["dummy"]
    assert Path(said["report"]).is_file()


@pytest.mark.slow
def test_a_schedule_is_told_in_the_history_and_drawn(hues: Path, colours: Path) -> None:
    words = ("--schedule", "cosine", "--warmup", 2, "--momentum", 0.9, "--momentum-end", 0, "--epochs", 8)
    dense = ("--head", "dense", "--lr", 0.1, *words, "--patience", 8, "--class-weight", "balanced")
    said = winnow("train", hues, "--backbone", colours, *dense)
    with (Path(said["run"]) / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rates, momenta = ([float(row[name]) for row in rows] for name in ("lr", "momentum"))
    assert len(rows) == 8
    assert rates.index(max(rates)) in (1, 2)
    assert rates[-1] < 0.02 * max(rates)
    assert momenta == sorted(momenta, reverse=True)
    assert "Loss of dense over 8 epochs, with learning rate and momentum" in Path(said["report"]).read_text()
    assert said["model"]


def test_what_is_judged_by_all_its_views_is_sent_on_to_a_file_that_looks_twice(hues: Path, colours: Path) -> None:
    words = ["train", str(hues), "--backbone", str(colours), "--head", "centroid", "--augment", "2", "--tta"]
    said = {views: CliRunner().invoke(cli.main, [*words, views]).output.splitlines()[-1] for views in ("mean", "flip")}
    assert said["mean"].startswith("Next: winnow export")
    assert said["mean"].endswith(" --tta flip")
    assert said["flip"].startswith("Next: winnow export")
    assert "--tta" not in said["flip"]

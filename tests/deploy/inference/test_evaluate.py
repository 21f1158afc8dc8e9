"""Evaluating a model on a labelled folder: scores, what is left out, familiarity, and refusals."""

import hashlib
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score
from support.evaluations import evaluate_folder, mix_up
from support.pictures import HUES, paint

from winnow.commands.output.evaluation_report import describe_remarks
from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError


def evaluate_to_json(folder, model, rule="folder", **changes):
    return evaluate_folder(folder, model, rule, **changes).to_json()


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture
def mixed(hues):
    return mix_up(hues)


def test_the_scores_are_those_of_scikit_learn(mixed, model):
    result = evaluate_to_json(mixed, model)
    rows = [row for row in result["predictions"] if row["problem"] is None]
    truth, predicted = ([row[name] for row in rows] for name in ("label", "predicted"))
    assert result["pictures"] == len(rows) == 59
    assert result["weighted_f1"]["mean"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert result["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert result["confusion"] == confusion_matrix(truth, predicted).tolist()
    assert result["accuracy"] == pytest.approx(44 / 59)
    f1 = result["weighted_f1"]
    assert 0.05 < f1["mean"] - f1["low"] < 0.2
    assert 0.05 < f1["high"] - f1["mean"] < 0.2
    assert result["classes"] == sorted(HUES)
    assert result["classification_report"]["classes"][0]["support"] == 20
    assert result["claimed"]["weighted_f1"]["mean"] == 0.91


def test_unreadable_pictures_are_reported_and_the_rest_is_evaluated(mixed, model):
    (mixed / "blue" / "none.jpg").write_bytes(b"")
    problems = evaluate_to_json(mixed, model)["problems"]
    assert [(row["path"], row["code"]) for row in problems] == [("blue/none.jpg", "empty"), ("red/10.jpg", "truncated")]


def test_the_most_wrong_come_first(mixed, model):
    wrong = evaluate_to_json(mixed, model)["most_wrong"]
    assert len(wrong) == 15
    assert {row["path"].split("/")[1][:-5] for row in wrong} == set(HUES)
    probabilities = [row["label_probability"] for row in wrong]
    assert probabilities == sorted(probabilities)
    assert probabilities[-1] < 0.5


def test_copies_count_once_with_the_majority_label(hues, model):
    shutil.copy(hues / "red" / "00.jpg", hues / "red" / "again.jpg")
    shutil.copy(hues / "red" / "00.jpg", hues / "blue" / "again.jpg")
    shutil.copy(hues / "green" / "00.jpg", hues / "blue" / "other.jpg")
    shutil.copy(hues / "green" / "01.jpg", hues / "green.jpg")
    result = evaluate_folder(hues, model)
    assert result.left_out == {"copies": 4, "trained_on": 0, "unlabelled": 0, "conflicting": 1}
    assert "Left out: 4 pictures with the same bytes as another" in describe_remarks(result)
    assert "Left out: 1 picture with copies under different labels" in describe_remarks(result)
    assert result.scores.pictures == 59
    labels = {row["path"]: row["label"] for row in [row.to_json() for row in result.predictions]}
    assert labels["blue/again.jpg"] == "red"
    assert "green/00.jpg" not in labels
    assert labels["green.jpg"] == "green"


def test_pictures_that_the_model_was_trained_on_are_left_out(hues, model):
    seen = [digest(file) for file in (hues / "red").iterdir()][:15]
    result = evaluate_folder(hues, model, trained_on=seen)
    assert (result.left_out["trained_on"], result.scores.pictures) == (15, 45)
    assert result.warnings == []
    assert "Left out: 15 pictures that the model was trained or chosen on" in describe_remarks(result)
    unknown = evaluate_folder(hues, model)
    assert unknown.warnings == ["the model does not list its training pictures: some may be among these"]


def test_classes_that_the_model_does_not_know_are_counted_apart(hues, model):
    for number in range(6):
        paint(hues / "purple" / f"{number}.jpg", (200, 30, 220), 900 + number)
    paint(hues / "pink" / "0.jpg", HUES["red"], 990)
    result = evaluate_folder(hues, model)
    assert result.scores.pictures == 60
    assert result.unknown.to_json()["labels"] == {
        "purple": {"pictures": 6, "unfamiliar": 6},
        "pink": {"pictures": 1, "unfamiliar": 0},
    }
    rows = [row.to_json() for row in result.predictions]
    known, other = ([r["familiarity"] for r in rows if (r["label"] in HUES) is is_known] for is_known in (True, False))
    expected = np.mean(np.array(known)[:, None] > other) + np.mean(np.array(known)[:, None] == other) / 2
    assert result.unknown.auroc == pytest.approx(expected)
    assert expected > 0.85
    assert {row["label_probability"] for row in rows if row["label"] == "purple"} == {None}
    assert any(
        line.startswith("Of classes that the model does not know: 7 pictures, 6") for line in describe_remarks(result)
    )


def test_scores_without_unfamiliar_pictures_are_reported(hues, model):
    for number in range(4):
        paint(hues / "red" / f"purple{number}.jpg", (200, 30, 220), 900 + number)
    familiarity = evaluate_to_json(hues, model)["familiarity"]
    assert (familiarity["threshold"], familiarity["unfamiliar"]) == (0.05, 4)
    assert familiarity["rest"]["weighted_f1"] == 1.0
    assert evaluate_to_json(hues, model, familiarity_threshold="1")["familiarity"]["rest"] is None


def test_classes_without_a_picture_are_named_and_not_averaged(hues, model):
    shutil.rmtree(hues / "green")
    result = evaluate_folder(hues, model)
    assert (result.scores.classes, result.scores.absent) == (["blue", "red"], ["green"])
    assert result.scores.metrics["macro_f1"] == 1.0
    assert result.scores.classification_report["macro avg"]["f1-score"] == 1.0
    assert "Classes of the model without a picture here: green" in describe_remarks(result)


def test_labels_come_by_the_rules_of_scan(hues, model, tmp_path):
    deep = tmp_path / "deep"
    shutil.copytree(hues, deep / "2026")
    assert evaluate_to_json(deep, model, "parent")["accuracy"] == 1.0
    table = tmp_path / "labels.csv"
    lines = [f"{file.relative_to(deep)},{file.parent.name}" for file in (deep / "2026" / "red").iterdir()]
    table.write_text("path,label\n" + "\n".join(lines) + f"\n{deep}/2026/blue/00.jpg,blue\n")
    result = evaluate_to_json(deep, model, table)
    assert (result["pictures"], result["left_out"]["unlabelled"], result["accuracy"]) == (21, 39, 1.0)


def test_nothing_is_written_in_the_folder(mixed, model):
    before = sorted((file, file.stat().st_mtime_ns) for file in mixed.rglob("*"))
    evaluate_to_json(mixed, model)
    assert sorted((file, file.stat().st_mtime_ns) for file in mixed.rglob("*")) == before


def test_a_model_for_any_size_is_evaluated_too(hues, model):
    assert evaluate_to_json(hues, model, any_size=True)["accuracy"] == 1.0


def renamed(hues):
    for label in HUES:
        (hues / label).rename(hues / f"{label} flowers")


def flat(hues):
    for file in list(hues.glob("*/*.jpg")):
        file.rename(hues / f"{file.parent.name}{file.name}")


def damaged(hues):
    for file in hues.glob("*/*.jpg"):
        file.write_bytes(b"GIF89a" + file.parent.name.encode())


@pytest.mark.parametrize(
    ("change", "rule", "message"),
    [
        (
            renamed,
            "folder",
            r"none of its labels \(blue flowers, .*\) is one of the model's \(blue, green, red\): rename",
        ),
        (
            flat,
            "folder",
            "no picture has a label: put the pictures of each class in a folder of its own, or use --labels",
        ),
        (damaged, "folder", "no picture of a class that the model knows can be read: begins as GIF"),
        (shutil.rmtree, "folder", "does not exist: name a folder of pictures with labels"),
        (lambda hues: None, "missing.csv", "missing.csv: no such file: --labels takes folder, parent or a CSV file"),
    ],
)
def test_a_folder_that_cannot_be_evaluated_is_refused_with_a_remedy(hues, model, change, rule, message):
    change(hues)
    with pytest.raises(InputError) as caught:
        evaluate_to_json(hues, model, rule)
    text = with_remedy(caught.value)
    assert re.search(message, text)
    assert "\n" not in text


def test_a_folder_that_the_model_was_trained_on_is_refused(hues, model):
    with pytest.raises(
        InputError, match="the model was trained or chosen on 60 of its pictures and no other has a label"
    ):
        evaluate_to_json(hues, model, trained_on=[digest(file) for file in hues.glob("*/*.jpg")])

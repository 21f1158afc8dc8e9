"""Fits of a comparison: what is fitted, what is reused, and the learning curve."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import winnow, winnow_json
from support.pictures import HUES, paint

from winnow.common.errors import InputError
from winnow.heads.kinds import DEFAULT_HEADS
from winnow.workflow import fitting

QUICK = ("--heads", "centroid,logistic,dummy", "--repeats", 3, "--jobs", 1)


def modification_times() -> dict[Path, int]:
    """File -> time of its last change, of every stored fit."""
    return {file: file.stat().st_mtime_ns for file in Path("hues.winnow/fits").iterdir()}


def test_heads_are_given_by_kind() -> None:
    assert [head.kind for head in fitting.grid_of_kinds("lda, knn").heads] == ["lda", "knn"]
    assert [head.kind for head in fitting.grid_of_kinds(None).heads] == list(DEFAULT_HEADS)
    with pytest.raises(InputError, match="no head is called 'svm'"):
        fitting.grid_of_kinds("lda,svm")


@pytest.mark.slow
def test_stored_fits_are_reused_unless_fresh_ones_are_requested(hues: Path, colours: Path) -> None:
    arguments = ("compare", hues, "--backbone", colours, *QUICK)
    winnow_json(*arguments)
    fits = modification_times()
    assert len(fits) == 9
    winnow_json(*arguments)
    assert modification_times() == fits
    winnow_json(*arguments, "--fresh")
    assert all(modified > fits[file] for file, modified in modification_times().items())


@pytest.mark.slow
def test_a_changed_picture_needs_new_fits(hues: Path, colours: Path) -> None:
    arguments = ("compare", hues, "--backbone", colours, "--heads", "centroid", "--repeats", 1, "--jobs", 1)
    winnow_json(*arguments)
    paint(hues / "red" / "00.jpg", HUES["red"], seed=999)
    winnow_json(*arguments)
    assert len(modification_times()) == 2


@pytest.mark.slow
def test_the_seed_decides_the_scores(hues: Path, colours: Path) -> None:
    arguments = ("compare", hues, "--backbone", colours, "--heads", "mlp", "--repeats", 2, "--jobs", 1, "--fresh")
    scores = [winnow_json(*arguments, "--seed", seed)["heads"][0]["log_loss"] for seed in (0, 0, 5)]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.slow
def test_a_learning_curve_is_fitted_on_parts_of_the_same_splits_and_reused(hues: Path, colours: Path) -> None:
    arguments = ("compare", hues, "--backbone", colours, *QUICK, "--learning-curve")
    document = winnow_json(*arguments)
    curve, best = document["learning_curve"], document["heads"][0]
    assert curve["head"] == best["name"]
    assert [size["pictures"] for size in curve["sizes"]] == [6, 9, 15, 21, 30, 42]
    assert [size["share"] for size in curve["sizes"]] == [0.1, 0.2, 0.35, 0.5, 0.7, 1.0]
    assert curve["sizes"][-1]["weighted_f1"] == best["weighted_f1"]
    assert set(curve) == {"head", "sizes", "guess", "reason", "exponent", "law"}
    assert (curve["guess"] is None) == isinstance(curve["reason"], str)
    assert document["seconds"]["learning_curve"] > 0
    assert 'id="learning"' in (Path(document["run"]) / "report.html").read_text()
    fits = modification_times()
    assert len(fits) == 9 + 5 * 3
    assert winnow_json(*arguments)["learning_curve"] == curve
    assert modification_times() == fits


@pytest.mark.slow
def test_heads_of_quadratic_time_are_left_out_of_large_folders_unless_they_are_named(
    hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.workflow.fitting.QUADRATIC_LIMIT", 10)
    monkeypatch.setattr("winnow.heads.kinds.DEFAULT_HEADS", ("centroid", "knn", "svm-rbf"))
    arguments = ("compare", hues, "--backbone", colours, "--repeats", 1)
    assert [head["name"] for head in winnow_json(*arguments)["heads"]] == ["centroid"]
    message = (
        "note: knn, svm-linear, svm-rbf are left out, because they are slow on 42 training pictures; "
        "a comparison that names them includes them"
    )
    assert message in winnow(*arguments).stderr
    assert [head["name"] for head in winnow_json(*arguments, "--heads", "knn")["heads"]] == ["knn"]


@pytest.mark.slow
def test_classes_of_five_pictures_are_compared_with_all_heads(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There are no near-duplicates here, and to look for them takes ten seconds.
    monkeypatch.setattr("winnow.curate.noise.score_table.near_groups", lambda *_: {})
    hues = {"amber": (230, 180, 40), "teal": (30, 160, 160), "red": HUES["red"], "blue": HUES["blue"]}
    for index, (label, count) in enumerate(zip(hues, (5, 5, 40, 200), strict=True)):
        for number in range(count):
            paint(tmp_path / "photos" / label / f"{number:03d}.jpg", hues[label], 1000 * index + number)
    document = winnow_json("compare", tmp_path / "photos", "--backbone", colours, "--repeats", 1, "--jobs", 1)
    assert len(document["heads"]) == 10
    assert document["data"]["left_out"] == {}
    assert document["data"]["warnings"] == []
    splits = document["data"]["splits"]
    assert [splits[part]["amber"] for part in ("train", "val", "test")] == [3, 1, 1]
    assert [splits[part]["blue"] for part in ("train", "val", "test")] == [140, 30, 30]
    scores = {head["name"]: head["weighted_f1"]["mean"] for head in document["heads"]}
    assert min(score for name, score in scores.items() if name != "dummy") > scores["dummy"]
    assert Path(document["report"]).is_file()

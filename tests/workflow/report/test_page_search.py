"""The section on hyperparameter search: the best settings of each split, and their gain."""

from __future__ import annotations

from typing import Any

from support.report import EVIL, Reader, document, head, jpeg

from winnow.workflow.report import page


def search_result(**extra: Any) -> dict[str, Any]:
    return {
        "head": "svm-rbf",
        "params": {"C": 3.5, "gamma": 0.7},
        "weighted_f1": {"mean": 0.897, "low": 0.871, "high": 0.923},
        "default": {"mean": 0.893, "low": 0.87, "high": 0.92},
        "difference": {"difference": 0.004, "low": -0.005, "high": 0.013, "p": 0.3},
        "searched": 30,
        "chosen_on_each_split": [
            {"params": {"C": 3.5, "gamma": 0.7}, "weighted_f1": 0.9, "default": 0.88},
            {"params": {}, "weighted_f1": 0.894, "default": 0.894},
        ],
    } | extra


def page_text(search: dict[str, Any] | None, repeats: int = 2) -> str:
    run = document(heads=[head("svm-rbf", 0.897)])
    run["data"]["repeats"] = repeats
    return Reader(page.render(run | {"search": search}, jpeg)).text


def test_shows_the_best_settings_of_each_split_and_their_gain() -> None:
    text = page_text(search_result())
    sentence = "Tuned 0.897 [0.871, 0.923], default 0.893: +0.4 points [−0.5, +1.3] of weighted F1: no clear gain. The"
    assert sentence in text
    assert "in cross-validation on the training pictures of each split." in text
    assert "The head of this run has the settings that are best on the first split." in text
    assert "Default settings C 3.5 gamma 0.7 0.900 0.880 the default 0.894 0.894" in text.replace("\xa0", " ")


def test_with_one_split_the_others_are_not_mentioned() -> None:
    text = page_text(search_result(), repeats=1)
    assert "on the training pictures of the split." in text
    assert "first split" not in text


def test_no_hidden_layer_is_written_as_none() -> None:
    rows = [{"params": {"hidden": hidden}, "weighted_f1": 0.9, "default": 0.9} for hidden in ([], [64])]
    text = page_text(search_result(chosen_on_each_split=rows)).replace("\xa0", " ")
    assert "hidden none 0.900 0.900 hidden 64 0.900 0.900" in text


def test_settings_stay_text() -> None:
    row = {"params": {"gamma": EVIL}, "weighted_f1": 0.9, "default": 0.9}
    assert EVIL in page_text(search_result(chosen_on_each_split=[row]))


def test_a_run_without_a_search_has_no_such_section() -> None:
    assert "Default settings" not in page_text(None)

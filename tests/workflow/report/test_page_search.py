"""The Search section of the report: what was found on each split, and what it is worth."""

from __future__ import annotations

from typing import Any

from support.report import EVIL, Reader, document, head, jpeg

from winnow.workflow.report import page


def searched(**extra: Any) -> dict[str, Any]:
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


def text_of(said: dict[str, Any] | None, repeats: int = 2) -> str:
    run = document(heads=[head("svm-rbf", 0.897)])
    run["data"]["repeats"] = repeats
    return Reader(page.render(run | {"search": said}, jpeg)).text


def test_says_what_was_found_on_each_split_and_what_it_is_worth() -> None:
    text = text_of(searched())
    words = "Tuned 0.897 [0.871, 0.923], default 0.893: +0.4 points [−0.5, +1.3] of weighted F1: no clear gain. Of 30"
    assert words in text
    assert "on the training pictures of each split anew" in text
    assert "The head in this run has the settings found on the first split." in text
    assert "Of the default C 3.5 gamma 0.7 0.900 0.880 the default 0.894 0.894" in text.replace("\xa0", " ")


def test_with_one_split_there_is_no_talk_of_others() -> None:
    text = text_of(searched(), repeats=1)
    assert "on the training pictures of the split, by" in text
    assert "first split" not in text


def test_no_hidden_layer_is_none() -> None:
    rows = [{"params": {"hidden": hidden}, "weighted_f1": 0.9, "default": 0.9} for hidden in ([], [64])]
    text = text_of(searched(chosen_on_each_split=rows)).replace("\xa0", " ")
    assert "hidden none 0.900 0.900 hidden 64 0.900 0.900" in text


def test_settings_stay_text() -> None:
    row = {"params": {"gamma": EVIL}, "weighted_f1": 0.9, "default": 0.9}
    assert EVIL in text_of(searched(chosen_on_each_split=[row]))


def test_a_run_without_a_search_has_no_such_section() -> None:
    assert "Of the default" not in text_of(None)

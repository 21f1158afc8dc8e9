"""What commands print of their results."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.project import PROJECT
from support.terminal import printed_lines

from winnow.commands import results
from winnow.heads.evaluation.head_scores import HeadScores
from winnow.heads.evaluation.learning_curve import CurvePoint, LearningCurve
from winnow.heads.evaluation.metrics import Interval, PairedDifference, ReliabilityBins

HEAD = HeadScores(
    name="svm-rbf",
    kind="svm-rbf",
    params={},
    weighted_f1=Interval(0.912, 0.9, 0.924),
    val_weighted_f1=0.9,
    macro_f1=0.91,
    accuracy=0.913,
    log_loss=0.3,
    ece=0.041,
    reliability=ReliabilityBins([], [], []),
    fit_seconds=1.25,
    predict_seconds=0.004,
    versus_chosen=None,
)
DATA = SimpleNamespace(repeats=10, pictures=1000, classes=["a", "b"], split_rule="70/15/15")


def run_of(*heads: HeadScores) -> Any:
    return SimpleNamespace(scores=list(heads), record=SimpleNamespace(data=DATA))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_comparison_fits_the_terminal(width: int) -> None:
    difference = PairedDifference(-0.014, -0.03, 0.002, 0.4)
    other = replace(HEAD, name="a head with a very long name " * 3, versus_chosen=difference)
    lines = printed_lines(lambda: results.print_comparison(run_of(HEAD, other)), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "svm-rbf" in text
    assert "0.912" in text
    assert "0.900-0.924" in text
    assert "-0.014 n.s." in text
    assert ("macro F1" in text) == (width >= 124)
    assert ("0.041" in text) == (width >= 100)


def test_the_learning_curve_is_a_line_a_size_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    points = [CurvePoint(n, n / 1400, Interval(0.9, 0.88, 0.92)) for n in (140, 1400)]
    results.print_learning_curve(LearningCurve("lda", points, None, "two splits at least"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "0.880" in line] == [
        ["140", "0.900", "0.880-0.920"],
        ["1,400", "0.900", "0.880-0.920"],
    ]
    assert lines[-1] == "lda on 1,400 training pictures: 0.900; no guess at twice as many: two splits at least"


def test_heads_of_the_grid_of_the_report_can_be_told_apart_in_80_columns() -> None:
    grid = tomllib.loads((PROJECT / "heads" / "evaluation" / "grids" / "report.toml").read_text(encoding="utf-8"))
    heads = [replace(HEAD, name=head["name"]) for head in grid["head"]]
    lines = printed_lines(lambda: results.print_comparison(run_of(*heads)), 80)
    assert max(map(len, lines)) <= 80
    column = lines[2].index("weighted")  # where the second column begins
    first_column = " ".join(" ".join(line[:column].replace("*", " ").split()) for line in lines)
    assert all(head.name in first_column for head in heads)

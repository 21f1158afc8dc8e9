"""The commands compare, train and tune: what they print besides the scores, and which options they take."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.command_line import winnow, winnow_json


@pytest.mark.parametrize(("tta", "options"), [("mean", ["--tta", "flip"]), ("flip", [])])
def test_train_names_the_export_that_one_file_can_hold(hues: Path, colours: Path, tta: str, options: list[str]) -> None:
    result = winnow("train", hues, "--backbone", colours, "--head", "centroid", "--augment", 2, "--tta", tta)
    (run,) = Path("hues.winnow/runs").iterdir()
    command = shlex.join(["winnow", "export", str(run.resolve()), *options])
    assert result.stderr.splitlines()[-1] == f"Next: {command}"


@pytest.mark.slow
def test_tune_prints_the_gain_and_the_command_that_trains_with_the_settings(hues: Path, colours: Path) -> None:
    dataset = ("--seed", 1, "--group-by", r"/\d(\d)\.jpg$", "--as-found")
    search = ("--candidates", 4, "--repeats", 2, "--jobs", 1)
    result = winnow("tune", hues, "--backbone", colours, "--head", "svm-rbf", *dataset, *search)
    assert result.exit_code == 0, result.output
    assert "The best of 4 settings on each split, chosen on its training pictures alone:" in result.stdout
    assert "svm-rbf tuned " in result.stdout
    line = next(line for line in result.stderr.splitlines() if line.startswith("To train with these: "))
    command = shlex.split(line.removeprefix("To train with these: "))
    assert command[:3] == ["winnow", "train", str(hues)]
    options = {"--backbone", "--head", "--seed", "--group-by", "--as-found"}
    assert {word for word in command if word.startswith("--")} - {"--set"} == options
    (run,) = Path("hues.winnow/runs").glob("*-tune-svm-rbf")
    search_result = json.loads((run / "metrics.json").read_text())["search"]
    trained = winnow_json(*command[1:])
    assert trained["heads"][0]["params"] == search_result["params"]
    assert trained["weighted_f1"]["mean"] == search_result["chosen_on_each_split"][0]["weighted_f1"]
    assert "Tune:     svm-rbf, weighted F1" in winnow("status", hues).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--head'"),
        (("--head", "svm"), "'svm' is not one of 'dense'"),
        (("--head", "knn", "--candidates", "1"), "1 is not in the range 2<=x<=10000"),
        (("--head", "knn", "--repeats", "0"), "0 is not in the range 1<=x<=1000"),
        (("--head", "knn", "--grid", "report"), "No such option '--grid'"),
        (("--head", "finetune", "--unfreeze", "1"), "No such option '--unfreeze'"),
    ],
)
def test_tune_rejects_options_that_it_does_not_take(hues: Path, arguments: tuple[str, ...], message: str) -> None:
    result = winnow("tune", hues, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_infinite_numbers_are_null_in_json(hues: Path, colours: Path) -> None:
    Path("grid.toml").write_text('[[head]]\nname = "hard"\nkind = "logistic"\nC = inf\n')
    options = ("--backbone", colours, "--grid", "grid.toml", "--repeats", 1)
    result = winnow("compare", hues, *options, "--json")
    assert result.exit_code == 0, result.output
    assert "Infinity" not in result.stdout
    assert json.loads(result.stdout)["heads"][0]["params"] == {"C": None}

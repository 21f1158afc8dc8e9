"""`tune`: settings searched on each split, what they are worth, and a run with those of the first."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli


def winnow(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, words)])


def document(*words: object) -> dict[str, Any]:
    done = winnow(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


QUICK = ("--candidates", 4, "--repeats", 2, "--jobs", 1)


@pytest.mark.slow
def test_leaves_a_run_whose_head_has_the_settings_of_the_first_split(hues: Path, colours: Path) -> None:
    import onnx

    said = document("tune", hues, "--backbone", colours, "--head", "knn", *QUICK)
    assert said["head"] == "knn"
    assert said["searched"] == 4
    assert len(said["chosen_on_each_split"]) == 2
    assert said["params"] == said["chosen_on_each_split"][0]["params"] == said["heads"][0]["params"]
    for name in ("weighted_f1", "default"):
        mean = sum(of[name] for of in said["chosen_on_each_split"]) / 2
        assert said[name]["mean"] == pytest.approx(mean)
        assert said[name]["low"] <= mean <= said[name]["high"]
    assert said["difference"]["difference"] == pytest.approx(said["weighted_f1"]["mean"] - said["default"]["mean"])
    assert {"search", "train"} <= set(said["seconds"])
    head = {prop.key: prop.value for prop in onnx.load(said["model"]).metadata_props}
    assert json.loads(head["params"]) == said["params"]
    written = json.loads((Path(said["run"]) / "metrics.json").read_text())
    assert written["kind"] == "tune"
    assert written["search"]["difference"] == said["difference"]
    page = Path(said["report"]).read_text()
    assert '<h2 id="search">Search</h2>' in page
    assert "Tuned " in page
    again = document("tune", hues, "--backbone", colours, "--head", "knn", *QUICK)
    assert again["chosen_on_each_split"] == said["chosen_on_each_split"]


@pytest.mark.slow
def test_says_what_was_found_and_the_line_that_trains_with_it(hues: Path, colours: Path) -> None:
    words = ("--backbone", colours, "--head", "svm-rbf", "--seed", 1, "--group-by", r"/\d(\d)\.jpg$", "--as-found")
    done = winnow("tune", hues, *words, *QUICK)
    assert done.exit_code == 0, done.output
    assert "Of 4 settings the best on each split, by its training pictures alone:" in done.stdout
    assert "svm-rbf tuned " in done.stdout
    line = next(line for line in done.stderr.splitlines() if line.startswith("To train with these: "))
    typed = shlex.split(line.removeprefix("To train with these: "))
    assert typed[:3] == ["winnow", "train", str(hues)]
    options = {"--backbone", "--head", "--seed", "--group-by", "--as-found"}
    assert {word for word in typed if word.startswith("--")} - {"--set"} == options
    (run,) = Path("hues.winnow/runs").glob("*-tune-svm-rbf")
    tuned = json.loads((run / "metrics.json").read_text())
    trained = document(*typed[1:])
    assert trained["heads"][0]["params"] == tuned["search"]["params"]
    assert trained["weighted_f1"]["mean"] == tuned["search"]["chosen_on_each_split"][0]["weighted_f1"]
    assert "Tune:     svm-rbf, weighted F1" in winnow("status", hues).stdout


@pytest.mark.slow
def test_a_folder_that_is_divided_has_one_search(hues: Path, colours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    for number, file in enumerate(sorted(hues.rglob("*.jpg"))):
        part = "test" if number % 5 == 0 else "train"
        (folder / part / file.parent.name).mkdir(parents=True, exist_ok=True)
        file.rename(folder / part / file.parent.name / file.name)
    said = document("tune", folder, "--backbone", colours, "--head", "logistic", *QUICK)
    assert len(said["chosen_on_each_split"]) == 1
    assert said["difference"]["low"] <= said["difference"]["difference"] <= said["difference"]["high"]


def test_a_head_without_settings_is_refused_before_any_work(hues: Path) -> None:
    done = winnow("tune", hues, "--head", "dummy")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: the dummy head has no settings worth a search; those that have: "
        "dense, knn, logistic, svm-linear, svm-rbf, lda, forest, mlp, triplet, supcon"
    )
    assert not Path("hues.winnow/manifest.lance").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing option '--head'"),
        (("--head", "svm"), "'svm' is not one of 'dense'"),
        (("--head", "knn", "--candidates", "1"), "1 is not in the range 2<=x<=10000"),
        (("--head", "knn", "--repeats", "0"), "0 is not in the range 1<=x<=1000"),
        (("--head", "knn", "--grid", "report"), "No such option '--grid'"),
    ],
)
def test_what_cannot_be_is_bad_usage(hues: Path, words: tuple[str, ...], message: str) -> None:
    done = winnow("tune", hues, *words)
    assert done.exit_code == 2
    assert message in done.stderr

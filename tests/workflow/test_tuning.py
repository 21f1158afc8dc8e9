"""`tune`: settings searched on each split, what they are worth, and a run with those of the first."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from winnow import cli
from winnow.embed.config import EmbeddingConfig
from winnow.heads.evaluation import search
from winnow.heads.models import finetune
from winnow.workflow import runs, tasks
from winnow.workflow.experiment import Experiment


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
    assert "The best of 4 settings on each split, chosen on its training pictures alone:" in done.stdout
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


@pytest.mark.slow
def test_a_search_learns_from_all_views_of_its_pictures_and_is_judged_as_was_asked(
    hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], search.compare
    monkeypatch.setattr(search, "compare", lambda *args, **kept: seen.extend(args[2]) or real(*args, **kept))
    words = ("--head", "logistic", "--augment", 3, "--tta", "flip", "--candidates", 2, "--repeats", 1)
    document("tune", hues, "--backbone", colours, *words, "--jobs", 1)
    *inner, outer = seen
    assert len(inner) == 5
    for split in seen:  # rows: 60 plain ones, 60 of each other view, 60 means of the plain ones and the mirror images
        plain = set(split.train.tolist())
        assert sorted(split.training_rows.tolist()) == sorted(row + 60 * view for row in plain for view in range(3))
        judged = {part: set((split.evaluation_rows(part) - 180).ravel().tolist()) for part in ("val", "test")}
        assert all(0 <= picture < 60 and picture not in plain for of in judged.values() for picture in of)
        assert not set(split.groups[split.training_rows].tolist()) & set(
            split.groups[split.evaluation_rows("val")].ravel().tolist()
        )
    searched = {row % 60 for split in inner for row in [*split.training_rows, *split.evaluation_rows("val").ravel()]}
    assert searched == set(outer.train.tolist())


@pytest.mark.slow
def test_a_tail_is_searched_on_maps_of_all_views(hues: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned, layers = [], []

    class Quick(finetune.FineTunedHead):
        def fit(
            self, X: np.ndarray, y: np.ndarray, groups: Any = None, rows: Any = None, on_epoch: Any = None
        ) -> Quick:
            learned.append((self.lr, len(rows), len(np.unique(groups))))
            self.classes_, self.history_ = np.unique(y), {"loss": []}
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return X / X.sum(axis=1, keepdims=True) if self.lr == 0.01 else np.full((len(X), 3), 1 / 3, np.float32)

    def with_maps(experiment: Experiment, config: EmbeddingConfig, *_: Any) -> Experiment:
        layers.append(config.recipe.layer)
        features = replace(experiment.features, rows=np.tile(experiment.features.rows, (2, 1)).astype(np.float16))
        folder = replace(experiment.folder, config=replace(experiment.folder.config, augment=2))
        return replace(experiment, features=features, folder=folder)

    monkeypatch.setattr(finetune, "FineTunedHead", Quick)
    monkeypatch.setattr(tasks, "with_maps", with_maps)
    monkeypatch.setattr(tasks, "vector_config", lambda grid, config: config)  # the colours are no network
    monkeypatch.setattr(runs, "_write_head", lambda *_: None)
    words = ("--head", "finetune", "--candidates", 3, "--repeats", 1, "--jobs", 1)
    done = winnow("tune", hues, "--backbone", colours, *words)
    assert done.exit_code == 0, done.output
    assert (
        "Searching among 3 settings of finetune: 11 fits" in done.stderr
    )  # of three folds each, then two on the split
    assert layers == ["block_10_project_BN"]
    pictures = learned[-1][2]
    assert [count for *_, count in learned[9:]] == [pictures] * 3
    assert sum(count for *_, count in learned[:3]) == 2 * pictures
    assert all(count == 2 * of for _, count, of in learned)
    lrs = [lr for lr, *_ in learned]
    assert len(set(lrs[:9])) == 3
    assert lrs[:3] == lrs[9:] == [0.01] * 3
    assert "To train with these: winnow train" in done.stderr
    (run,) = Path("hues.winnow/runs").glob("*-tune-finetune")
    said = json.loads((run / "metrics.json").read_text())
    assert said["search"]["params"] == {}  # the default; the network is not a setting that was found
    assert said["heads"][0]["params"] == {"alpha": 1.0, "weights": "imagenet", "size": 224}


def test_a_tail_without_weights_is_refused_before_any_work(hues: Path, colours: Path) -> None:
    done = winnow("tune", hues, "--backbone", colours, "--head", "finetune")
    assert done.exit_code == 1
    assert "fine-tuning starts from Keras' own weights, not from an exported backbone: leave" in done.stderr
    assert not Path("hues.winnow/manifest.lance").exists()


def test_a_head_without_settings_is_refused_before_any_work(hues: Path) -> None:
    done = winnow("tune", hues, "--head", "dummy")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: the dummy head has no settings worth a search; those that have: "
        "dense, knn, logistic, svm-linear, svm-rbf, lda, forest, mlp, triplet, supcon, finetune"
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
        (("--head", "finetune", "--unfreeze", "1"), "No such option '--unfreeze'"),
    ],
)
def test_what_cannot_be_is_bad_usage(hues: Path, words: tuple[str, ...], message: str) -> None:
    done = winnow("tune", hues, *words)
    assert done.exit_code == 2
    assert message in done.stderr

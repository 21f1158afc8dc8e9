"""Tasks for heads: augmentations of the training images, test-time augmentation, and maps for fine-tuning."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lance
import numpy as np
import pytest
from click.testing import CliRunner
from support.reporters import silent_reporter

from winnow import cli
from winnow.common.errors import InputError
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import read_vectors
from winnow.heads.evaluation.fit import Grid, HeadSpec, Split, _predict
from winnow.workflow import features, tasks
from winnow.workflow.experiment import Experiment
from winnow.workflow.features import EmbeddedFolder
from winnow.workflow.stage_timer import StageTimer


def winnow(*words: object) -> Any:
    done = CliRunner().invoke(cli.main, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*words: object) -> str:
    done = CliRunner().invoke(cli.main, [*map(str, words)])
    assert done.exit_code in (1, 2), done.output
    return done.output


class Stored:
    """Vectors of three pictures: 10 times the view, plus the number of the picture."""

    def read(self, ids, column="vector", augmentation=0):
        return np.array([[10.0 * augmentation + "abc".index(id)] for id in ids], dtype=np.float32)


@pytest.mark.parametrize(
    ("augment", "tta", "rows", "evaluated"),
    [
        (1, "none", [0, 1, 2], [[0], [1], [2]]),
        (2, "none", [0, 1, 2, 10, 11, 12], [[0], [1], [2]]),
        (2, "flip", [0, 1, 2, 10, 11, 12, 5, 6, 7], [[6], [7], [8]]),
        (3, "mean", [0, 1, 2, 10, 11, 12, 20, 21, 22], [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
    ],
)
def test_rows_are_augmentations_in_order_and_the_evaluated_rows_are_those_of_tta(augment, tta, rows, evaluated):
    result = features.read_features(Stored(), "abc", EmbeddingConfig(augment=augment, tta=tta))
    assert result.rows[:, 0].tolist() == rows
    assert result.evaluated.tolist() == evaluated


def test_maps_are_not_averaged():
    config = EmbeddingConfig(Recipe(pool="none"), augment=3, tta="flip")
    result = features.read_features(Stored(), "abc", config)
    assert result.rows[:, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert result.evaluated.tolist() == [[0, 3], [1, 4], [2, 5]]


class OfThree(Experiment):
    """Three images: the first is for training, the others for validation and test."""

    splits = (Split(*(np.array([row]) for row in range(3)), groups=np.array([7, 8, 9])),)


def experiment(augment, tta):
    config = EmbeddingConfig(augment=augment, tta=tta)
    embedding = SimpleNamespace(key="k", scan_seconds=3.0)
    folder = EmbeddedFolder(None, config, None, Stored(), embedding)
    dataset = SimpleNamespace(ids=list("abc"), y=np.array([0, 1, 0]), classes=["x", "y"])
    known = {"folder": folder, "dataset": dataset, "features": features.read_features(Stored(), "abc", config)}
    return OfThree(**(dict.fromkeys(field.name for field in fields(Experiment)) | known))


def test_heads_learn_from_every_augmentation_of_a_training_image_and_of_no_other():
    learned, (split,) = tasks.as_task(experiment(3, "flip"))
    assert split.training_rows.tolist() == [0, 3, 6]
    assert learned.y[split.training_rows].tolist() == [0, 0, 0]
    assert split.groups[split.training_rows].tolist() == [7, 7, 7]
    assert (split.evaluation_rows("train").tolist(), split.evaluation_rows("test").tolist()) == ([[0]], [[11]])
    assert learned.X[split.evaluation_rows("test")].ravel().tolist() == [7.0]  # the mean of 2 and 12
    assert learned.y.tolist() == [0, 1, 0] * 4


def test_the_key_of_a_task_depends_on_augmentation_and_tta():
    keys = {
        tasks.as_task(experiment(*options))[0].key
        for options in ((1, "none"), (2, "none"), (3, "none"), (2, "flip"), (3, "mean"))
    }
    assert len(keys) == 5


@pytest.mark.parametrize(("at_once", "sizes"), [(2**25, [4]), (3, [3, 1]), (0, [1, 1, 1, 1])])
def test_probabilities_of_several_rows_are_averaged_in_batches(monkeypatch, at_once, sizes):
    class Says:
        classes_, seen = np.array([0, 1]), []

        def predict_proba(self, X):
            self.seen.append(len(X))
            return np.column_stack([X[:, 0], 1 - X[:, 0]])

    monkeypatch.setattr("winnow.heads.evaluation.fit.PREDICTED_AT_ONCE", at_once)
    X, says = np.array([[0.0], [0.2], [1.0], [0.6]]), Says()
    said = _predict(says, X, np.array([[0, 2], [1, 3]]), 3)
    np.testing.assert_allclose(said, [[0.5, 0.5, 0], [0.4, 0.6, 0]], atol=1e-6)
    assert says.seen == sizes


def test_augmentations_are_embedded_once_and_the_plain_image_never_again(hues, colours):
    first = winnow("embed", hues, "--backbone", colours)
    more = winnow("embed", hues, "--backbone", colours, "--augment", 3)
    assert (first["embedded"], first["vectors"], more["embedded"], more["vectors"], more["augment"]) == (
        60,
        60,
        60,
        120,
        3,
    )
    again = winnow("embed", hues, "--backbone", colours, "--augment", 3)
    assert (again["embedded"], again["reused"], again["vectors"]) == (0, 60, 0)
    table = lance.dataset(more["store"]).to_table(columns=["id", "view"]).to_pylist()
    assert len({(row["id"], row["view"]) for row in table}) == len(table) == 180
    (hues / "red" / "00.jpg").rename(hues / "red" / "renamed.jpg")
    assert winnow("embed", hues, "--backbone", colours, "--augment", 4)["vectors"] == 60


@pytest.mark.slow
def test_augmentation_and_tta_are_recorded_and_exported(hues, colours):
    words = ("train", hues, "--backbone", colours, "--head", "logistic", "--augment", 3)
    said = winnow(*words, "--tta", "flip")
    made = json.loads((Path(said["run"]) / "run.json").read_text())["embedding"]
    assert (made["augment"], made["tta"]) == (3, "flip")
    exported = winnow("export", said["run"])
    assert exported["tta"] == exported["metrics"]["tta"] == "flip"
    assert exported["parity"]["largest_difference"] <= 1e-4
    assert Path(exported["model"]).name == "model.onnx"
    mean = winnow(*words, "--tta", "mean")
    said = refused("export", mean["run"])
    assert "with test-time augmentation 'mean', which one file cannot compute: `winnow export " in said
    assert f"{mean['run']} --tta one` or mirror makes one" in said


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["none", "flip"])
def test_the_mean_of_all_augmentations_can_be_exported_with_fewer_at_a_measured_cost(hues, colours, tta):
    words = ("train", hues, "--backbone", colours, "--head", "logistic", "--augment", 4, "--tta", "mean")
    run = Path(winnow(*words)["run"])
    said = winnow("export", run, "--tta", tta)
    assert (said["tta"], said["metrics"]["tta"]) == (tta, "mean")
    assert Path(said["model"]).name == f"model-{tta}.onnx"
    assert said["parity"]["largest_difference"] <= 1e-4  # of the file from Python's path that looks as often
    assert said["parity"]["largest_from_run"] < 0.01  # of Python's path on all views from what the run stored
    f1 = json.loads((run / "metrics.json").read_text())["heads"][0]["weighted_f1"]["mean"]
    assert said["parity"]["weighted_f1"]["ordinary"] == pytest.approx(f1)
    assert "before it became this file" in Path(said["card"]).read_text()


def test_augmentation_and_cleaning_are_refused_together(hues, colours):
    said = refused("compare", hues, "--backbone", colours, "--cleaning", "--augment", 2)
    assert "the effect of cleaning is measured on plain vectors: leave out --augment, --tta and finetune" in said


def test_much_room_is_confirmed_first(hues, colours, monkeypatch):
    monkeypatch.setattr(features, "LARGE", 500)
    said = refused("embed", hues, "--backbone", colours, "--augment", 2)
    assert "60 vectors of 5 numbers" in said
    assert "--yes stores them; fewer --augment, or a smaller --size, take less" in said
    assert winnow("embed", hues, "--backbone", colours, "--augment", 2, "--yes")["vectors"] == 60


SMALL = ("--weights", "random", "--alpha", 0.35, "--size", 96)


@pytest.mark.slow
def test_fine_tuning_is_compared_trained_and_exported_like_any_other_head(hues, monkeypatch):
    monkeypatch.setattr(tasks, "FINETUNE_AUGMENT", 2)
    grid = Path("grid.toml")
    grid.write_text('[[head]]\nkind = "finetune"\nunfreeze = 1\nepochs = 2\nlr = 0.003\n[[head]]\nkind = "centroid"\n')
    compared = winnow("compare", hues, *SMALL, "--grid", grid, "--repeats", 2, "--jobs", 1)
    assert {head["name"] for head in compared["heads"]} == {"finetune", "centroid"}
    fine_tuned = next(head for head in compared["heads"] if head["name"] == "finetune")
    network = {"alpha": 0.35, "weights": "random", "size": 96}
    assert fine_tuned["params"] == {"unfreeze": 1, "epochs": 2, "lr": 0.003} | network
    words = ("--head", "finetune", "--unfreeze", 1, "--epochs", 2, "--lr", 0.003)
    said = winnow("train", hues, *SMALL, *words, "--tta", "flip")
    made = json.loads((Path(said["run"]) / "run.json").read_text())["embedding"]
    assert (made["recipe"]["layer"], made["recipe"]["pool"], made["augment"]) == ("block_15_add", "none", 2)
    exported = winnow("export", said["run"], "--tta", "none")
    for looks in ("none", "flip"):
        exported = exported if looks == "none" else winnow("export", said["run"])
        assert exported["tta"] == looks
        assert exported["parity"]["labels_differ"] == 0
        assert exported["parity"]["largest_difference"] <= 1e-4
        assert exported["parity"]["largest_from_run"] < 0.01
    (told,) = winnow("predict", exported["model"], hues / "red" / "00.jpg")["predictions"]
    assert told["label"] in ("red", "green", "blue")


def test_fine_tuning_needs_the_weights_of_the_network(hues, colours):
    said = refused("train", hues, "--backbone", colours, "--head", "finetune")
    assert "fine-tuning starts from Keras' own weights, not from an exported backbone: leave --backbone out, or" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layer", "block_13_expand"), "give --unfreeze N, 1 to 16 blocks, instead of --layer"),
        (
            ("--pool", "none"),
            "fine-tuning learns from feature maps as it is, without this option: leave --pool none out",
        ),
        *(
            (
                ("--set", f"{name}={value}"),
                f"fine-tuning takes {name} from the network that it starts from: give --{name} ",
            )
            for name, value in (("size", 96), ("alpha", 0.35), ("weights", "random"))
        ),
    ],
)
def test_options_that_fine_tuning_ignores_are_refused_before_the_work(hues, words, message):
    said = refused("train", hues, "--head", "finetune", *words)
    assert message in said.splitlines()[-1]
    assert not Path("hues.winnow/manifest.lance").exists()


def test_beside_other_heads_layer_and_pool_are_for_them():
    grid = Grid([HeadSpec("finetune", "finetune"), HeadSpec("lda", "lda")])
    config = EmbeddingConfig(Recipe(layer="block_13_expand", pool="none"))
    assert tasks.vector_config(grid, config) is config
    with pytest.raises(InputError, match="fine-tuning takes size from the network"):
        tasks.vector_config(
            replace(grid, heads=[HeadSpec("finetune", "finetune", {"size": 96}), HeadSpec("lda", "lda")]), config
        )


@pytest.mark.parametrize(("augment", "rows_per_image"), [(None, 8), (1, 1), (2, 2)])
def test_fine_tuning_learns_from_eight_rows_per_image_unless_told_otherwise(monkeypatch, augment, rows_per_image):
    @dataclass(frozen=True)
    class Embedding:
        key: str = "maps"
        total_seconds: float = 1.0
        scan_seconds: float | None = None

    def embed_scanned(workspace, scan_result, config, reporter, what):
        return EmbeddedFolder(scan_result, config, None, Stored(), Embedding())

    monkeypatch.setattr("winnow.workflow.experiment.embed_scanned", embed_scanned)
    grid, timer = Grid([HeadSpec("finetune", "finetune", {"unfreeze": 1})]), StageTimer()
    config = EmbeddingConfig(augment=augment)
    grid, experiments = tasks.experiments_by_head(experiment(1, "none"), grid, config, silent_reporter(), timer)
    folder = experiments["finetune"].folder
    used = folder.config
    assert (used.recipe.layer, used.recipe.pool, used.rows_per_image) == ("block_15_add", "none", rows_per_image)
    assert (folder.embedding.key, folder.embedding.scan_seconds) == ("maps", 3.0)
    assert timer.seconds == {"embed": 1.0}
    assert experiments["finetune"].features.rows.dtype == np.float16
    assert grid.heads[0].params == {"unfreeze": 1, "alpha": 1.0, "weights": "imagenet", "size": 224}


@pytest.mark.slow
def test_vectors_of_several_layers_are_concatenated(hues):
    both = winnow("embed", hues, *SMALL, "--layer", "out_relu,block_16_project_BN")
    one = winnow("embed", hues, *SMALL)
    table = lance.dataset(both["store"]).to_table(columns=["id"])["id"].to_pylist()
    joined, plain, bottleneck = (
        read_vectors(Path(store), table[:5], column)
        for store, column in ((both["store"], "vector"), (one["store"], "vector"), (one["store"], "bottleneck"))
    )
    np.testing.assert_allclose(joined, np.concatenate([plain, bottleneck], axis=1), rtol=2e-3, atol=2e-3)
    lists = "'import keras; keras.applications.MobileNetV2(weights=None).summary()' lists all"
    said = refused("embed", hues, *SMALL, "--layer", "fc")
    assert f"the network has no layer 'fc', but out_relu, Conv_1_bn, Conv_1: python -c {lists}" in said
    said = refused("embed", hues, *SMALL, "--layer", "out_relu,block_16_projct_BN")
    assert "no layer 'block_16_projct_BN', but block_16_project_BN, " in said

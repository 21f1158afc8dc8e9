"""Tasks for heads: augmentations of the training images, test-time augmentation, and maps for fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.command_line import winnow_error
from support.errors import input_error
from support.reporters import silent_reporter
from support.vectors import AugmentedStore

from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.heads.evaluation.fit import Grid, HeadSpec, Split
from winnow.workflow import features, tasks
from winnow.workflow.embedding import EmbeddedFolder
from winnow.workflow.experiment import Experiment
from winnow.workflow.stage_timer import StageTimer


class ThreeImages(Experiment):
    """An experiment whose first image is for training, the others for validation and test."""

    splits = (Split(*(np.array([row]) for row in range(3)), groups=np.array([7, 8, 9])),)


def make_experiment(augment, tta):
    config = EmbeddingConfig(augment=augment, tta=tta)
    embedding = SimpleNamespace(key="k", scan_seconds=3.0)
    folder = EmbeddedFolder(None, config, None, AugmentedStore(), embedding)
    dataset = SimpleNamespace(ids=list("abc"), y=np.array([0, 1, 0]), classes=["x", "y"])
    vectors = features.read_features(AugmentedStore(), "abc", config)
    unused = dict.fromkeys(field.name for field in fields(Experiment))
    return ThreeImages(**(unused | {"folder": folder, "dataset": dataset, "features": vectors}))


class TestAsTask:
    def test_heads_learn_from_every_augmentation_of_a_training_image_and_of_no_other(self):
        task, (split,) = tasks.as_task(make_experiment(3, "flip"))
        assert split.training_rows.tolist() == [0, 3, 6]
        assert task.y[split.training_rows].tolist() == [0, 0, 0]
        assert split.groups[split.training_rows].tolist() == [7, 7, 7]
        assert task.y.tolist() == [0, 1, 0] * 4

    def test_images_are_evaluated_on_the_rows_of_test_time_augmentation(self):
        task, (split,) = tasks.as_task(make_experiment(3, "flip"))
        assert split.evaluation_rows("train").tolist() == [[0]]
        assert split.evaluation_rows("test").tolist() == [[11]]
        assert task.X[split.evaluation_rows("test")].ravel().tolist() == [7.0]  # the mean of 2 and 12

    def test_the_key_depends_on_augmentation_and_tta(self):
        options = ((1, "none"), (2, "none"), (3, "none"), (2, "flip"), (3, "mean"))
        keys = {tasks.as_task(make_experiment(*each))[0].key for each in options}
        assert len(keys) == 5


class TestVectorConfig:
    @pytest.mark.parametrize(
        ("arguments", "message"),
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
    def test_options_that_fine_tuning_would_ignore_are_refused_before_the_work(self, hues, arguments, message):
        assert message in winnow_error("train", hues, "--head", "finetune", *arguments)
        assert not Path("hues.winnow/manifest.lance").exists()

    @pytest.mark.parametrize("command", ["train", "tune"])
    def test_fine_tuning_from_an_exported_backbone_is_refused_before_the_work(self, hues, colours, command):
        message = winnow_error(command, hues, "--backbone", colours, "--head", "finetune")
        assert "fine-tuning starts from Keras' own weights, not from an exported backbone: leave --backbone" in message
        assert not Path("hues.winnow/manifest.lance").exists()

    def test_beside_other_heads_layer_and_pool_are_for_these(self):
        grid = Grid([HeadSpec("finetune", "finetune"), HeadSpec("lda", "lda")])
        config = EmbeddingConfig(Recipe(layer="block_13_expand", pool="none"))
        assert tasks.vector_config(grid, config) is config
        of_another_size = replace(grid, heads=[HeadSpec("finetune", "finetune", {"size": 96}), grid.heads[1]])
        with input_error("fine-tuning takes size from the network", "network"):
            tasks.vector_config(of_another_size, config)

    def test_vectors_that_only_fine_tuning_needs_are_not_augmented(self):
        config = tasks.vector_config(Grid([HeadSpec("finetune", "finetune")]), EmbeddingConfig(augment=4, tta="flip"))
        assert (config.augment, config.tta) == (1, "none")


class TestExperimentsByHead:
    @pytest.mark.parametrize(("augment", "rows_per_image"), [(None, 8), (1, 1), (2, 2)])
    def test_fine_tuning_learns_from_eight_rows_per_image_by_default(self, monkeypatch, augment, rows_per_image):
        @dataclass(frozen=True)
        class Embedding:
            key: str = "maps"
            total_seconds: float = 1.0
            scan_seconds: float | None = None

        def embed_scanned(workspace, scan_result, config, reporter, what):
            return EmbeddedFolder(scan_result, config, None, AugmentedStore(), Embedding())

        monkeypatch.setattr("winnow.workflow.experiment.embed_scanned", embed_scanned)
        grid, timer = Grid([HeadSpec("finetune", "finetune", {"unfreeze": 1})]), StageTimer()
        config = EmbeddingConfig(augment=augment)
        experiment = make_experiment(1, "none")
        grid, experiments = tasks.experiments_by_head(experiment, grid, config, silent_reporter(), timer)
        folder = experiments["finetune"].folder
        recipe = folder.config.recipe
        assert (recipe.layer, recipe.pool, folder.config.rows_per_image) == ("block_15_add", "none", rows_per_image)
        assert (folder.embedding.key, folder.embedding.scan_seconds) == ("maps", 3.0)
        assert timer.seconds == {"embed": 1.0}
        assert experiments["finetune"].features.rows.dtype == np.float16
        assert grid.heads[0].params == {"unfreeze": 1, "alpha": 1.0, "weights": "imagenet", "size": 224}

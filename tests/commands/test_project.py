"""The commands run, status and demo."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from support.project import PACKAGE

from winnow.commands import project
from winnow.curate.workspace import find_workspace
from winnow.embed.backbone import load_backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store
from winnow.heads.kinds import DEFAULT_HEADS


@pytest.mark.parametrize(
    ("kinds", "config", "can"),
    [
        (["lda", "dense"], EmbeddingConfig(), True),
        (["lda", "finetune"], EmbeddingConfig(), False),  # it was
        (["lda"], EmbeddingConfig(backbone=Path("own.onnx")), False),
        (["lda"], EmbeddingConfig(Recipe(weights="random")), False),
    ],
)
def test_run_speaks_of_fine_tuning_where_it_can_be_done(kinds: list[str], config: EmbeddingConfig, can: bool) -> None:
    assert project._can_be_fine_tuned(kinds, config) is can


class Demo(NamedTuple):
    """A demo that was run: its folder, its JSON document, and its messages."""

    folder: Path
    result: dict[str, Any]
    messages: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Demo:
    """A demo with an untrained backbone, since there are no weights and no network."""
    folder = tmp_path_factory.mktemp("demo")
    cache = folder / "cache"  # without the ImageNet backbone, which other tests may have exported
    cache.mkdir()
    for backbone in session_cache.glob("mobilenet_v2-random-*.onnx"):
        shutil.copy(backbone, cache)
    code = "from winnow.embed import weights; weights.URL = 'http://127.0.0.1:9/'\nfrom winnow.cli import main; main()"
    environment = {"PYTHONPATH": PACKAGE, "WINNOW_CACHE": str(cache), "KERAS_HOME": str(folder / "none")}
    command = [sys.executable, "-c", code, "demo", "--per-class", "12", "--repeats", "2", "--json"]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Demo(folder, json.loads(done.stdout), done.stderr)


@pytest.mark.slow
def test_demo_warns_that_the_backbone_is_untrained(demo: Demo) -> None:
    assert "THE BACKBONE IS UNTRAINED" in demo.messages
    assert "untrained" in Path(demo.result["report"]).read_text().lower()


@pytest.mark.slow
def test_demo_goes_from_pictures_to_a_report(demo: Demo) -> None:
    result = demo.result
    assert result["scan"]["images"] == 60
    assert result["scan"]["problems"] == 5
    assert result["embed"]["embedded"] == 60 - 5 - result["scan"]["exact_duplicates"]
    assert {head["name"] for head in result["compare"]["heads"]} == set(DEFAULT_HEADS)
    assert set(result["seconds"]) >= {"scan", "embed", "compare", "train"}
    run = Path(result["train"]["run"])
    for name in ("run.json", "splits.lance", "metrics.json", "history.csv", "predictions.csv", "head.onnx"):
        assert (run / name).exists(), name


@pytest.mark.slow
def test_the_head_file_of_demo_predicts_what_predictions_csv_lists(demo: Demo) -> None:
    run = Path(demo.result["train"]["run"])
    with (run / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    workspace = find_workspace(demo.folder / "winnow-demo", demo.folder / "winnow-demo.winnow")
    store = Store(workspace.embeddings, load_backbone(Path(demo.result["embed"]["backbone"])))
    session = onnxruntime.InferenceSession(run / "head.onnx")
    labels, probabilities = session.run(
        ["label", "probabilities"], {"embedding": store.read([row["id"] for row in rows])}
    )
    assert labels.tolist() == [row["predicted"] for row in rows]
    written = [[float(row[name]) for name in row if name.startswith("p_")] for row in rows]
    np.testing.assert_allclose(probabilities, written, atol=1e-4)

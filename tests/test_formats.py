"""Files of version 0.1.0 still open and give the results that 0.1.0 gave: see tests/fixtures/v0.1.0/README.md."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.command_line import winnow_json

from winnow.embed.config import EmbeddingConfig

FIXTURE = Path(__file__).parent / "fixtures/v0.1.0"
PACKED_AS = "/tmp/winnow-fixture"  # the folder that the paths in the archive start with
RUNS: dict[str, str] = json.loads((FIXTURE / "expected/runs.json").read_text())  # what a run shows -> its folder
MODELS = ("lda", "any", "mirror", "tail", "dense", "supcon")
EXPORTABLE = ("lda", "dense", "mirror", "tail", "supcon", "tuned", "int8", "run")
VECTORS = ("--weights", "random", "--alpha", "0.35", "--size", "96")


def expected(name: str) -> Any:
    """The document that 0.1.0 printed with `--json`."""
    return json.loads((FIXTURE / f"expected/{name}.json").read_text(encoding="utf-8"))


def approx(value: Any) -> Any:
    """A JSON value that equals another one when all numbers in it are close: engines and processors round."""
    if isinstance(value, dict):
        return {name: approx(each) for name, each in value.items()}
    if isinstance(value, list):
        return [approx(each) for each in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


def select(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked once."""
    folder = tmp_path_factory.mktemp("v0.1.0")
    with tarfile.open(FIXTURE / "winnow-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def files(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the archive in the current folder. Workspaces point to it, and its backbones are the cache."""
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("*.winnow/workspace.json"):
        file.write_text(file.read_text().replace(PACKED_AS, str(tmp_path)))
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_fixture_names_no_folder_of_a_person(unpacked: Path) -> None:
    private = (b"/work/", b"/home/", b"/root/", b"/Users/")
    files = [file for folder in (FIXTURE, unpacked) for file in folder.rglob("*") if file.is_file()]
    assert [file for file in files if any(name in file.read_bytes() for name in private)] == []


def test_status_of_a_workspace(files: Path) -> None:
    before, after = expected("status"), winnow_json("status", "photos")
    assert select(after, "scanned", "scored", "decided", "next") == select(
        before, "scanned", "scored", "decided", "next"
    )
    tables = ("key", "recipe", "vectors", "missing")
    assert [select(row, *tables) for row in after["embedded"]] == [select(row, *tables) for row in before["embedded"]]
    runs = [row | {"run": Path(row["run"]).name} for row in after["trained"]]
    assert runs == [row | {"run": Path(row["run"]).name} for row in before["trained"]]


def test_a_scan_finds_nothing_new(files: Path) -> None:
    assert winnow_json("scan", "photos") == expected("scan")


def test_stored_vectors_are_reused(files: Path) -> None:
    assert select(winnow_json("embed", "photos", *VECTORS), "embedded", "reused") == {"embedded": 0, "reused": 49}


def test_the_journal_is_read_and_continued(files: Path) -> None:
    assert winnow_json("undo", "photos")["undone"] == 4  # the verdicts of `prune`, the last batch
    assert winnow_json("status", "photos")["decided"] == {"drop": 1, "relabel": 1, "keep": 2}


@pytest.mark.slow
def test_pictures_get_the_same_scores(files: Path) -> None:
    before, after = expected("score"), winnow_json("score", "photos", *VECTORS)
    names = (
        "suspects",
        "next",
        "duplicate_groups",
        "near_duplicates",
        "mixed_groups",
        "quality",
        "verdicts",
        "vectors",
    )
    assert select(after, *names) == approx(select(before, *names))
    assert after["vectors"] == before["vectors"]


@pytest.mark.parametrize("model", MODELS)
def test_exported_models_give_the_same_predictions(files: Path, model: str) -> None:
    before, after = expected(f"predict-{model}"), winnow_json("predict", f"models/{model}.onnx", "photos", "--top", 3)
    assert after["predictions"] == approx(before["predictions"])
    names = ("pictures", "failed", "unfamiliar", "familiarity_threshold")
    assert select(after, *names) == select(before, *names)


@pytest.mark.parametrize("model", MODELS)
def test_exported_models_are_evaluated_with_the_same_scores(files: Path, model: str) -> None:
    before, after = expected(f"evaluate-{model}"), winnow_json("evaluate", f"models/{model}.onnx", "photos")
    names = (
        "classes",
        "confusion",
        "weighted_f1",
        "log_loss",
        "ece",
        "familiarity",
        "most_wrong",
        "left_out",
        "unknown",
    )
    assert select(after, *names) == approx(select(before, *names))
    assert after["claimed"]["weighted_f1"] == before["claimed"]["weighted_f1"]


@pytest.mark.slow
@pytest.mark.parametrize("run", EXPORTABLE)
def test_runs_are_exported_and_give_the_same_predictions(files: Path, run: str) -> None:
    summary = winnow_json("export", f"photos.winnow/runs/{RUNS[run]}", "-o", "new.onnx")
    assert summary["parity"]["labels_differ"] == 0
    assert summary["tta"] == ("flip" if run in ("mirror", "tail") else "none")
    after = winnow_json("predict", "new.onnx", "photos", "--top", 3)["predictions"]
    assert len(after) == 52
    if run in MODELS:
        assert after == approx(expected(f"predict-{run}")["predictions"])


def test_test_time_augmentation_of_a_run_is_read_by_its_old_name(files: Path) -> None:
    for run, augment, tta in (("lda", 1, "none"), ("mirror", 2, "flip"), ("tail", 2, "flip")):
        embedding = json.loads(Path(f"photos.winnow/runs/{RUNS[run]}/run.json").read_text())["embedding"]
        assert "test_views" in embedding
        config = EmbeddingConfig.from_json(embedding)
        assert (config.augment, config.tta) == (augment, tta)


@pytest.mark.slow
def test_a_comparison_has_the_same_scores_on_the_stored_vectors(files: Path) -> None:
    tables = sorted(Path("photos.winnow/embeddings").iterdir())
    before = expected("compare-again")
    after = winnow_json("compare", "photos", *VECTORS, "--heads", "lda,centroid,dummy", "--repeats", 2)
    names = ("name", "kind", "weighted_f1", "val_weighted_f1", "macro_f1", "accuracy", "log_loss", "versus_chosen")
    assert [select(row, *names) for row in after["heads"]] == approx([select(row, *names) for row in before["heads"]])
    assert after["data"] == before["data"] | {"images": str(files / "photos")}
    assert sorted(Path("photos.winnow/embeddings").iterdir()) == tables


def test_a_workspace_that_was_scored_by_a_projection_opens(files: Path) -> None:
    before = expected("projected-status")
    after = winnow_json("status", "one-folder", "--workspace", "projected.winnow")
    assert select(after, "scanned", "scored", "decided", "next") == select(
        before, "scanned", "scored", "decided", "next"
    )
    assert [row["key"] for row in after["embedded"]] == [row["key"] for row in before["embedded"]]


@pytest.mark.slow
def test_a_workspace_that_was_scored_by_a_projection_is_scored_again_without_it(files: Path) -> None:
    workspace = ("one-folder", "--workspace", "projected.winnow")
    document = winnow_json(
        "prune", *workspace, "--off-topic-above", 0.9
    )  # scores with the configuration of the last time
    assert {picture["path"][:5] for picture in document["pictures"]} == {"green"}
    assert len(winnow_json("score", *workspace, *VECTORS)["suspects"]) > 0


def test_a_folder_of_uncertain_pictures_keeps_its_predictions(files: Path) -> None:
    before, after = expected("doubtful-status"), winnow_json("status", "doubtful")
    assert select(after, "scanned", "next") == select(before, "scanned", "next")
    assert after["bytes"]["predictions.lance"] == before["bytes"]["predictions.lance"]

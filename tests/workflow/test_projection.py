"""Vectors as a trained head projects them: what is stored, who ranks by them, who does not take them for others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lance
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from support.pictures import HUES, paint, paint_hues, write_colours

from winnow import cli
from winnow.curate.noise import score_table
from winnow.curate.workspace import locate
from winnow.embed.store import read_ids, read_vectors

pytestmark = pytest.mark.slow


def winnow(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, words)])


def said(*words: object) -> Any:
    done = winnow(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*words: object) -> str:
    done = winnow(*words)
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    return line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hues, the colour backbone and a workspace with two heads that were trained on them."""
    folder = tmp_path_factory.mktemp("projected")
    hues, colours = paint_hues(folder / "hues"), write_colours(folder / "colours.onnx")
    workspace = ("--workspace", folder / "hues.winnow", "--backbone", colours)
    said("train", hues, *workspace, "--head", "supcon", "--set", "dim=2", "--set", "then=linear")
    said("train", hues, *workspace, "--head", "centroid")
    return folder


@pytest.fixture
def runs(trained: Path, hues: Path, colours: Path) -> tuple[Path, Path]:
    """The runs of the projection and of the other head, in a workspace in the folder of the test."""
    shutil.copytree(trained / "hues.winnow", "hues.winnow")
    for file in (Path("hues.winnow/workspace.json"), *Path("hues.winnow/runs").glob("*/run.json")):
        file.write_text(file.read_text().replace(str(trained), str(hues.parent)))
    (projected,), (other,) = (Path("hues.winnow/runs").glob(f"*-{kind}") for kind in ("supcon", "centroid"))
    return projected.resolve(), other.resolve()


def test_the_table_holds_what_the_head_makes_of_the_vectors(runs: tuple[Path, Path], hues: Path) -> None:
    run, _ = runs
    found = said("score", hues, "--projection", run)
    assert found["projection"] == run.name
    table, base = Path(found["store"]), locate(hues).embeddings / f"{base_of(run)}.lance"
    assert (table.stem, table.parent) == (found["vectors"], base.parent)
    ids = sorted(read_ids(base))
    assert read_ids(table) == set(ids)
    (expected,) = onnxruntime.InferenceSession(run / "head.onnx").run(
        ["projection"], {"embedding": read_vectors(base, ids)}
    )
    assert expected.shape == (60, 2)
    np.testing.assert_array_equal(read_vectors(table, ids), expected.astype(np.float16))
    bottlenecks = [read_vectors(path, ids, "bottleneck") for path in (table, base)]
    np.testing.assert_array_equal(*bottlenecks)
    made = json.loads(lance.dataset(table).schema.metadata[b"winnow"])
    assert (made["base"], made["run"], made["shape"]) == (base.stem, run.name, [2])
    assert made["recipe"].endswith(f"|supcon(2) of {run.name}")


def base_of(run: Path) -> str:
    return json.loads((run / "run.json").read_text())["vectors"]


def test_only_what_is_missing_is_added_later(runs: tuple[Path, Path], hues: Path) -> None:
    run, _ = runs
    table = Path(said("score", hues, "--projection", run.name)["store"])
    version = lance.dataset(table).version
    assert said("score", hues, "--projection", run.name)["store"] == str(table)
    assert lance.dataset(table).version == version
    paint(hues / "red" / "new.jpg", HUES["red"], 500)
    said("score", hues, "--projection", run.name)
    assert lance.dataset(table).version == version + 1
    assert lance.dataset(table).count_rows() == 61


def test_later_commands_go_on_with_it_until_it_is_left_out(runs: tuple[Path, Path], hues: Path) -> None:
    run, _ = runs
    plain = said("score", hues, "--backbone", hues.parent / "colours.onnx")
    assert plain["projection"] is None
    by_run = said("score", hues, "--projection", run)
    ranked = scores(hues)
    assert (score_table.made(locate(hues)) or {})["projection"] == str(run)
    said("prune", hues, "--off-topic-above", 0.99)
    assert scores(hues) == ranked
    assert (score_table.made(locate(hues)) or {})["projection"] == str(run)
    said("score", hues, "--backbone", hues.parent / "colours.onnx")
    assert "projection" not in (score_table.made(locate(hues)) or {})
    assert scores(hues) != ranked
    assert by_run["vectors"] != plain["vectors"]


def scores(images: Path) -> list[float]:
    return score_table.read(locate(images))["off_topic_prior"].to_pylist()


def test_review_shows_it(runs: tuple[Path, Path], hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = runs
    shown: list[Path] = []
    monkeypatch.setattr(
        "winnow.curate.app.launch.open_review", lambda workspace, store, **how: shown.append(store) or {}
    )
    for words in (["--projection", run], []):
        said("review", hues, "--no-browser", *words)
    assert shown[0] == shown[1]
    assert json.loads(lance.dataset(shown[0]).schema.metadata[b"winnow"])["run"] == run.name


def test_heads_are_trained_on_the_vectors_all_the_same(runs: tuple[Path, Path], hues: Path) -> None:
    run, _ = runs
    said("score", hues, "--projection", run)
    colours = hues.parent / "colours.onnx"
    compared = said("train", hues, "--backbone", colours, "--head", "centroid")
    assert compared["vectors"]["key"] == base_of(run)
    assert "No such option '--projection'" in winnow("compare", hues, "--projection", run).stderr


def test_it_is_told_and_status_knows_it_from_the_others(runs: tuple[Path, Path], hues: Path) -> None:
    run, _ = runs
    told = winnow("score", hues, "--projection", run).stderr
    assert f"Ranked by the projection of {run.name}; it learned from labels, wrong ones too" in told
    tables = said("status", hues)["embedded"]
    assert sorted((table["projection"] or "", table["vectors"], table["missing"]) for table in tables) == [
        ("", 60, 0),
        (run.name, 60, 0),
    ]


class TestRefused:
    def test_a_head_without_a_projection(self, runs: tuple[Path, Path], hues: Path) -> None:
        told = refused("score", hues, "--projection", runs[1])
        assert f"{runs[1].name}: a head of kind centroid has no projection: `winnow train --head supcon`" in told

    def test_what_is_no_run(self, runs: tuple[Path, Path], hues: Path) -> None:
        told = refused("review", hues, "--projection", "none")
        assert "none, by whose projection to rank, is no run: name another with `winnow score --projection`" in told

    def test_a_run_that_is_gone_since(self, runs: tuple[Path, Path], hues: Path) -> None:
        said("score", hues, "--projection", runs[0])
        shutil.rmtree(runs[0])
        assert "or leave that out to rank without" in refused("prune", hues, "--off-topic-above", 0.9)

    def test_other_vectors_than_its_own(self, runs: tuple[Path, Path], hues: Path) -> None:
        told = refused("score", hues, "--projection", runs[0], "--size", 128)
        assert f"{runs[0].name} projects the vectors that it was trained on: leave out what asks for others" in told
        other = write_colours(hues.parent / "other.onnx")
        assert "leave out what asks for others" in refused("score", hues, "--projection", runs[0], "--backbone", other)

    def test_weights_that_are_gone(self, runs: tuple[Path, Path], hues: Path) -> None:
        key = base_of(runs[0]).encode()
        for file in (runs[0] / "run.json", runs[0] / "head.onnx"):
            file.write_bytes(file.read_bytes().replace(key, b"0" * 12))
        assert "were made with are gone: train again" in refused("score", hues, "--projection", runs[0])


def test_the_fused_file_of_such_a_head_says_the_same(runs: tuple[Path, Path], hues: Path) -> None:
    exported = said("export", runs[0], "-o", "model.onnx")
    assert exported["parity"]["labels_differ"] == 0
    assert exported["parity"]["largest_difference"] <= 1e-4
    outputs = [value.name for value in onnxruntime.InferenceSession("model.onnx").get_outputs()]
    assert outputs == ["label", "probabilities", "embedding", "familiarity"]

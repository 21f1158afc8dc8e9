"""The table of scores: a row a path, verdicts learned from, what no verdict changes kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.pictures import paint

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.journal import Decision, Journal
from winnow.curate.noise import score_table, suspects
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.features import embed


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in table.to_pylist()}


@pytest.fixture
def place(hues: Path, colours: Path) -> tuple[Workspace, Path]:
    """A workspace of sixty pictures, a strange one, an exact copy and a broken one; and its table of vectors."""
    paint(hues / "red" / "odd.jpg", (250, 250, 20), 900)
    (hues / "red" / "same.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())
    (hues / "blue" / "broken.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes()[:300])
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    store, _ = embed(workspace, EmbeddingConfig(backbone=colours), lambda done, total: None, print)
    return workspace, store.path


def record(workspace: Workspace, table: pa.Table, path: str, verdict: str, **more: str) -> None:
    Journal(workspace.folder).record([Decision(rows_of(table)[path]["id"], path, verdict, **more)])


def test_is_a_row_a_path_and_what_was_written_is_what_was_returned(place: tuple[Workspace, Path]) -> None:
    table = score_table.score(*place)
    rows = rows_of(table)
    assert len(rows) == 63
    assert rows["red/same.jpg"] == rows["red/00.jpg"] | {"path": "red/same.jpg"}
    assert rows["blue/broken.jpg"]["problem"] == "truncated"
    assert rows["blue/broken.jpg"]["off_topic"] is None
    assert rows["red/odd.jpg"]["off_topic"] == max(row["off_topic"] or 0 for row in rows.values())
    assert {row["split"] for path, row in rows.items() if path != "blue/broken.jpg"} == {"train", "val", "test"}
    assert score_table.read(place[0]).equals(table)


def test_verdicts_change_the_ranking_and_never_the_score_before_them(place: tuple[Workspace, Path]) -> None:
    workspace, _ = place
    before = score_table.score(*place)
    record(workspace, before, "red/odd.jpg", "drop", reason="off_topic")
    record(workspace, before, "red/01.jpg", "relabel", label="green")
    record(workspace, before, "red/02.jpg", "drop", reason="quality")
    after = rows_of(score_table.score(*place))
    assert {path: row["off_topic_prior"] for path, row in after.items()} == {
        path: row["off_topic_prior"] for path, row in rows_of(before).items()
    }
    assert (after["red/odd.jpg"]["verdict"], after["red/odd.jpg"]["reason"]) == ("drop", "off_topic")
    assert after["red/odd.jpg"]["label_suspect"] is None
    assert after["red/01.jpg"]["label"] == "green"
    assert {path: row["split"] for path, row in after.items()} == {
        path: None if path in ("red/odd.jpg", "red/02.jpg") else row["split"] for path, row in rows_of(before).items()
    }
    assert rows_of(score_table.score(*place, as_found=True)) == rows_of(before)


def test_a_new_picture_is_scored_with_the_others_and_one_without_a_vector_is_not(
    place: tuple[Workspace, Path], hues: Path
) -> None:
    score_table.score(*place)
    paint(hues / "green" / "new.jpg", (60, 200, 70), 901)
    manifest.scan(place[0])
    assert rows_of(score_table.score(*place))["green/new.jpg"]["off_topic"] is None


@pytest.mark.slow
def test_label_suspects_may_be_those_of_the_last_time(place: tuple[Workspace, Path]) -> None:
    before = rows_of(score_table.score(*place))
    record(place[0], score_table.read(place[0]), "red/03.jpg", "relabel", label="green")
    after = rows_of(score_table.score(*place, fresh_labels=False))
    assert {path: row["label_suspect"] for path, row in after.items()} == {
        path: row["label_suspect"] for path, row in before.items()
    }


def test_the_next_look_is_at_the_highest_undecided_and_two_at_random(place: tuple[Workspace, Path]) -> None:
    workspace, _ = place
    first = score_table.score(*place)
    look = suspects.look(first)
    assert look.paths[0] == "red/odd.jpg"
    assert len(set(look.paths)) == 10
    for path in look.paths:
        record(workspace, first, path, "keep")
    again = suspects.look(score_table.score(*place))
    assert not set(again.paths) & set(look.paths)
    assert again.outlook.looked == 10


@pytest.mark.slow
def test_groups_of_near_duplicates_need_no_scoring_and_are_those_of_it(place: tuple[Workspace, Path]) -> None:
    computed = score_table.near_groups(*place)
    score_table.score(*place)
    assert score_table.near_groups(*place) == computed


@pytest.mark.slow
def test_how_vectors_were_chosen_is_kept_for_the_next_time(place: tuple[Workspace, Path], colours: Path) -> None:
    workspace, _ = place
    assert score_table.made(workspace) is None
    assert EmbeddingConfig.of(None) == EmbeddingConfig()
    score_table.score(*place, made=EmbeddingConfig(backbone=colours).document())
    score_table.score(*place)
    assert EmbeddingConfig.of(score_table.made(workspace)) == EmbeddingConfig(backbone=colours, augment=1)


def test_without_vectors_the_message_says_what_to_run(place: tuple[Workspace, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture with a vector: run `winnow embed` first"):
        score_table.score(place[0], tmp_path / "none.lance")
    assert rows_of(score_table.unscored(place[0]))["red/00.jpg"]["off_topic"] is None


def test_suspects_are_undecided_pictures_by_the_larger_of_two_percentile_ranks() -> None:
    def row(id: str, off_topic: float, label_suspect: float, verdict: str | None = None) -> dict[str, Any]:
        said = {"id": id, "path": f"{id}.jpg", "off_topic": off_topic, "label_suspect": label_suspect}
        return dict.fromkeys(score_table.schema().names) | said | {"verdict": verdict}

    rows = [row("a", 0.1, 0.2), row("b", 0.2, 0.9), row("c", 0.9, 0.1), row("d", 0.15, 0.3), row("e", 1.0, 1.0, "keep")]
    table = pa.Table.from_pylist([*rows, rows[0] | {"path": "copy.jpg"}], score_table.schema())
    assert [found["path"] for found in suspects.suspects(table)] == ["b.jpg", "c.jpg", "d.jpg", "a.jpg"]

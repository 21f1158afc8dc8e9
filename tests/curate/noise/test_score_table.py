"""The table of scores: one row per path, re-ranked by verdicts; columns that no verdict changes are reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.pictures import paint

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.journal import Decision, Journal
from winnow.curate.noise import score_table
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.embedding import embed


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in table.to_pylist()}


@pytest.fixture
def embedded(hues: Path, colours: Path) -> tuple[Workspace, Path]:
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


def test_has_one_row_per_path_and_is_stored_as_returned(embedded: tuple[Workspace, Path]) -> None:
    table = score_table.score(*embedded)
    rows = rows_of(table)
    assert len(rows) == 63
    assert rows["red/same.jpg"] == rows["red/00.jpg"] | {"path": "red/same.jpg"}
    assert rows["blue/broken.jpg"]["problem"] == "truncated"
    assert rows["blue/broken.jpg"]["off_topic"] is None
    assert rows["red/odd.jpg"]["off_topic"] == max(row["off_topic"] or 0 for row in rows.values())
    assert {row["split"] for path, row in rows.items() if path != "blue/broken.jpg"} == {"train", "val", "test"}
    assert score_table.read(embedded[0]).equals(table)


def test_verdicts_change_the_ranking_and_never_the_score_before_them(embedded: tuple[Workspace, Path]) -> None:
    workspace, _ = embedded
    before = score_table.score(*embedded)
    record(workspace, before, "red/odd.jpg", "drop", reason="off_topic")
    record(workspace, before, "red/01.jpg", "relabel", label="green")
    record(workspace, before, "red/02.jpg", "drop", reason="quality")
    after = rows_of(score_table.score(*embedded))
    assert {path: row["off_topic_prior"] for path, row in after.items()} == {
        path: row["off_topic_prior"] for path, row in rows_of(before).items()
    }
    assert (after["red/odd.jpg"]["verdict"], after["red/odd.jpg"]["reason"]) == ("drop", "off_topic")
    assert after["red/odd.jpg"]["label_suspect"] is None
    assert after["red/01.jpg"]["label"] == "green"
    assert {path: row["split"] for path, row in after.items()} == {
        path: None if path in ("red/odd.jpg", "red/02.jpg") else row["split"] for path, row in rows_of(before).items()
    }
    assert rows_of(score_table.score(*embedded, as_found=True)) == rows_of(before)


def test_a_new_picture_is_scored_with_the_others_and_one_without_a_vector_is_not(
    embedded: tuple[Workspace, Path], hues: Path
) -> None:
    score_table.score(*embedded)
    paint(hues / "green" / "new.jpg", (60, 200, 70), 901)
    manifest.scan(embedded[0])
    assert rows_of(score_table.score(*embedded))["green/new.jpg"]["off_topic"] is None


@pytest.mark.slow
def test_label_errors_of_the_last_scoring_may_be_reused(embedded: tuple[Workspace, Path]) -> None:
    before = rows_of(score_table.score(*embedded))
    record(embedded[0], score_table.read(embedded[0]), "red/03.jpg", "relabel", label="green")
    after = rows_of(score_table.score(*embedded, fresh_labels=False))
    assert {path: row["label_suspect"] for path, row in after.items()} == {
        path: row["label_suspect"] for path, row in before.items()
    }


@pytest.mark.slow
def test_near_groups_need_no_scoring_and_equal_those_of_the_table(
    embedded: tuple[Workspace, Path],
) -> None:
    computed = score_table.near_groups(*embedded)
    score_table.score(*embedded)
    assert score_table.near_groups(*embedded) == computed


@pytest.mark.slow
def test_the_choice_of_vectors_is_kept_for_the_next_scoring(embedded: tuple[Workspace, Path], colours: Path) -> None:
    workspace, _ = embedded
    assert score_table.embedding_config(workspace) == EmbeddingConfig()
    score_table.score(*embedded, config=EmbeddingConfig(backbone=colours))
    score_table.score(*embedded)
    assert score_table.embedding_config(workspace) == EmbeddingConfig(backbone=colours, augment=1)


def test_without_vectors_scoring_refuses(embedded: tuple[Workspace, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture with a vector$") as error:
        score_table.score(embedded[0], tmp_path / "none.lance")
    assert error.value.remedy == "embed"
    assert rows_of(score_table.unscored(embedded[0]))["red/00.jpg"]["off_topic"] is None

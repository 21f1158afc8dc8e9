"""Scores of a folder, and drops by rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.reporters import silent_reporter

from winnow.curate.decisions import PruneRules
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.workflow import scoring


@pytest.fixture
def with_noise(hues: Path) -> Path:
    """The pictures of `hues`, a copy of one in other bytes, and a truncated file."""
    (hues / "blue" / "twin.jpg").write_bytes((hues / "blue" / "01.jpg").read_bytes() + b"\0")
    (hues / "red" / "broken.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes()[:300])
    return hues


def score(images: Path, backbone: Path, pool: str = "avg") -> scoring.ScoreResult:
    config = EmbeddingConfig(Recipe(pool=pool), backbone)
    return scoring.score(find_workspace(images), config, silent_reporter())


class TestScore:
    def test_the_document_has_the_keys_of_the_command_line(self, hues: Path, colours: Path) -> None:
        result = score(hues, colours)
        document = result.to_json()
        assert set(document) == {
            *("suspects", "next", "outlook", "duplicate_groups", "near_duplicates", "mixed_groups", "quality"),
            *("verdicts", "vectors", "store", "seconds"),
        }
        assert len(document["suspects"]) == 60
        names = {"path", "label", "off_topic", "label_suspect", "suggested_label", "duplicate_group"}
        assert set(document["suspects"][0]) == names
        assert document["store"] == str(find_workspace(hues).embeddings / f"{document['vectors']}.lance")
        assert list(document["seconds"]) == ["scan", "embed", "score"]

    def test_the_table_has_a_row_for_every_path(self, with_noise: Path, colours: Path) -> None:
        result = score(with_noise, colours)
        assert result.table.num_rows == 62
        assert len(result.to_json()["suspects"]) == 61  # the truncated file has no scores

    def test_vectors_are_pooled_even_if_heads_learn_from_maps(self, hues: Path, colours: Path) -> None:
        pooled = score(hues, colours)
        assert score(hues, colours, pool="none").vectors == pooled.vectors


class TestPrune:
    def test_drops_are_planned_first_and_recorded_on_request(self, with_noise: Path, colours: Path) -> None:
        score(with_noise, colours)
        workspace, rules = find_workspace(with_noise), PruneRules(duplicates=True, unreadable=True)
        plan = scoring.prune(workspace, silent_reporter(), rules, record=False)
        assert [(drop.path, drop.reason) for drop in plan.drops] == [
            ("blue/twin.jpg", "duplicate"),
            ("red/broken.jpg", "unreadable"),
        ]
        assert plan.in_mixed_groups == 0
        assert current_verdicts(Journal(workspace.folder).lines()) == {}
        scoring.prune(workspace, silent_reporter(), rules, record=True)
        verdicts = current_verdicts(Journal(workspace.folder).lines())
        assert {line.path: line.verdict for line in verdicts.values()} == {
            "blue/twin.jpg": "drop",
            "red/broken.jpg": "drop",
        }

    def test_unreadable_files_are_planned_without_scoring(self, with_noise: Path) -> None:
        workspace = find_workspace(with_noise)
        plan = scoring.prune(workspace, silent_reporter(), PruneRules(unreadable=True), record=False)
        assert [drop.path for drop in plan.drops] == ["red/broken.jpg"]
        assert not (workspace.folder / "scores.lance").exists()
        assert not workspace.embeddings.exists()

"""Scores of a folder of pictures, and what follows from them: review in the App, prune by rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.progress import Reporter
from winnow.curate import manifest
from winnow.curate.decisions import PruneRules, plan_drops
from winnow.curate.journal import Decision, Journal, current_verdicts
from winnow.curate.noise import score_summary, score_table
from winnow.curate.noise.score_summary import ScoreSummary
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.embedding import EmbeddedFolder, scan_and_embed
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.curate.app.launch import ReviewOptions, ReviewResult


@dataclass(frozen=True)
class ScoreResult:
    """The rows of `scores.lance`, their summary, the table of vectors that they are from, and the seconds by stage."""

    table: pa.Table
    summary: ScoreSummary
    vectors: str  # key of the table of vectors
    store: str  # its path
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As `score --json` prints it."""
        return self.summary.to_json() | {"vectors": self.vectors, "store": self.store, "seconds": self.seconds}


@dataclass(frozen=True)
class PrunePlan:
    """Drops by rule. in_mixed_groups: how many of the duplicates have near-duplicates under other labels."""

    drops: list[Decision]
    in_mixed_groups: int


def score(workspace: Workspace, config: EmbeddingConfig, reporter: Reporter, as_found: bool = False) -> ScoreResult:
    """Scan, embed, and score every picture with the verdicts so far (`as_found`: without them). Raises: InputError."""
    timer = StageTimer()
    table, folder = embed_and_score(workspace, config, reporter, timer, as_found)
    result = folder.embedding
    return ScoreResult(table, score_summary.summarize(table), result.key, result.store, timer.seconds)


def review(workspace: Workspace, reporter: Reporter, options: ReviewOptions) -> ReviewResult:
    """Score with the vectors of the last scoring, and open the FiftyOne App until it is closed."""
    from winnow.curate.app.launch import open_review

    result = score(workspace, score_table.embedding_config(workspace), reporter)
    return open_review(workspace, Path(result.store), options, reporter.message)


def prune(workspace: Workspace, reporter: Reporter, rules: PruneRules, *, record: bool) -> PrunePlan:
    """The drops by rule, see `plan_drops`; with `record` they are recorded as one batch."""
    with reporter.progress("Scanning") as on_progress:
        manifest.scan(workspace, on_progress=on_progress, on_message=reporter.message)
    areas = manifest.read_areas(workspace)
    if areas and (rules.duplicates or rules.off_topic_above is not None):
        table = score(workspace, score_table.embedding_config(workspace), reporter).table
    else:  # the manifest is enough: no vectors are needed
        table = score_table.unscored(workspace, reporter.message)
    journal = Journal(workspace.folder, on_message=reporter.message)
    drops = plan_drops(table, rules, current_verdicts(journal.lines()), areas)
    duplicates = [drop.id for drop in drops if drop.reason == "duplicate"]
    if record:
        journal.record(drops, undecided_only=True)
    return PrunePlan(drops, score_summary.count_in_mixed_groups(table, duplicates))


def embed_and_score(
    workspace: Workspace, config: EmbeddingConfig, reporter: Reporter, timer: StageTimer, as_found: bool
) -> tuple[pa.Table, EmbeddedFolder]:
    """The rows of `scores.lance`, from pooled vectors whatever heads learn from, and these vectors."""
    pooled = replace(config, recipe=replace(config.recipe, pool="avg"))
    folder = embed_timed(workspace, pooled, reporter, timer)
    with timer.stage("score"):
        table = score_table.score(workspace, folder.store.path, reporter.message, as_found=as_found, config=pooled)
    return table, folder


def embed_timed(workspace: Workspace, config: EmbeddingConfig, reporter: Reporter, timer: StageTimer) -> EmbeddedFolder:
    """As `scan_and_embed`, with the seconds of both stages."""
    folder = scan_and_embed(workspace, config, reporter)
    result = folder.embedding
    timer.add("scan", result.scan_seconds or 0.0)
    timer.add("embed", result.total_seconds - (result.scan_seconds or 0.0))
    return folder

"""Scores of a folder of pictures, and what is done with them: review in the App, prune by rule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.progress import Reporter
from winnow.curate import manifest
from winnow.curate.decisions import PruneRules, plan_drops
from winnow.curate.journal import Decision, Journal, current_verdicts
from winnow.curate.noise import score_summary, score_table
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.workflow.features import scan_and_embed

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.curate.app.launch import ReviewOptions, ReviewResult


def score_embedded(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, seconds: dict[str, float], as_found: bool
) -> tuple[pa.Table, Embedded]:
    """The table of scores, by pooled vectors whatever heads learn from, and how these were made."""
    wanted = replace(vectors, recipe=replace(vectors.recipe, pool="avg"))
    found, store, made = embed_timed(workspace, wanted, reporter, seconds)
    with timed(seconds, "score"):
        path = Path(made["store"])
        table = score_table.score(workspace, path, reporter.message, as_found=as_found, config=wanted)
    return table, (found, store, made)


def score(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, as_found: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Scan, embed, and score every picture with the verdicts so far.

    Returns: the rows of `scores.lance`, and what `score --json` prints: suspects, what to look at next, what is left.
    """
    seconds: dict[str, float] = {}
    table, (_, _, made) = score_embedded(workspace, vectors, reporter, seconds, as_found)
    said = {"vectors": made["key"], "store": made["store"], "seconds": seconds}
    return table, score_summary.summarize(table).to_json() | said


def review(workspace: Workspace, reporter: Reporter, options: ReviewOptions) -> ReviewResult:
    """Score, by the vectors of the last scoring, and open the FiftyOne App until Ctrl-C."""
    from winnow.curate.app.launch import open_review

    vectors = score_table.embedding_config(workspace)
    _, said = score(workspace, vectors, reporter)
    return open_review(workspace, Path(said["store"]), options, reporter.message)


def prune(workspace: Workspace, reporter: Reporter, rules: PruneRules, *, record: bool) -> list[Decision]:
    """Plan the drops of undecided pictures by rules. Parameters: `record`, whether to record them as one batch."""
    with reporter.progress("Scanning") as told:
        manifest.scan(workspace, on_progress=told, on_message=reporter.message)
    areas = manifest.read_areas(workspace)
    if areas and (rules.duplicates or rules.off_topic_above is not None):
        table, _ = score(workspace, score_table.embedding_config(workspace), reporter)
    else:  # what scan knows is enough
        table = score_table.unscored(workspace, reporter.message)
    journal = Journal(workspace.folder, on_message=reporter.message)
    plan = plan_drops(table, rules, current_verdicts(journal.lines()), areas)
    if mixed := score_summary.count_in_mixed_groups(
        table, [decision.id for decision in plan if decision.reason == "duplicate"]
    ):
        reporter.message(f"note: {mixed} of the duplicates have copies under other labels: `winnow review` shows them")
    if record:
        journal.record(plan, undecided_only=True)
    return plan


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the seconds that a stage took."""
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)


Embedded = tuple[manifest.ScanResult, Store, dict[str, Any]]  # what a scan found, the table of vectors, how it was made


def embed_timed(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, seconds: dict[str, float]
) -> Embedded:
    """Scan and embed, and add the seconds of both stages."""
    found, store, made = scan_and_embed(workspace, vectors, reporter.progress, reporter.message)
    spent = {"scan": made["scan_seconds"], "embed": made["total_seconds"] - made["scan_seconds"]}
    seconds |= {stage: round(seconds.get(stage, 0.0) + took, 2) for stage, took in spent.items()}
    return found, store, made

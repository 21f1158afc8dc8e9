"""What joins the rooms: a scanned folder to its vectors, their scores, and runs with a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate import dataset as datasets
from winnow.curate import manifest
from winnow.curate.dataset import Dataset
from winnow.curate.journal import Decision, Journal, current_verdicts
from winnow.curate.noise import score_table, suspects
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store
from winnow.workflow import rows, training
from winnow.workflow.features import scan_and_embed
from winnow.workflow.record import Experiment, leave_run, timed

if TYPE_CHECKING:
    import pyarrow as pa


Embedded = tuple[manifest.ScanResult, Store, dict[str, Any]]  # what a scan found, the table of vectors, how it was made


@dataclass(frozen=True)
class Division:
    """How the dataset is read and divided: the seed of the first split, what stays together, verdicts or none."""

    seed: int = 0
    group_by: str | None = None
    as_found: bool = False


def prepare(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    division: Division,
    repeats: int,
    scored: bool = False,
) -> Experiment:
    """Scan, embed, perhaps score, and divide: what every run begins with. Raises: InputError."""
    seconds: dict[str, float] = {}
    embedded, scores = None, None
    if scored:
        scores, embedded = _scored(workspace, vectors, reporter, seconds, division.as_found)
    if embedded is None or vectors.recipe.pool != "avg":
        embedded = _embedded(workspace, vectors, reporter, seconds)
    found, store, made = embedded
    near = score_table.near_groups(workspace, store.path)
    data = _dataset(workspace, store, division, repeats, near, reporter)
    notes = [*found.warnings, *data.warnings]
    if failed := made["failed_files"]:
        notes.append(f"left out, {len(failed)} pictures that could not be embedded, as {failed[0]['path']}")
    for note in notes:
        reporter.message(f"note: {note}")
    own, looks = rows.read(store, data.ids, vectors)
    return Experiment(
        workspace=workspace,
        data=data,
        rows=own,
        looks=looks,
        made=made,
        embedding=vectors.document(),
        scan=found,
        notes=notes,
        seed=division.seed,
        seconds=seconds,
        store=store,
        near=near,
        scores=score_table.read(workspace) if scores is None else scores,
        as_found=division.as_found,
    )


def _dataset(
    workspace: Workspace, store: Store, division: Division, repeats: int, near: dict[str, int], reporter: Reporter
) -> Dataset:
    journal = Journal(workspace.folder, on_message=reporter.message)
    return datasets.read(
        workspace,
        repeats=repeats,
        seed=division.seed,
        group_by=division.group_by,
        among=store.ids(),
        near=near,
        verdicts=None if division.as_found else current_verdicts(journal.lines()),
    )


def _embedded(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, seconds: dict[str, float]
) -> Embedded:
    found, store, made = scan_and_embed(workspace, vectors, reporter.progress, reporter.message)
    spent = {"scan": made["scan_seconds"], "embed": made["total_seconds"] - made["scan_seconds"]}
    seconds |= {stage: round(seconds.get(stage, 0.0) + took, 2) for stage, took in spent.items()}
    return found, store, made


def _scored(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, seconds: dict[str, float], as_found: bool
) -> tuple[pa.Table, Embedded]:
    """The table of scores, by pooled vectors whatever heads learn from, and how these were made."""
    wanted = replace(vectors, recipe=replace(vectors.recipe, pool="avg"))
    found, store, made = _embedded(workspace, wanted, reporter, seconds)
    with timed(seconds, "score"):
        path, how = Path(made["store"]), wanted.document()
        table = score_table.score(workspace, path, reporter.message, as_found=as_found, made=how)
    return table, (found, store, made)


def score(
    workspace: Workspace, vectors: EmbeddingConfig, reporter: Reporter, as_found: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Scan, embed, and score every picture with the verdicts so far.

    Returns: the rows of `scores.lance`, and what `score --json` prints: suspects, what to look at next, what is left.
    """
    seconds: dict[str, float] = {}
    table, (_, _, made) = _scored(workspace, vectors, reporter, seconds, as_found)
    said = {"vectors": made["key"], "store": made["store"], "seconds": seconds}
    return table, suspects.document(table) | said


def review(workspace: Workspace, reporter: Reporter, **how: Any) -> dict[str, Any]:
    """Score, by the vectors of the last scoring, and open the FiftyOne App.

    Parameters: `how`, as `curate.review.open_review` takes it, whose result is returned.
    """
    from winnow.curate.app.launch import open_review

    vectors = EmbeddingConfig.of(score_table.made(workspace))
    _, said = score(workspace, vectors, reporter)
    return open_review(workspace, Path(said["store"]), on_message=reporter.message, **how)


def prune(workspace: Workspace, reporter: Reporter, *, record: bool, **rules: Any) -> list[Decision]:
    """The drops that `curate.decisions.plan_drops` gives; with `record` they are recorded as one batch."""
    from winnow.curate import decisions

    with reporter.progress("Scanning") as told:
        manifest.scan(workspace, on_progress=told, on_message=reporter.message)
    areas = manifest.read_areas(workspace)
    if areas and (rules["duplicates"] or rules["off_topic_above"] is not None):
        table, _ = score(workspace, EmbeddingConfig.of(score_table.made(workspace)), reporter)
    else:  # what scan knows is enough
        table = score_table.unscored(workspace, reporter.message)
    journal = Journal(workspace.folder, on_message=reporter.message)
    plan = decisions.plan_drops(table, **rules, verdicts=current_verdicts(journal.lines()), area=areas)
    if mixed := suspects.mixed(table, [decision.id for decision in plan if decision.reason == "duplicate"]):
        reporter.message(f"note: {mixed} of the duplicates have copies under other labels: `winnow review` shows them")
    if record:
        journal.record(plan, undecided_only=True)
    return plan


def compare(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    heads: str | None = None,
    grid: str | None = None,
    repeats: int = 10,
    division: Division = Division(),
    jobs: int | None = None,
    fresh: bool = False,
    cleaning: bool = False,
    learning_curve: bool = False,
) -> dict[str, Any]:
    """Fit every head on every split, and leave a run folder with a report.

    Parameters: `heads`, kinds, comma-separated (None: heads.fit.DEFAULT_HEADS), or `grid`, a TOML file or the name of a
    shipped one; `jobs`, fits at a time (None: one a processor); `fresh`, fit anew what was fitted before; `cleaning`,
    fit them on the pictures as found too, and say what the verdicts bought; `learning_curve`, fit the chosen head on
    parts of the train part too, and guess what more pictures would bring.
    Returns: the document of the run (`metrics.json`), with `run` and `report`, its folder and its page.
    """
    from winnow.heads.evaluation.grid_file import read_grid

    chosen = read_grid(grid) if grid else training.named(heads)
    if cleaning and (vectors.rows_per_image > 1 or any(head.kind == "finetune" for head in chosen.heads)):
        raise InputError("--cleaning compares heads on plain vectors: leave out --augment, --tta and tail")
    if cleaning and not current_verdicts(Journal(workspace.folder, on_message=reporter.message).lines()):
        raise InputError("nothing is decided yet: `winnow review`, `winnow decide` or `winnow prune` first")
    experiment = prepare(workspace, rows.beside_tails(chosen, vectors), reporter, division, repeats)
    if heads is None and grid is None:
        chosen = training.affordable(chosen, experiment, reporter)
    found = _as_found(experiment, division, repeats, reporter) if cleaning else None
    if found is None:
        chosen, experiments = rows.for_heads(experiment, chosen, vectors, reporter)
        compared, fits = training.fit_all(experiment, chosen, jobs, fresh, reporter, experiments)
        experiment = experiments[compared[0]["name"]]
    else:
        X_found = experiment.store.read(found.ids)
        compared, fits, bought = training.fit_cleaning(experiment, found, X_found, chosen, jobs, fresh, reporter)
        experiment = replace(experiment, cleaning=bought)
    if learning_curve:
        best = next(head for head in chosen.heads if head.name == compared[0]["name"])
        experiment = replace(
            experiment, learning_curve=training.fit_curve(experiment, best, chosen.validation, jobs, fresh, reporter)
        )
    return leave_run(experiment, "compare", compared, fits, reporter)


def _as_found(experiment: Experiment, division: Division, repeats: int, reporter: Reporter) -> Dataset:
    try:
        return _dataset(
            experiment.workspace, experiment.store, replace(division, as_found=True), repeats, experiment.near, reporter
        )
    except InputError as error:
        raise InputError(f"there is nothing to compare with, leave out --cleaning: as found, {error}") from None


def train(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    kind: str,
    params: dict[str, Any],
    division: Division = Division(),
) -> dict[str, Any]:
    """Train one head on one split, and leave a run folder with a report and `head.onnx`.

    Returns: as `compare`, with `weighted_f1`, `accuracy` and `model`, the path of `head.onnx`.
    """
    from winnow.heads.evaluation.compare import table
    from winnow.heads.evaluation.fit import Grid, HeadSpec, build

    grid = Grid([HeadSpec(kind, kind, params)])
    build(grid.heads[0], division.seed)  # a wrong parameter is told before the work, not after it
    experiment = prepare(workspace, rows.beside_tails(grid, vectors), reporter, division, 1)
    grid, experiments = rows.for_heads(experiment, grid, vectors, reporter)
    with timed(experiment.seconds, "train"):
        estimator, fit = training.fit_one(experiments[kind], grid.heads[0], reporter)
    made = table(grid.heads, [[fit]], experiment.splits)
    return leave_run(experiments[kind], f"train-{kind}", made, {kind: fit}, reporter, estimator)


def run(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    heads: str | None = None,
    repeats: int = 10,
    division: Division = Division(),
    jobs: int | None = None,
) -> dict[str, Any]:
    """Scan, embed, score, compare, train the best head again for its file, report, export: from a folder to one file.

    Returns: {scan, embed, score, compare, train, report, export, seconds}, as `run --json` prints it.
    """
    from winnow.heads.evaluation.fit import HeadSpec

    grid = training.named(heads)
    experiment = prepare(workspace, rows.beside_tails(grid, vectors), reporter, division, repeats, scored=True)
    if heads is None:
        grid = training.affordable(grid, experiment, reporter)
    grid, experiments = rows.for_heads(experiment, grid, vectors, reporter)
    compared, fits = training.fit_all(experiment, grid, jobs, False, reporter, experiments)
    best = HeadSpec(*(compared[0][name] for name in ("name", "kind", "params")))
    experiment = experiments[best.name]
    with timed(experiment.seconds, "train"):
        estimator, fits[best.name] = training.fit_one(experiment, best, reporter)
    document = leave_run(experiment, "run", compared, fits, reporter, estimator)
    with timed(experiment.seconds, "export"):
        exported = _exported(document, reporter)
    return {
        "scan": experiment.scan.to_json(),
        "embed": experiment.made,
        "score": suspects.document(experiment.scores),
        "compare": {name: document[name] for name in ("heads", "data", "run")},
        "train": {"head": best.name} | {name: document[name] for name in ("run", "weighted_f1", "accuracy", "model")},
        "report": document["report"],
        "export": exported,
        "seconds": experiment.seconds,
    }


def _exported(document: dict[str, Any], reporter: Reporter) -> dict[str, Any] | None:
    """The one file to deploy, beside the report; None, and the reason is told, when it cannot be had."""
    from winnow.deploy.export import export

    if document["model"] is None:
        return None
    run = Path(document["run"])
    try:
        return export(run, run / "model.onnx", reporter)
    except InputError as error:
        reporter.message(f"note: model.onnx was not written: {error}")
        return None

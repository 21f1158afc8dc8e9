"""The pictures as samples in the App's database: push scores and verdicts, pull tags and deletions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import digest
from winnow.common.paths import from_text, to_text
from winnow.common.progress import OnMessage
from winnow.curate import manifest
from winnow.curate.app.tags import Picture, TagActions, read_actions
from winnow.curate.app.views import LABELS_DIFFER, index_vectors, save_views, set_colours
from winnow.curate.export import collect
from winnow.curate.journal import Decision, Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

DATASET = "pictures"  # the only dataset in the workspace's database
# Fields that are shown on the tiles.
TILE_FIELDS = ["label", "suggested_label", "verdict", "new_label", "duplicate", "quality", "problem"]
TILE_FIELDS += ["probability", "familiarity"]
# Field -> type, and its description in the App. All have an index: the App shows no slider for a number without one.
FIELDS = {
    "picture": ("String", "sha256 of the file, to which verdicts belong"),
    "path": ("String", "path in the folder of pictures"),
    "label": ("String", "label as found"),
    "suggested_label": ("String", "most probable label by the vectors, where it is another one"),
    "new_label": ("String", "label that the picture was given"),
    "verdict": ("String", "drop, keep or relabel"),
    "reason": ("String", "reason of a drop"),
    "split": ("String", "train, val or test, with seed 0"),
    "problem": ("String", "why the file cannot be used"),
    "quality": ("List", "quality rules that the picture breaks"),
    "off_topic": ("Float", "0 to 1, higher is worse, with the verdicts so far"),
    "off_topic_prior": ("Float", "0 to 1, higher is worse, without verdicts"),
    "label_suspect": ("Float", "how likely the label is wrong: 0 to 1, higher is worse"),
    "duplicate_group": ("Int", "pictures with the same number are duplicates"),
    "duplicate_keep": ("Boolean", "whether it is the one to keep of its duplicates"),
    "duplicate": ("String", "the one to keep or a copy, for pictures that have duplicates"),
}
PREDICTION_FIELDS = {  # of pictures that were collected because a model was not sure of them
    "predicted": ("String", "label that the model predicted"),
    "probability": ("Float", "0 to 1, the model's probability of that label"),
    "familiarity": ("Float", "0 to 1, how similar the picture is to the training pictures"),
}
SIDEBAR_GROUPS = {
    "verdict": ["verdict", "reason", "new_label"],
    "prediction": list(PREDICTION_FIELDS),
    "labels": ["label", "suggested_label", "label_suspect", "split"],
    "off topic": ["off_topic", "off_topic_prior"],
    "duplicates": ["duplicate", "duplicate_group", "duplicate_keep"],
    "quality": ["quality", "problem"],
    "metadata": ["path", "picture", "filepath", "id", "metadata", "created_at", "last_modified_at"],
}

Fields = dict[str, Any]  # name -> value, of one sample


@dataclass(frozen=True)
class PullResult:
    """What `pull` did.

    recorded : verdict -> how many were recorded.
    unconfirmed : verdicts that no terminal could confirm; they are kept for the next review.
    """

    recorded: dict[str, int] = field(default_factory=dict)
    unconfirmed: int = 0


def initial_page(workspace: Workspace) -> str:
    """Return the path and query of the App's address: the dataset and the view that it opens with."""
    view = "unfamiliar-first" if collect.read_predictions(workspace) else "off-topic-first"
    return f"/datasets/{DATASET}?view={view}&workspace=pictures"


def push(workspace: Workspace, table: pa.Table, store: Path) -> Any:
    """Bring the dataset up to date with the scores, the manifest and the journal, and return it.

    Only what is new or has changed is written. Tags follow a renamed picture. Pictures that were deleted in the App
    stay deleted until that is recorded.

    Parameters: `table`, returned by `score_table.score`; `store`, the table of vectors.
    """
    import fiftyone as fo

    dataset = fo.load_dataset(DATASET) if fo.dataset_exists(DATASET) else fo.Dataset(DATASET, persistent=True)
    predictions = collect.read_predictions(workspace)
    fields = FIELDS | PREDICTION_FIELDS if predictions else FIELDS
    _add_fields(dataset, fields)
    dataset.info["winnow"] = {"workspace": str(workspace.folder), "store": str(store)}
    dataset.save()
    wanted, pushed = _sample_fields(workspace, table, predictions), _read_pushed(workspace)
    existing = dict(zip(*dataset.values(["path", "id"]), strict=True))
    deleted = {
        path for path, id in pushed.items() if path not in existing and path in wanted and wanted[path]["picture"] == id
    }
    obsolete = set(dataset.values("id")) - {id for path, id in existing.items() if path in wanted}
    kept_tags = {}
    if obsolete:
        kept_tags = dict(zip(*dataset.select(list(obsolete)).values(["picture", "tags"]), strict=True))
    dataset.delete_samples(list(obsolete))
    updates = {existing[path]: wanted[path] for path in existing.keys() & wanted.keys()}
    _update_samples(dataset, updates, [*fields, "filepath"])
    new = [row for path, row in wanted.items() if path not in existing and path not in deleted]
    dataset.add_samples([_new_sample(row, kept_tags.get(row["picture"])) for row in new], validate=False)
    _write_pushed(workspace, {path: row["picture"] for path, row in wanted.items()})
    set_colours(dataset)
    save_views(dataset)
    index_vectors(dataset, store)
    return dataset


def disconnect() -> None:
    """Close the connection to the database, which FiftyOne would otherwise use once more at exit."""
    from fiftyone.core.odm import get_db_client

    get_db_client().close()


def pull(
    workspace: Workspace, dataset: Any, on_message: OnMessage, confirm: Callable[[str], bool] | None
) -> PullResult:
    """Show the tags and deletions made with the App's own tools, and record them after a confirmation.

    Parameters: `confirm`, puts the question and returns the answer; None when nobody can answer.
    """
    actions = _read_actions(workspace, dataset)
    _report_actions(actions, on_message)
    if actions.decisions:
        if confirm is None:
            on_message("Not recorded, because nobody could confirm it; kept for the next review.")
            return PullResult(unconfirmed=len(actions.decisions))
        if not confirm(f"Record {_count(actions.decisions)}?"):
            on_message("Not recorded. Tags stay, and deleted pictures come back at the next review.")
            _write_pushed(workspace, dict(zip(*dataset.values(["path", "picture"]), strict=True)))
            return PullResult()
        Journal(workspace.folder, on_message=on_message).record(actions.decisions)
    _remove_recorded_tags(workspace, dataset, actions)
    return PullResult(dict(Counter(decision.verdict for decision in actions.decisions)))


def _read_actions(workspace: Workspace, dataset: Any) -> TagActions:
    names = ["picture", "path", "off_topic", "tags"]
    pictures = [Picture(*row) for row in zip(*dataset.values(names), strict=True) if row[0] is not None]
    paths = set(dataset.values("path"))
    pushed = _read_pushed(workspace).items()
    deleted = [Picture(id, path) for path, id in pushed if id is not None and path not in paths]
    lines = Journal(workspace.folder).lines()
    labels = {*dataset.distinct("label"), *(line.label for line in lines if line.label)}
    return read_actions(pictures, deleted, labels, current_verdicts(lines))


def _report_actions(actions: TagActions, on_message: OnMessage) -> None:
    """Report, for each verdict, how many pictures get it and some of their paths; then what was not understood."""
    paths_by_verdict: dict[str, list[str]] = {}
    for decision in actions.decisions:
        detail = decision.reason or decision.label
        verdict = decision.verdict + (f" ({detail})" if detail else "")
        paths_by_verdict.setdefault(verdict, []).append(decision.path)
    if paths_by_verdict:
        on_message("Tagged and deleted in the App:")
    for verdict, paths in sorted(paths_by_verdict.items()):
        on_message(f"  {verdict:24} {len(paths):6,}  {_examples(paths)}")
    for tag, count in sorted(actions.unknown.items()):
        known = "drop, keep, a reason, a label, or label:NAME for a new label"
        on_message(f"  tag {tag!r} of {count:,} is no verdict: use {known}")
    if paths := actions.contradictory:
        on_message(f"  {len(paths):,} have tags that contradict each other: {_examples(paths)}")
    if paths := actions.deleted_copies:
        on_message(f"  {len(paths):,} deleted, but another copy is there, so the picture stays: {_examples(paths)}")


def _examples(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")


def _count(decisions: Sequence[Decision]) -> str:
    return "1 verdict" if len(decisions) == 1 else f"{len(decisions):,} verdicts"


def _remove_recorded_tags(workspace: Workspace, dataset: Any, actions: TagActions) -> None:
    """Remove the tags that are recorded now; deleted pictures come back, with their verdict, at the next push."""
    from fiftyone import ViewField as F

    for tag in {tag for tags in actions.understood.values() for tag in tags}:
        ids = [id for id, tags in actions.understood.items() if tag in tags]
        dataset.match(F("picture").is_in(ids)).untag_samples(tag)
    _write_pushed(workspace, dict(zip(*dataset.values(["path", "picture"]), strict=True)))


def _read_pushed(workspace: Workspace) -> dict[str, str | None]:
    """Read path -> id of the last push: what the dataset lacks of it was deleted in the App."""
    try:
        return json.loads((workspace.folder / "fiftyone" / "pushed.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _write_pushed(workspace: Workspace, pushed: Mapping[str, str | None]) -> None:
    with atomic_write(workspace.folder / "fiftyone" / "pushed.json") as stream:
        stream.write(json.dumps(pushed).encode())


def verdict_fields(line: Line | Decision | None) -> dict[str, str | None]:
    """Return the fields that show a verdict; all are None without one."""
    if line is None:
        return dict.fromkeys(("verdict", "reason", "new_label"))
    return {"verdict": line.verdict, "reason": line.reason, "new_label": line.label}


def _sample_fields(
    workspace: Workspace, table: pa.Table, predictions: Mapping[str, Mapping[str, Any]]
) -> dict[str, Fields]:
    """Map the path of every picture to the fields of its sample.

    Parameters: `predictions`, id -> `PREDICTION_FIELDS`; empty: samples have none of these.
    """
    columns = ["path", "label", "bytes", "width", "height"]
    files = {row["path"]: row for row in manifest.read(workspace).select(columns).to_pylist()}
    verdicts = current_verdicts(Journal(workspace.folder).lines())
    no_prediction = dict.fromkeys(PREDICTION_FIELDS if predictions else ())
    group_labels: dict[int, set[str | None]] = {}
    for group, label in zip(table["duplicate_group"].to_pylist(), table["label"].to_pylist(), strict=True):
        group_labels.setdefault(group, set()).add(label)
    samples = {}
    for row in table.to_pylist():
        file = files.get(row["path"])
        if file is None:
            continue
        fields = {name: row[name] for name in FIELDS if name in row} | {"picture": row["id"], "label": file["label"]}
        fields |= verdict_fields(verdicts.get(row["id"])) | {"filepath": _file_path(workspace, row["path"])}
        fields |= predictions.get(row["id"], no_prediction)
        fields["duplicate"] = None
        if row["duplicate_group"] is not None:
            fields["duplicate"] = "the one to keep" if row["duplicate_keep"] else "a copy"
            fields["duplicate"] += LABELS_DIFFER if len(group_labels[row["duplicate_group"]]) > 1 else ""
        fields["size"] = (file["bytes"], file["width"], file["height"])
        samples[row["path"]] = fields
    return samples


def _file_path(workspace: Workspace, path: str) -> str:
    """Return the path of the file, or of a link to it when the path is not UTF-8, which the database requires."""
    file = workspace.images / from_text(path)
    if to_text(str(file)) == str(file) or str(file).isprintable():
        return str(file)
    link = workspace.folder / "fiftyone" / "links" / f"{digest(path)}{Path(path).suffix}"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return str(link)


def _add_fields(dataset: Any, wanted: Mapping[str, tuple[str, str]]) -> None:
    """Add the fields that the dataset lacks, with an index each, and arrange the tiles and the sidebar."""
    import fiftyone as fo

    existing = dataset.get_field_schema()
    if wanted.keys() <= existing.keys():
        return
    for name, (kind, description) in wanted.items():
        if name in existing:
            continue
        element = {"subfield": fo.StringField} if kind == "List" else {}
        dataset.add_sample_field(name, getattr(fo, f"{kind}Field"), description=description, **element)
        dataset.create_index(name)
    config = dataset.app_config
    config.active_fields = fo.ActiveFields(paths=[name for name in TILE_FIELDS if name in wanted])
    config.sidebar_groups = [fo.SidebarGroupDocument(name="tags", paths=["tags"])] + [
        fo.SidebarGroupDocument(name=name, paths=paths, expanded=name != "metadata")
        for name, paths in SIDEBAR_GROUPS.items()
        if name != "prediction" or PREDICTION_FIELDS.keys() <= wanted.keys()
    ]
    dataset.save()


def _new_sample(fields: Fields, tags: list[str] | None) -> Any:
    import fiftyone as fo

    fields = dict(fields)
    size, width, height = fields.pop("size")
    metadata = fo.ImageMetadata(size_bytes=size, width=width, height=height) if width else None
    return fo.Sample(metadata=metadata, tags=tags or [], **fields)


def _update_samples(dataset: Any, wanted: Mapping[str, Fields], names: Sequence[str]) -> None:
    """Write the named fields where they differ. Parameters: `wanted`, sample id -> fields."""
    for name in names:
        current = zip(*dataset.values(["id", name]), strict=True)
        changed = {id: wanted[id][name] for id, value in current if id in wanted and wanted[id][name] != value}
        if changed:
            dataset.set_values(name, changed, key_field="id", validate=False)

"""The pictures as samples in the App's own database: pushed from scores and journal, tags and deletions pulled back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import digest
from winnow.common.paths import from_text, to_text
from winnow.curate import manifest
from winnow.curate.app import tags
from winnow.curate.app.views import colour, embed, save_views
from winnow.curate.export import collect
from winnow.curate.journal import Decision, Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

DATASET = "pictures"  # the only one in the workspace's own database
DIFFER = ", labels differ"  # what is said of duplicates that are not all of one label
SHOWN = ["label", "suggested_label", "verdict", "new_label", "duplicate", "quality", "problem"]  # on the tiles
SHOWN += ["probability", "familiarity"]
# Field -> type, and what the App says of it. All have an index: without one a number has no slider.
FIELDS = {
    "picture": ("String", "sha256 of the file: what a verdict belongs to"),
    "path": ("String", "in the folder of pictures"),
    "label": ("String", "as found"),
    "suggested_label": ("String", "what the vectors say that it is"),
    "new_label": ("String", "that of a relabel"),
    "verdict": ("String", "drop, keep or relabel"),
    "reason": ("String", "why it is dropped"),
    "split": ("String", "train, val or test, of seed 0"),
    "problem": ("String", "why it cannot be used"),
    "quality": ("List", "the rules that it breaks"),
    "off_topic": ("Float", "0 to 1, higher is worse, with the verdicts so far"),
    "off_topic_prior": ("Float", "0 to 1, higher is worse, without verdicts"),
    "label_suspect": ("Float", "0 to 1, higher is worse"),
    "duplicate_group": ("Int", "pictures with the same number are duplicates"),
    "duplicate_keep": ("Boolean", "the one to keep of its duplicates"),
    "duplicate": ("String", "the same in words, for those that have duplicates"),
}
PREDICTED = {  # the same, of pictures that a model was doubtful of
    "predicted": ("String", "what the model said that it is"),
    "probability": ("Float", "0 to 1, how sure the model was"),
    "familiarity": ("Float", "0 to 1, how usual it is beside what the model was trained on"),
}
GROUPS = {
    "verdict": ["verdict", "reason", "new_label"],
    "prediction": list(PREDICTED),
    "labels": ["label", "suggested_label", "label_suspect", "split"],
    "off topic": ["off_topic", "off_topic_prior"],
    "duplicates": ["duplicate", "duplicate_group", "duplicate_keep"],
    "quality": ["quality", "problem"],
    "metadata": ["path", "picture", "filepath", "id", "metadata", "created_at", "last_modified_at"],
}


def opening(workspace: Workspace) -> str:
    """What the App's address ends in: the view that it opens on."""
    view = "unfamiliar-first" if collect.read(workspace) else "off-topic-first"
    return f"/datasets/{DATASET}?view={view}&workspace=pictures"


def push(workspace: Workspace, table: pa.Table, store: Path) -> Any:
    """Bring the dataset up to date with the scores, the manifest and the journal, and return it.

    Parameters: `table`, as `ranking.score` returned it; `store`, the table of vectors. Only what is new or has changed
    is written. Tags follow a renamed picture; what was deleted in the App and is not recorded yet stays deleted.
    """
    import fiftyone as fo

    dataset = fo.load_dataset(DATASET) if fo.dataset_exists(DATASET) else fo.Dataset(DATASET, persistent=True)
    predicted = collect.read(workspace)
    fields = FIELDS | PREDICTED if predicted else FIELDS
    _fields(dataset, fields)
    dataset.info["winnow"] = {"workspace": str(workspace.folder), "store": str(store)}
    dataset.save()
    wanted, pushed = _wanted(workspace, table, predicted), _pushed(workspace)
    here = dict(zip(*dataset.values(["path", "id"]), strict=True))
    deleted = {path for path, id in pushed.items() if path not in here and _picture(wanted, path) == id}
    gone = set(dataset.values("id")) - {id for path, id in here.items() if path in wanted}
    kept_tags = dict(zip(*dataset.select(list(gone)).values(["picture", "tags"]), strict=True)) if gone else {}
    dataset.delete_samples(list(gone))
    _update(dataset, {here[path]: wanted[path] for path in here.keys() & wanted.keys()}, [*fields, "filepath"])
    new = [row for path, row in wanted.items() if path not in here and path not in deleted]
    dataset.add_samples([_sample(row, kept_tags.get(row["picture"])) for row in new], validate=False)
    _remember(workspace, {path: row["picture"] for path, row in wanted.items()})
    colour(dataset)
    save_views(dataset, DIFFER)
    embed(dataset, store)
    return dataset


def close() -> None:
    """Let go of the database, which FiftyOne would look for at exit."""
    from fiftyone.core.odm import get_db_client

    get_db_client().close()


def pull(
    workspace: Workspace, dataset: Any, on_message: Callable[[str], None], ask: Callable[[str], bool] | None
) -> dict[str, int]:
    """Show what was tagged and deleted with the App's own tools, and record it after a yes.

    Parameters: `ask`, puts the question; None: there is no one to ask, and it is kept for the next time.
    Returns: verdict -> how many were recorded.
    """
    found = _found(workspace, dataset)
    _tell(found, on_message)
    if found.decisions:
        if ask is None:
            on_message("not recorded, kept for the next time: answer at a terminal, or use --accept")
            return {}
        if not ask(f"Record {_count(found.decisions)}?"):
            on_message("not recorded; tags stay, and what was deleted comes back at the next review")
            _remember(workspace, dict(zip(*dataset.values(["path", "picture"]), strict=True)))
            return {}
        Journal(workspace.folder, on_message=on_message).record(found.decisions)
    _forget(workspace, dataset, found)
    return dict(Counter(decision.verdict for decision in found.decisions))


def _found(workspace: Workspace, dataset: Any) -> tags.Found:
    names = ["picture", "path", "off_topic", "tags"]
    here = [tags.Picture(*row) for row in zip(*dataset.values(names), strict=True) if row[0] is not None]
    paths = set(dataset.values("path"))
    gone = [tags.Picture(id, path) for path, id in _pushed(workspace).items() if id is not None and path not in paths]
    lines = Journal(workspace.folder).lines()
    labels = {*dataset.distinct("label"), *(line.label for line in lines if line.label)}
    return tags.read(here, gone, labels, current_verdicts(lines))


def _tell(found: tags.Found, on_message: Callable[[str], None]) -> None:
    """A line for each verdict that tags and deletions come to: how many pictures, and some of their names."""
    rows: dict[str, list[str]] = {}
    for decision in found.decisions:
        detail = decision.reason or decision.label
        rows.setdefault(decision.verdict + (f" ({detail})" if detail else ""), []).append(decision.path)
    if rows:
        on_message("Tagged and deleted in the App:")
    for what, paths in sorted(rows.items()):
        on_message(f"  {what:24} {len(paths):6,}  {_names(paths)}")
    for tag, count in sorted(found.strange.items()):
        on_message(
            f"  tag {tag!r} of {count:,} is no verdict: drop, keep, a reason, a label, or label:NAME for a new one"
        )
    if found.contradictory:
        on_message(
            f"  {len(found.contradictory):,} have tags that contradict each other: {_names(found.contradictory)}"
        )
    if found.copies:
        on_message(f"  {len(found.copies):,} deleted, but a copy is still there, so it stays: {_names(found.copies)}")


def _names(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")


def _count(decisions: list[Decision]) -> str:
    return "1 verdict" if len(decisions) == 1 else f"{len(decisions):,} verdicts"


def _forget(workspace: Workspace, dataset: Any, found: tags.Found) -> None:
    """Take off the tags that are recorded now; what was deleted comes back, as decided, at the next push."""
    from fiftyone import ViewField as F

    for tag in {tag for tags_ in found.read.values() for tag in tags_}:
        ids = [id for id, tags_ in found.read.items() if tag in tags_]
        dataset.match(F("picture").is_in(ids)).untag_samples(tag)
    _remember(workspace, dict(zip(*dataset.values(["path", "picture"]), strict=True)))


def _pushed(workspace: Workspace) -> dict[str, str | None]:
    """path -> id of what was last pushed: what of it is not in the dataset was deleted in the App."""
    try:
        return json.loads((workspace.folder / "fiftyone" / "pushed.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _remember(workspace: Workspace, pushed: dict[str, str | None]) -> None:
    with atomic_write(workspace.folder / "fiftyone" / "pushed.json") as stream:
        stream.write(json.dumps(pushed).encode())


def _picture(wanted: dict[str, dict[str, Any]], path: str) -> str | None:
    return wanted[path]["picture"] if path in wanted else None


def verdict_fields(line: Line | Decision | None) -> dict[str, str | None]:
    """The fields that show a verdict, or that there is none."""
    if line is None:
        return dict.fromkeys(("verdict", "reason", "new_label"))
    return {"verdict": line.verdict, "reason": line.reason, "new_label": line.label}


def _wanted(workspace: Workspace, table: pa.Table, predicted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """path -> the fields of its sample. Parameters: `predicted`, id -> those of `PREDICTED`; empty: without them."""
    columns = ["path", "label", "bytes", "width", "height"]
    found = {row["path"]: row for row in manifest.read(workspace).select(columns).to_pylist()}
    given = current_verdicts(Journal(workspace.folder).lines())
    wanted = {}
    nothing = dict.fromkeys(PREDICTED if predicted else ())
    labels: dict[int, set[str | None]] = {}
    for number, label in zip(table["duplicate_group"].to_pylist(), table["label"].to_pylist(), strict=True):
        labels.setdefault(number, set()).add(label)
    for row in table.to_pylist():
        seen = found.get(row["path"])
        if seen is None:
            continue
        fields = {name: row[name] for name in FIELDS if name in row} | {"picture": row["id"], "label": seen["label"]}
        fields |= verdict_fields(given.get(row["id"])) | {"filepath": _file(workspace, row["path"])}
        fields |= predicted.get(row["id"], nothing)
        fields["duplicate"] = None
        if row["duplicate_group"] is not None:
            fields["duplicate"] = "the one to keep" if row["duplicate_keep"] else "a copy"
            fields["duplicate"] += DIFFER if len(labels[row["duplicate_group"]]) > 1 else ""
        fields["size"] = (seen["bytes"], seen["width"], seen["height"])
        wanted[row["path"]] = fields
    return wanted


def _file(workspace: Workspace, path: str) -> str:
    """Where the picture lies; where its name is not UTF-8, which the database cannot hold, a link to it."""
    file = workspace.images / from_text(path)
    if to_text(str(file)) == str(file) or str(file).isprintable():
        return str(file)
    link = workspace.folder / "fiftyone" / "links" / f"{digest(path)}{Path(path).suffix}"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return str(link)


def _fields(dataset: Any, wanted: dict[str, tuple[str, str]]) -> None:
    """Add the fields that are not there yet, and show them as we would."""
    import fiftyone as fo

    there = dataset.get_field_schema()
    if wanted.keys() <= there.keys():
        return
    for name, (kind, about) in wanted.items():
        if name in there:
            continue
        inner = {"subfield": fo.StringField} if kind == "List" else {}
        dataset.add_sample_field(name, getattr(fo, f"{kind}Field"), description=about, **inner)
        dataset.create_index(name)
    config = dataset.app_config
    config.active_fields = fo.ActiveFields(paths=[name for name in SHOWN if name in wanted])
    config.sidebar_groups = [fo.SidebarGroupDocument(name="tags", paths=["tags"])] + [
        fo.SidebarGroupDocument(name=name, paths=paths, expanded=name != "metadata")
        for name, paths in GROUPS.items()
        if name != "prediction" or PREDICTED.keys() <= wanted.keys()
    ]
    dataset.save()


def _sample(fields: dict[str, Any], kept_tags: list[str] | None) -> Any:
    import fiftyone as fo

    fields = dict(fields)
    size, width, height = fields.pop("size")
    metadata = fo.ImageMetadata(size_bytes=size, width=width, height=height) if width else None
    return fo.Sample(metadata=metadata, tags=kept_tags or [], **fields)


def _update(dataset: Any, wanted: dict[str, dict[str, Any]], names: list[str]) -> None:
    """Write what differs in the fields of these names. Parameters: `wanted`, sample id -> fields."""
    for name in names:
        now = zip(*dataset.values(["id", name]), strict=True)
        changed = {id: wanted[id][name] for id, value in now if id in wanted and wanted[id][name] != value}
        if changed:
            dataset.set_values(name, changed, key_field="id", validate=False)

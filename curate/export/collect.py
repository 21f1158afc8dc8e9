"""From use back to curation: pictures that a model is doubtful of become a folder with a workspace of its own."""

from __future__ import annotations

import csv
import math
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.paths import to_text
from winnow.common.tables import open_table, wrap_read_errors, write_table
from winnow.curate import labels
from winnow.curate.export.image_folder import ImageFolderWriter, resolve_target
from winnow.curate.workspace import Workspace
from winnow.embed.images import PictureError

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Path, str, float, float]  # a picture, what a model says that it is, probability and familiarity (0-1)


def place(out: Path, among: Sequence[Path] = ()) -> Workspace:
    """Where doubtful pictures can be put: a folder that is new or empty, and OUT.winnow beside it, which is not there.

    Parameters: `among`, as `ImageFolderWriter` takes it. Raises: InputError.
    """
    out = resolve_target(out, dict.fromkeys(among, "the pictures"))
    folder = out.with_name(f"{out.name}.winnow")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(folder)):
        raise InputError(
            f"{to_text(str(out))!r} has control characters or bytes that are not UTF-8 in its path, which a workspace "
            "cannot have: name another folder"
        )
    if os.path.lexists(folder):
        raise InputError(f"{folder} is left of an earlier folder: remove it, or name another than {out.name}")
    return Workspace(folder, out)


def collect(
    rows: Sequence[Row],
    out: Path,
    copy: bool,
    on_message: Callable[[str], None] = lambda _: None,
    among: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Workspace:
    """Put doubtful pictures as `out`/LABEL/NAME, whole or not at all, and scan them; what the model says of them is
    kept beside the scan, for the App. Verdicts on them, and what `materialize` makes of those, are of this folder only.

    Their labels are those of the model, to the letter: of the folders, or where a folder cannot bear a label, of a
    table in the workspace.
    Parameters: `copy` and `among`, as `ImageFolderWriter` takes them; `on_progress`, of the scan; `on_message`, called
    for pictures that have vanished.
    Returns: the workspace, that of a scanned `out`. Raises: InputError; then nothing is left.
    """
    from winnow.curate import manifest

    if not rows:
        raise InputError("no picture is doubtful: there is nothing to collect")
    workspace, placed = place(out, among), dict[str, Row]()
    with ExitStack() as undo:
        _claim(workspace.folder)
        undo.callback(shutil.rmtree, workspace.folder, ignore_errors=True)
        sorter = ImageFolderWriter(workspace.images, copy, among)
        undo.callback(sorter.remove, placed)
        _put(sorter, rows, placed, on_message)
        workspace = replace(workspace, labels=_rule(workspace, placed))
        manifest.scan(workspace, workspace.labels, on_progress, on_message=on_message)
        ids = manifest.read(workspace).select(["path", "id"]).to_pylist()
        said = {row["id"]: placed[row["path"]] for row in ids if row["id"] and row["path"] in placed}
        with workspace.lock(on_message):
            write_table(_file(workspace), _table(said))
        undo.pop_all()
    return workspace


def read(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Id -> what a model said of the picture: predicted, probability, familiarity (None: no number); empty where no
    model was asked. Raises: InputError when the table is damaged."""
    found = open_table(_file(workspace))
    if found is None:
        return {}
    with wrap_read_errors(_file(workspace)):
        rows = found.to_table(_schema().names).to_pylist()
    return {row.pop("id"): {"predicted": row.pop("label")} | row for row in rows}


def _claim(folder: Path) -> None:
    """Make the folder of the workspace, which no other process makes then. Raises: InputError."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"{folder} is being made by another command: name another folder") from None
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}: name another folder") from None


def _put(
    sorter: ImageFolderWriter, rows: Iterable[Row], placed: dict[str, Row], on_message: Callable[[str], None]
) -> None:
    """Put the pictures, and note the row of each by its manifest path in `placed`."""
    gone = []
    for row in rows:
        try:
            path = sorter.put(row[0], row[1])
            placed[to_text(path.relative_to(sorter.out).as_posix())] = row
        except PictureError as error:
            gone.append(f"{to_text(str(row[0]))}: {error}")
    if not placed:
        raise InputError(f"no doubtful picture is there any more, as {gone[0]}")
    if gone:
        pictures = "1 picture" if len(gone) == 1 else f"{len(gone):,} pictures"
        on_message(f"left out, {pictures} that cannot be read any more, as {gone[0]}")


def _rule(workspace: Workspace, placed: Mapping[str, Row]) -> str:
    """The label rule that gives each picture the label of its row; a table that it names is written."""
    told = [label for _, label, _, _ in placed.values()]
    if labels.assign_labels("folder", [*placed], workspace.images).labels == told:
        return "folder"
    file = workspace.folder / "labels.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label"), *zip(placed, told, strict=True)])
    return str(file)


def _file(workspace: Workspace) -> Path:
    return workspace.folder / "predictions.lance"


def _schema() -> pa.Schema:
    import pyarrow as pa

    number = pa.float64()
    return pa.schema({"id": pa.string(), "label": pa.string(), "probability": number, "familiarity": number})


def _table(said: Mapping[str, Row]) -> pa.Table:
    import pyarrow as pa

    rows = [(id, label, _number(p), _number(f)) for id, (_, label, p, f) in said.items()]
    return pa.Table.from_pylist([dict(zip(_schema().names, row, strict=True)) for row in rows], _schema())


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

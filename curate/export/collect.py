"""Collect the pictures that a model is uncertain about into a folder with a workspace, to curate them."""

from __future__ import annotations

import csv
import math
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class UncertainPicture:
    """A picture with the prediction of a model."""

    file: Path
    label: str
    probability: float  # 0-1, NaN when unknown
    familiarity: float  # 0-1, conformal p-value of the picture being of the known classes; NaN when unknown


def plan_workspace(out: Path, sources: Sequence[Path] = ()) -> Workspace:
    """Check where uncertain pictures can be collected: a folder that is new or empty, with OUT.winnow beside it.

    Parameters: `sources`, as `ImageFolderWriter` takes it. Returns: the workspace that `collect` creates.
    Raises: InputError, also when OUT.winnow exists.
    """
    out = resolve_target(out, dict.fromkeys(sources, "the pictures"))
    folder = out.with_name(f"{out.name}.winnow")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(folder)):
        message = f"the path of {to_text(str(out))!r} has control characters or bytes that are not UTF-8"
        raise InputError(f"{message}, which a workspace cannot have", remedy="another-folder")
    if os.path.lexists(folder):
        raise InputError(f"{folder} exists, from an earlier folder", remedy="remove-or-rename", name=out.name)
    return Workspace(folder, out)


def collect(
    pictures: Sequence[UncertainPicture],
    out: Path,
    copy: bool,
    on_message: Callable[[str], None] = lambda _: None,
    sources: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Workspace:
    """Write uncertain pictures as `out`/LABEL/NAME, all or none, scan them, and store their predictions for the App.

    Their labels are exactly the predicted ones: those of the folders, or where a label is not a valid folder name,
    those of a table in the workspace. Verdicts on them apply to this folder only, not to the pictures' own workspace.
    Parameters: `copy` and `sources`, as `ImageFolderWriter` takes them; `on_progress`, of the scan; `on_message`,
    called for pictures that have vanished.
    Returns: the workspace of the scanned folder. Raises: InputError; then nothing is left behind.
    """
    from winnow.curate import manifest

    if not pictures:
        raise InputError("no picture is uncertain: there is nothing to collect")
    workspace, written = plan_workspace(out, sources), dict[str, UncertainPicture]()
    with ExitStack() as undo:
        _create_folder(workspace.folder)
        undo.callback(shutil.rmtree, workspace.folder, ignore_errors=True)
        writer = ImageFolderWriter(workspace.images, copy, sources)
        undo.callback(writer.remove, written)
        _write_pictures(writer, pictures, written, on_message)
        workspace = replace(workspace, labels=_label_rule(workspace, written))
        manifest.scan(workspace, workspace.labels, on_progress, on_message=on_message)
        rows = manifest.read(workspace, ["path", "id"]).to_pylist()
        predictions = {row["id"]: written[row["path"]] for row in rows if row["id"] and row["path"] in written}
        with workspace.lock(on_message):
            write_table(_predictions_path(workspace), _predictions_table(predictions))
        undo.pop_all()
    return workspace


def read_predictions(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Read the predictions of collected pictures.

    Returns: id -> predicted (label), probability and familiarity (None when unknown); empty in other workspaces.
    Raises: InputError when the table is damaged.
    """
    table = open_table(_predictions_path(workspace))
    if table is None:
        return {}
    with wrap_read_errors(_predictions_path(workspace)):
        rows = table.to_table(_schema().names).to_pylist()
    return {row.pop("id"): {"predicted": row.pop("label")} | row for row in rows}


def _create_folder(folder: Path) -> None:
    """Create the folder of the workspace. Raises: InputError, also when another process has created it."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"{folder} is being created by another command", remedy="another-folder") from None
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}", remedy="another-folder") from None


def _write_pictures(
    writer: ImageFolderWriter,
    pictures: Iterable[UncertainPicture],
    written: dict[str, UncertainPicture],
    on_message: Callable[[str], None],
) -> None:
    """Write the pictures, and add each to `written` under its manifest path."""
    vanished = []
    for picture in pictures:
        try:
            path = writer.add(picture.file, picture.label)
            written[to_text(path.relative_to(writer.out).as_posix())] = picture
        except PictureError as error:
            vanished.append(f"{to_text(str(picture.file))}: {error}")
    if not written:
        raise InputError(f"none of the uncertain pictures can be read any more, for example {vanished[0]}")
    if vanished:
        count = "1 picture" if len(vanished) == 1 else f"{len(vanished):,} pictures"
        on_message(f"left out: {count} that cannot be read any more, for example {vanished[0]}")


def _label_rule(workspace: Workspace, written: Mapping[str, UncertainPicture]) -> str:
    """The label rule that gives each picture its predicted label; when it is a table, the table is written."""
    predicted = [picture.label for picture in written.values()]
    if labels.assign_labels("folder", [*written], workspace.images).labels == predicted:
        return "folder"
    file = workspace.folder / "labels.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label"), *zip(written, predicted, strict=True)])
    return str(file)


def _predictions_path(workspace: Workspace) -> Path:
    return workspace.folder / "predictions.lance"


def _schema() -> pa.Schema:
    import pyarrow as pa

    number = pa.float64()
    return pa.schema({"id": pa.string(), "label": pa.string(), "probability": number, "familiarity": number})


def _predictions_table(predictions: Mapping[str, UncertainPicture]) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "id": id,
            "label": picture.label,
            "probability": _finite(picture.probability),
            "familiarity": _finite(picture.familiarity),
        }
        for id, picture in predictions.items()
    ]
    return pa.Table.from_pylist(rows, _schema())


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

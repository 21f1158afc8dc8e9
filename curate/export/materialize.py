"""The dataset as decided, as a folder of its own: links to the pictures or copies of them, and what was left out."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.curate import manifest
from winnow.curate.dataset import majority_labels
from winnow.curate.export.image_folder import folder_name, names, resolve_target, spelt, write
from winnow.curate.export.readme import readme
from winnow.curate.journal import REASONS, Journal, Line, current_verdicts
from winnow.curate.splits import SPLITS
from winnow.curate.workspace import Workspace
from winnow.embed import images
from winnow.embed.images import PictureError

README = "README.md"


class Picture(NamedTuple):
    """One id of the manifest, and what was decided of it."""

    id: str
    path: str  # manifest path: the first of its id that bears the label, else the first
    found: str | None  # label before any verdict
    split: str | None  # where the folders give one
    problem: str | None
    bytes: int
    mtime_ns: int
    line: Line | None  # the verdict that holds

    @property
    def label(self) -> str | None:
        """The label as decided."""
        return self.line.label if self.line and self.line.verdict == "relabel" else self.found

    @property
    def is_dropped(self) -> bool:
        """Whether a verdict takes it out."""
        return self.line is not None and self.line.verdict == "drop"


def materialize(
    workspace: Workspace,
    out: Path,
    *,
    copy: bool = False,
    on_message: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the dataset as decided as `out`/LABEL/NAME, whole or not at all, with a README.md of what was left out.

    One path an id. Pictures without a label lie in `out` itself. Where the folders give every picture a split, labels
    lie in train, val and test again. Pictures that changed or vanished since the scan are left out and told.
    Parameters: `out`, a new or empty folder, not inside the images or the workspace; `copy`, False: symbolic links to
    the files, by their absolute path; what is a link itself is followed.
    Returns: written, out, copied, labels {label: n}, unlabelled, dropped {reason: n}, relabelled, problems [{path,
    message}] (of the pictures that changed or vanished).
    Raises: InputError; then nothing is left of `out`.
    """
    pictures = _pictures(manifest.read(workspace), current_verdicts(Journal(workspace.folder, on_message).lines()))
    below = {picture.path.rpartition("/")[0] for picture in pictures}
    apart = {workspace.images / from_text(folder): "the pictures" for folder in sorted(below | {""})}
    out = resolve_target(out, apart | {workspace.folder: "the workspace"})
    chosen = [picture for picture in pictures if not picture.problem and not picture.is_dropped]
    if not chosen:
        raise InputError(
            f"no picture of {workspace.images} is left to write: `winnow scan` it, or take verdicts back with "
            "`winnow undo`"
        )
    with _whole_folder(out, workspace) as part:
        folders = _folders(part, chosen)
        problems: dict[str, str] = {}
        for done, picture in enumerate(chosen, start=1):
            try:
                source = workspace.images / from_text(picture.path)
                _put(picture, source, folders[picture.split, picture.label], copy)
            except PictureError as error:
                problems[picture.path] = str(error)
            on_progress(done, len(chosen))
        for folder in folders.values():
            with suppress(OSError):
                folder.rmdir()  # of a class whose pictures all have a problem
        written = [picture for picture in chosen if picture.path not in problems]
        if not written:
            raise InputError(f"no picture is as it was scanned, as {chosen[0].path}: run `winnow scan` first")
        result = _result(pictures, written, problems) | {"out": str(out), "copied": copy}
        (part / README).write_text(readme(workspace.images, pictures, result), encoding="utf-8")
    if problems:
        on_message(f"left out, {len(problems)} pictures that changed since the scan, as {next(iter(problems))}")
    return result


def _pictures(table: Any, verdicts: Mapping[str, Line]) -> list[Picture]:
    """Every id once, in the order of paths; those with a problem too, and with no id, by path."""
    found = majority_labels(table)
    copies: dict[str, list[dict[str, Any]]] = {}
    for row in table.drop_columns(["thumbnail"]).to_pylist():
        copies.setdefault(row["id"] or f"no id {row['path']}", []).append(row)
    order = (None, *SPLITS)
    pictures = []
    for id, rows in copies.items():
        line = verdicts.get(id)
        label = found.get(id, rows[0]["label"])
        wanted = line.label if line and line.verdict == "relabel" else label
        row = next((row for row in rows if row["label"] == wanted), rows[0])
        split = max((row["split"] for row in rows), key=order.index)
        pictures.append(
            Picture(id, row["path"], label, split, row["problem_message"], row["bytes"], row["mtime_ns"], line)
        )
    return pictures


@contextmanager
def _whole_folder(out: Path, workspace: Workspace) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` at the end, or goes when the block raises; as `embed.whole`."""
    from filelock import FileLock, Timeout

    part = out.with_name(f".winnow-{hashlib.sha256(os.fsencode(out)).hexdigest()[:16]}.part")
    try:
        with FileLock(workspace.folder / ".materialize.lock").acquire(timeout=0):
            shutil.rmtree(part, ignore_errors=True)  # of a command that was killed
            try:
                part.mkdir(parents=True)
                yield part
                if out.is_dir():
                    out.rmdir()
                part.rename(out)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    except Timeout:
        raise InputError(f"another `winnow materialize` is at work on {workspace.folder}: wait for it") from None
    except OSError as error:
        raise InputError(f"{out}: {error.strerror or error}; nothing was written: name another folder") from None


def _folders(part: Path, chosen: Sequence[Picture]) -> dict[tuple[str | None, str | None], Path]:
    """Folders, made, of every (split, label) of the pictures."""
    (part / README).touch()  # no picture may take its name
    places = {(picture.split, picture.label) for picture in chosen}
    given = {split for split, _ in places}
    has_splits = "train" in given and len(given) > 1 and None not in given
    named = _folder_names(part / ".names", {label for _, label in places if label is not None})
    folders = {}
    for split, label in places:
        above = part / split if has_splits and split else part
        folders[split, label] = above if label is None else above / named[label]
        folders[split, label].mkdir(parents=True, exist_ok=True)
    return folders


def _folder_names(probe: Path, labels: set[str]) -> dict[str, str]:
    """A name for the folder of each label, no two alike for the file system; labels that are fit keep theirs."""
    probe.mkdir()
    (probe / README).touch()
    named = {}
    for label in sorted(labels, key=lambda label: (folder_name(label) != spelt(label), label)):
        for name in names(folder_name(label), hashlib.sha256(label.encode()).hexdigest()):
            with suppress(FileExistsError):
                (probe / name).mkdir()
                named[label] = name
                break
    shutil.rmtree(probe)
    return named


def _put(picture: Picture, source: Path, folder: Path, copy: bool) -> None:
    """Write a copy or a link. Raises: PictureError when it is another picture than was scanned; OSError, InputError."""
    data = _bytes(picture, source) if copy else None
    if not copy:
        _check_unchanged(picture, source)
    write(folder, names(source.name, picture.id), source, data)


def _bytes(picture: Picture, source: Path) -> bytes:
    data = images.read_bytes(source)
    if hashlib.sha256(data).hexdigest() != picture.id:
        raise PictureError("changed", "the file changed since the scan: run `winnow scan`")
    return data


def _check_unchanged(picture: Picture, source: Path) -> None:
    try:
        info = source.stat()
    except OSError as error:
        raise PictureError("unreadable", f"{error.strerror}: run `winnow scan`") from None
    if (info.st_size, info.st_mtime_ns) != (picture.bytes, picture.mtime_ns):
        raise PictureError("changed", "the file changed since the scan: run `winnow scan`")


def _result(pictures: list[Picture], written: list[Picture], problems: Mapping[str, str]) -> dict[str, Any]:
    labels = Counter(picture.label for picture in written)
    dropped = Counter(
        (picture.line.reason if picture.line else None) or "other" for picture in pictures if picture.is_dropped
    )
    return {
        "written": len(written),
        "labels": {label: labels[label] for label in sorted(label for label in labels if label is not None)},
        "unlabelled": labels[None],
        "dropped": {reason: dropped[reason] for reason in REASONS if dropped[reason]},
        "relabelled": sum(picture.label != picture.found for picture in written),
        "problems": [{"path": path, "message": message} for path, message in problems.items()],
    }

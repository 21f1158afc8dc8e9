"""Write the dataset as decided to a folder of its own, as links to the pictures or copies of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.curate import manifest
from winnow.curate.export.decided_pictures import DecidedPicture, MaterializeResult, count_written, read_pictures
from winnow.curate.export.image_folder import (
    candidate_names,
    folder_of_label,
    resolve_target,
    safe_folder_name,
    write_new,
)
from winnow.curate.export.readme import format_readme
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.workspace import Workspace
from winnow.embed import images
from winnow.embed.images import PictureError

README = "README.md"


def materialize(
    workspace: Workspace,
    out: Path,
    *,
    copy: bool = False,
    on_message: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> MaterializeResult:
    """Write the dataset as decided as `out`/LABEL/NAME, whole or not at all, with a README.md of what was left out.

    Every id is written once. Pictures without a label are written to `out` itself. Where the folders give every picture
    a split, the labels are below train, val and test again. Pictures that changed or vanished since the scan are left
    out and reported.
    Parameters: `out`, a new or empty folder, not inside the images or the workspace; `copy`, False: symbolic links to
    the files by their absolute path; links are followed.
    Raises: InputError; then nothing is left of `out`.
    """
    verdicts = current_verdicts(Journal(workspace.folder, on_message).lines())
    pictures = read_pictures(manifest.read(workspace), verdicts)
    out = resolve_target(out, _forbidden_folders(workspace, pictures))
    chosen = [picture for picture in pictures if not picture.problem and not picture.is_dropped]
    if not chosen:
        raise InputError(f"no picture of {workspace.images} is left to write", remedy="nothing-to-write")
    with _create_whole_folder(out, workspace) as part:
        folders = _create_label_folders(part, chosen)
        problems: dict[str, str] = {}
        for done, picture in enumerate(chosen, start=1):
            try:
                source = workspace.images / from_text(picture.path)
                _write_picture(picture, source, folders[picture.split, picture.label], copy)
            except PictureError as error:
                problems[picture.path] = str(error)
            on_progress(done, len(chosen))
        for folder in folders.values():
            with suppress(OSError):
                folder.rmdir()  # of a class whose pictures all have a problem
        written = [picture for picture in chosen if picture.path not in problems]
        if not written:
            raise InputError(f"every picture changed since the scan, for example {chosen[0].path}", remedy="scan")
        result = count_written(pictures, written, problems, out, copy)
        (part / README).write_text(format_readme(workspace.images, pictures, result), encoding="utf-8")
    if problems:
        example = next(iter(problems))
        on_message(f"left out: {len(problems)} pictures that changed since the scan, for example {example}")
    return result


def _forbidden_folders(workspace: Workspace, pictures: Sequence[DecidedPicture]) -> dict[Path, str]:
    """Map folders that must not be written to, those of the pictures and the workspace, to what they are."""
    below = {picture.path.rpartition("/")[0] for picture in pictures}
    folders = {workspace.images / from_text(folder): "the pictures" for folder in sorted(below | {""})}
    return folders | {workspace.folder: "the workspace"}


@contextmanager
def _create_whole_folder(out: Path, workspace: Workspace) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that becomes `out` at the end, or is removed when the block raises."""
    from filelock import FileLock, Timeout

    part = out.with_name(f".winnow-{hashlib.sha256(os.fsencode(out)).hexdigest()[:16]}.part")
    try:
        with FileLock(workspace.folder / ".materialize.lock").acquire(timeout=0):
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
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
        message = f"another process is writing the dataset of {workspace.folder}"
        raise InputError(message, remedy="wait") from None
    except OSError as error:
        message = f"{out}: {error.strerror or error}; nothing was written"
        raise InputError(message, remedy="another-folder") from None


def _create_label_folders(part: Path, chosen: Sequence[DecidedPicture]) -> dict[tuple[str | None, str | None], Path]:
    """Create a folder for every (split, label) of the pictures."""
    (part / README).touch()  # reserve the name
    pairs = {(picture.split, picture.label) for picture in chosen}
    splits = {split for split, _ in pairs}
    has_splits = "train" in splits and len(splits) > 1 and None not in splits
    names = _folder_names(part / ".names", {label for _, label in pairs if label is not None})
    folders = {}
    for split, label in pairs:
        parent = part / split if has_splits and split else part
        folders[split, label] = parent if label is None else parent / names[label]
        folders[split, label].mkdir(parents=True, exist_ok=True)
    return folders


def _folder_names(probe: Path, labels: set[str]) -> dict[str, str]:
    """Name the folder of each label, no two alike for the file system; labels that are valid names keep theirs."""
    probe.mkdir()
    (probe / README).touch()
    folder_names = {}
    for label in sorted(labels, key=lambda label: (safe_folder_name(label) != folder_of_label(label), label)):
        for name in candidate_names(safe_folder_name(label), hashlib.sha256(label.encode()).hexdigest()):
            with suppress(FileExistsError):
                (probe / name).mkdir()
                folder_names[label] = name
                break
    shutil.rmtree(probe)
    return folder_names


def _write_picture(picture: DecidedPicture, source: Path, folder: Path, copy: bool) -> None:
    """Write a copy or a link. Raises: PictureError when the file is not the scanned one; OSError, InputError."""
    data = _read_unchanged(picture, source) if copy else None
    if not copy:
        _check_unchanged(picture, source)
    write_new(folder, candidate_names(source.name, picture.id), source, data)


def _read_unchanged(picture: DecidedPicture, source: Path) -> bytes:
    data = images.read_bytes(source)
    if hashlib.sha256(data).hexdigest() != picture.id:
        raise PictureError("changed", "the file changed since the scan")
    return data


def _check_unchanged(picture: DecidedPicture, source: Path) -> None:
    try:
        info = source.stat()
    except OSError as error:
        raise PictureError("unreadable", str(error.strerror)) from None
    if (info.st_size, info.st_mtime_ns) != (picture.bytes, picture.mtime_ns):
        raise PictureError("changed", "the file changed since the scan")

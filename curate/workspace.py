"""Where the work on one folder of pictures is kept: NAME.winnow beside the person, never inside the pictures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.locks import acquire_lock
from winnow.common.paths import to_text

FORMAT = 1
# Control characters, and bytes that are not UTF-8: Lance cannot have them in a path.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Workspace:
    """A folder of results and the folder of pictures that it is about."""

    folder: Path
    images: Path
    labels: str = "folder"  # the label rule: folder, parent, or the absolute path of a CSV file

    @property
    def manifest(self) -> Path:
        """Lance table: a row a picture file."""
        return self.folder / "manifest.lance"

    @property
    def embeddings(self) -> Path:
        """Folder of the Lance tables of vectors."""
        return self.folder / "embeddings"

    @property
    def scores(self) -> Path:
        """Lance table: a row a picture file, what every score says of it."""
        return self.folder / "scores.lance"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.folder / "runs"

    @property
    def fits(self) -> Path:
        """Folder of the fits that can be used again."""
        return self.folder / "fits"

    def exists(self) -> bool:
        """Whether it was ever saved."""
        return (self.folder / "workspace.json").is_file()

    def save(self) -> None:
        """Write `workspace.json`, making the folder, unless it is as it should be. Raises: InputError (disk)."""
        said = {"format": FORMAT, "images": str(self.images), "labels": self.labels}
        content = (json.dumps(said, indent=2) + "\n").encode()
        file = self.folder / "workspace.json"
        try:
            if not file.is_file() or file.read_bytes() != content:
                with atomic_write(file) as stream:
                    stream.write(content)
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}; use --workspace to put it elsewhere") from None

    @contextmanager
    def lock(self, on_message: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the workspace while it is written to; another command waits for its turn.

        Parameters: `on_message`, told when the wait is longer than a second. Raises: InputError when the disk refuses.
        """
        try:
            held = acquire_lock(
                self.folder / ".lock", f"waiting for another winnow command on {self.folder}", on_message
            )
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}; use --workspace to put it elsewhere") from None
        with held:
            yield


def find_workspace(images: Path | None, folder: Path | None = None) -> Workspace:
    """The workspace of a folder of pictures; it need not exist yet.

    Parameters: `images`, None: `$WINNOW_IMAGES`, else that of the one `*.winnow` in the current folder; `folder`, the
    workspace, None: `$WINNOW_WORKSPACE`, else `NAME.winnow` in the current folder. When the folder of its pictures
    has gone, it is that of `images` from now on: pictures are known by their content.
    Raises: InputError when it is not plain what is meant, or the workspace is that of another folder, or its path is
    one that Lance cannot write to.
    """
    folder = folder or _from_environment("WINNOW_WORKSPACE")
    images = images or _from_environment("WINNOW_IMAGES")
    if images is None:
        folder = folder or _only_workspace()
        kept = _read(folder)
        if kept is None:
            raise InputError(f"{folder} is no workspace yet: name the folder of pictures, as in `winnow scan photos`")
        images = kept.images
    images = images.expanduser()
    if not images.is_dir():
        what = "is a file" if images.exists() else "does not exist"
        raise InputError(f"{images} {what}: IMAGES must be a folder of pictures")
    images = images.resolve()
    named = folder is not None
    name = _UNFIT.sub("_", to_text(images.name)) or "root"
    folder = (folder or Path(f"{name}.winnow")).expanduser().resolve()
    _check_name(folder)
    if folder.is_relative_to(images):
        raise InputError(
            f"the workspace {folder} would lie inside the pictures: run from another folder or use --workspace"
        )
    kept = _read(folder)
    if kept is not None and kept.images != images:
        if not kept.images.exists() and (named or kept.images.name == images.name):
            return replace(kept, images=images)
        raise InputError(f"{folder} belongs to {kept.images}, not to {images}: use --workspace to name another")
    return kept or Workspace(folder, images)


def open_workspace(folder: Path) -> Workspace:
    """The workspace that a folder is, whatever the environment says.

    Raises: InputError when it is none, or its pictures are gone.
    """
    found = _read(folder)
    if found is None:
        raise InputError(f"{folder} is no workspace: a run lies in NAME.winnow/runs, or name that with --workspace")
    if not found.images.is_dir():
        raise InputError(
            f"the pictures are not in {found.images} any more: tell where, `winnow scan FOLDER --workspace {folder}`"
        )
    return found


def _check_name(folder: Path) -> None:
    if _UNFIT.search(str(folder)):
        raise InputError(
            f"the workspace {to_text(str(folder))!r} would have control characters or bytes that are not UTF-8 in its "
            "path: use --workspace to put it elsewhere"
        )


def _from_environment(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def _only_workspace() -> Path:
    found = sorted(path for path in Path().glob("*.winnow") if (path / "workspace.json").is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise InputError(f"there are several workspaces here ({names}): name the folder of pictures")
    raise InputError("which pictures? Name their folder, as in `winnow scan photos`, or set WINNOW_IMAGES")


def _read(folder: Path) -> Workspace | None:
    file = folder / "workspace.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["format"] > FORMAT:
            raise InputError(f"{folder} was written by a newer Winnow (format {said['format']}): update Winnow")
        if not isinstance(said["images"], str) or not isinstance(said["labels"], str):
            raise TypeError
        return Workspace(folder.resolve(), Path(said["images"]), said["labels"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} cannot be read ({type(error).__name__}): remove it and scan again, "
            "with --labels unless the folders are the labels: that rule is lost"
        ) from None

"""The workspace of a folder of pictures: NAME.winnow in the current folder, never inside the pictures."""

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
# Control characters and bytes that are not UTF-8, which Lance does not accept in a path.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Workspace:
    """The folder of results that belongs to a folder of pictures."""

    folder: Path
    images: Path
    labels: str = "folder"  # the label rule: folder, parent, or the absolute path of a CSV file

    @property
    def manifest(self) -> Path:
        """Lance table with one row per picture file."""
        return self.folder / "manifest.lance"

    @property
    def embeddings(self) -> Path:
        """Folder of the Lance tables that hold the vectors."""
        return self.folder / "embeddings"

    @property
    def scores(self) -> Path:
        """Lance table with one row per picture file: its scores."""
        return self.folder / "scores.lance"

    @property
    def runs(self) -> Path:
        """Folder that holds one folder per run."""
        return self.folder / "runs"

    @property
    def fits(self) -> Path:
        """Folder of the cached fits."""
        return self.folder / "fits"

    def exists(self) -> bool:
        """Whether the workspace has been saved."""
        return (self.folder / "workspace.json").is_file()

    def save(self) -> None:
        """Write `workspace.json`, and create the folder, unless the file is up to date. Raises: InputError (disk)."""
        document = {"format": FORMAT, "images": str(self.images), "labels": self.labels}
        content = (json.dumps(document, indent=2) + "\n").encode()
        file = self.folder / "workspace.json"
        try:
            if not file.is_file() or file.read_bytes() != content:
                with atomic_write(file) as stream:
                    stream.write(content)
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}", remedy="workspace") from None

    @contextmanager
    def lock(self, on_message: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the lock of the workspace while it is written to; other commands wait.

        Parameters: `on_message`, called when the wait takes longer than a second. Raises: InputError (disk).
        """
        try:
            lock = acquire_lock(
                self.folder / ".lock", f"waiting for another winnow command on {self.folder}", on_message
            )
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}", remedy="workspace") from None
        with lock:
            yield


def find_workspace(images: Path | None, folder: Path | None = None) -> Workspace:
    """Find the workspace of a folder of pictures; it need not exist yet, and nothing is created.

    Parameters: `images`, None: `$WINNOW_IMAGES`, else the folder of the one `*.winnow` in the current folder; `folder`,
    the workspace, None: `$WINNOW_WORKSPACE`, else `NAME.winnow` in the current folder. A workspace whose folder of
    pictures no longer exists is taken over for `images`: pictures are identified by their content.
    Raises: InputError when the arguments are ambiguous, when the workspace belongs to another folder, or when its path
    is one that Lance cannot write to.
    """
    folder = folder or _from_environment("WINNOW_WORKSPACE")
    images = images or _from_environment("WINNOW_IMAGES")
    if images is None:
        folder = folder or _only_workspace()
        existing = _read(folder)
        if existing is None:
            raise InputError(f"{folder} is not a workspace yet", remedy="name-images")
        images = existing.images
    images = images.expanduser()
    if not images.is_dir():
        what = "is a file, not a folder of pictures" if images.exists() else "does not exist"
        raise InputError(f"{images} {what}", remedy="name-images")
    images = images.resolve()
    is_named = folder is not None
    name = _UNFIT.sub("_", to_text(images.name)) or "root"
    folder = (folder or Path(f"{name}.winnow")).expanduser().resolve()
    _check_name(folder)
    if folder.is_relative_to(images):
        raise InputError(f"the workspace {folder} would lie inside the pictures", remedy="workspace-outside")
    existing = _read(folder)
    if existing is not None and existing.images != images:
        if not existing.images.exists() and (is_named or existing.images.name == images.name):
            return replace(existing, images=images)
        raise InputError(f"{folder} belongs to {existing.images}, not to {images}", remedy="another-workspace")
    return existing or Workspace(folder, images)


def open_workspace(folder: Path) -> Workspace:
    """Open an existing workspace; the environment variables are ignored.

    Raises: InputError when the folder is not a workspace, or its pictures no longer exist.
    """
    workspace = _read(folder)
    if workspace is None:
        raise InputError(f"{folder} is not a workspace", remedy="workspace-of-run")
    if not workspace.images.is_dir():
        raise InputError(f"the pictures are no longer in {workspace.images}", remedy="moved-images", folder=folder)
    return workspace


def _check_name(folder: Path) -> None:
    if _UNFIT.search(str(folder)):
        raise InputError(
            f"the path of the workspace {to_text(str(folder))!r} has control characters or bytes that are not UTF-8",
            remedy="workspace",
        )


def _from_environment(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def _only_workspace() -> Path:
    folders = sorted(path for path in Path().glob("*.winnow") if (path / "workspace.json").is_file())
    if len(folders) == 1:
        return folders[0]
    if folders:
        names = ", ".join(folder.name for folder in folders)
        raise InputError(f"there are several workspaces here ({names})", remedy="name-images")
    raise InputError("no folder of pictures is named, and the current folder has no workspace", remedy="images")


def _read(folder: Path) -> Workspace | None:
    file = folder / "workspace.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise InputError(f"{folder} was written by a newer Winnow (format {document['format']})", remedy="update")
        if not isinstance(document["images"], str) or not isinstance(document["labels"], str):
            raise TypeError
        return Workspace(folder.resolve(), Path(document["images"]), document["labels"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__})", remedy="damaged-workspace") from None

"""Walk the files below a folder, each once; links are followed and their loops end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from winnow.common.paths import to_text

# Folders that cameras, servers and editors leave behind; names that begin with a dot are skipped too.
IGNORED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


class Entry(NamedTuple):
    """An existing file and what identifies its version."""

    path: str  # relative to the root, with "/", as text (see `common.paths`)
    bytes: int  # size; -1 for a link to nothing and for special files
    mtime_ns: int  # time of the last change


def walk(root: Path, on_error: Callable[[str, OSError], None]) -> Iterator[Entry]:
    """Yield every file below `root`, in the order of names; hidden ones and `IGNORED_FOLDERS` are skipped.

    Links to folders are followed after the real folders, each real folder once and never one that contains `root`, so
    loops end and no picture is yielded twice through two links. A link to nothing and a special file (pipe, socket)
    have size -1.
    Parameters: `on_error`, called with the path of a folder that cannot be listed, and the error.
    """
    above = (folder.stat() for folder in root.resolve().parents)
    seen = {(info.st_dev, info.st_ino) for info in above}
    folders, links = [(str(root), "")], list[tuple[str, str]]()
    while folders or links:
        folder, prefix = folders.pop() if folders else links.pop(0)
        try:
            info = Path(folder).stat()
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            on_error(to_text(prefix), error)
            continue
        below: list[tuple[str, str]] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS:
                continue
            name = prefix + entry.name
            if _is_folder(entry):
                (links if entry.is_symlink() else below).append((entry.path, f"{name}/"))
            else:
                yield _entry(entry, name)
        folders.extend(reversed(below))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _entry(entry: os.DirEntry[str], name: str) -> Entry:
    try:
        info = entry.stat()
    except OSError:
        return Entry(to_text(name), -1, 0)
    regular = stat.S_ISREG(info.st_mode)
    return Entry(to_text(name), info.st_size if regular else -1, info.st_mtime_ns)

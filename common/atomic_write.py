"""Files that are written completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(file: Path) -> Iterator[BinaryIO]:
    """Open a stream whose content replaces `file` when the block ends; if the block raises, `file` stays as it was.

    Missing parent folders are created and the file gets the mode of an ordinary new file. Any number of processes may
    write the same file at once; the last one to finish wins.
    """
    import uuid  # here, because `winnow --help` loads this module

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

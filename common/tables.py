"""Lance tables: open, write, and turn what Lance and Arrow raise into one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.common.errors import InputError

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

KEPT = timedelta(minutes=1)  # how long replaced files stay for processes that are still reading them


def open_table(path: Path) -> lance.LanceDataset | None:
    """The Lance dataset at a path, or None when nothing was ever committed there.

    Raises: InputError when it is there but cannot be read.
    """
    import lance

    versions = path / "_versions"
    if not versions.is_dir() or not any(versions.iterdir()):
        return None
    with read_errors(path):
        return lance.dataset(path)


def write_table(path: Path, table: pa.Table, mode: str = "overwrite") -> None:
    """Commit rows to the Lance dataset at a path, which need not exist. Parameters: `mode`, "append" or "overwrite".

    What was overwritten stays for `KEPT`, for those who are just reading it. Raises: InputError (disk).
    """
    import lance

    with disk_errors(path):
        written = lance.write_dataset(table, path, mode="create" if open_table(path) is None else mode)
        if mode == "overwrite":
            written.cleanup_old_versions(older_than=KEPT)


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what Lance and Arrow raise on damaged files, and what other columns lead to, into one line."""
    try:
        yield
    except BaseException as error:  # Arrow's ArrowInvalid is a ValueError; a panic of Lance's is no Exception
        if not isinstance(error, OSError | ValueError | KeyError) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} cannot be read ({reason}): move it away, it is made anew") from None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line; Lance wraps the system's own words in pages of its own."""
    try:
        yield
    except OSError as error:
        words = ("No space left", "File too large", "Read-only file system", "Permission denied", "quota")
        said = next((word for word in words if word in str(error)), " ".join(str(error).split())[:160])
        raise InputError(f"{path}: {said}; what was committed is kept: make room and run the command again") from None

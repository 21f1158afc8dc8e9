"""Lance tables: open, write, and convert the errors of Lance and Arrow into one line that names the file."""

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

RETENTION = timedelta(minutes=1)  # replaced files are kept this long for processes that are still reading them


def open_table(path: Path) -> lance.LanceDataset | None:
    """Open the Lance dataset at a path; None if nothing was ever committed there.

    Raises: InputError if it exists but cannot be read.
    """
    import lance

    versions = path / "_versions"
    if not versions.is_dir() or not any(versions.iterdir()):
        return None
    with wrap_read_errors(path):
        return lance.dataset(path)


def write_table(path: Path, table: pa.Table, mode: str = "overwrite") -> None:
    """Commit rows to the Lance dataset at a path, which need not exist. Parameters: `mode`, "append" or "overwrite".

    Replaced files are kept for `RETENTION`, for processes that are still reading them. Raises: InputError (disk).
    """
    import lance

    with wrap_write_errors(path):
        written = lance.write_dataset(table, path, mode="create" if open_table(path) is None else mode)
        if mode == "overwrite":
            written.cleanup_old_versions(older_than=RETENTION)


@contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Raise InputError, in one line, for what Lance and Arrow raise on damaged files or unexpected columns."""
    try:
        yield
    except BaseException as error:  # Arrow's ArrowInvalid is a ValueError; a panic of Lance is not an Exception
        if not isinstance(error, OSError | ValueError | KeyError) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} cannot be read ({reason}): move it away and it is rebuilt") from None


@contextmanager
def wrap_write_errors(path: Path) -> Iterator[None]:
    """Raise InputError, in one line, for a full or read-only disk; Lance buries the system's message in many lines."""
    try:
        yield
    except OSError as error:
        known = ("No space left", "File too large", "Read-only file system", "Permission denied", "quota")
        reason = next((text for text in known if text in str(error)), " ".join(str(error).split())[:160])
        raise InputError(f"{path}: {reason}; what was committed is kept: make room and try again") from None

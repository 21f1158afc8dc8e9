"""The append-only journal of verdicts: one JSON line each, on the disk before it is reported, never changed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from winnow import __version__
from winnow.common.errors import InputError
from winnow.common.locks import acquire_lock
from winnow.common.paths import to_text

REASONS = ("off_topic", "duplicate", "quality", "unreadable", "other")  # of a drop, the default first
VERDICTS = ("drop", "keep", "relabel")
UNDO = "undo"  # in place of a verdict: the picture has none any more
POLL = 0.005  # seconds between two attempts to acquire the lock: about the time that writing a batch takes


@dataclass(frozen=True)
class Decision:
    """A verdict to be recorded. Only a drop has a reason, only a relabel a label."""

    id: str
    path: str
    verdict: str  # one of VERDICTS
    reason: str | None = None  # one of REASONS
    label: str | None = None
    score: float | None = None  # off_topic, 0-1, at the time of the verdict


@dataclass(frozen=True)
class Line:
    """One line of the journal: the verdict on one picture."""

    when: str  # ISO 8601, UTC
    who: str
    batch: str  # names one click or command; sorts by time
    id: str
    path: str
    verdict: str  # one of VERDICTS, or UNDO
    reason: str | None = None
    label: str | None = None
    score: float | None = None
    version: str | None = None
    undoes: str | None = None  # the batch that this line undoes


class Journal:
    """`folder/journal.jsonl`, which any number of processes and threads may write and read at the same time.

    Lines are ASCII (other characters as \\uXXXX), so that no name can break a line.
    Parameters: `on_message`, called for damaged lines, and when another process holds the lock.
    """

    def __init__(self, folder: Path, on_message: Callable[[str], None] = lambda _: None) -> None:
        self.file = folder / "journal.jsonl"
        self._on_message = on_message

    def record(self, decisions: Sequence[Decision], who: str | None = None, undecided_only: bool = False) -> str:
        """Append verdicts as one batch; on return all of them are on the disk.

        Parameters: `who`, None: the user's name; `undecided_only`, skip pictures that have a verdict by now.
        Returns: the name of the batch, "" when there are no decisions and nothing is written.
        Raises: InputError for errors of the disk, after which the journal is unchanged; ValueError for a decision that
        is not valid.
        """
        if not decisions:
            return ""
        with self._open_locked() as stream:
            stamp = _stamp(who)
            existing = current_verdicts(self.lines()) if undecided_only else {}
            decisions = [decision for decision in decisions if decision.id not in existing]
            lines = [Line(**stamp, **vars(decision) | {"score": _finite(decision.score)}) for decision in decisions]
            if invalid := next((line for line in lines if not _is_valid(line)), None):
                raise ValueError(f"this verdict is not valid: {invalid}")
            _append(stream, lines)
        return stamp["batch"]

    def lines(self) -> list[Line]:
        """Read all lines, oldest first; damaged ones are reported and skipped. Raises: InputError (disk).

        An incomplete line after the last newline is skipped without a message: another process may be writing it.
        """
        try:
            *whole, rest = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.file} cannot be read: {error.strerror}", remedy="permissions") from None
        parsed = [_parse(text) for text in whole]
        damaged = [n for n, line in enumerate(parsed, start=1) if line is None and whole[n - 1].strip()]
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            verb = "are" if more else "is"
            self._on_message(
                f"{self.file}: line {damaged[0]}{more} cannot be read and {verb} skipped; the file is not changed"
            )
        return [line for line in (*parsed, _parse(rest)) if line is not None]

    def undo(self, last: int = 1, who: str | None = None) -> list[Line]:
        """Undo the last batches that are not undone yet, the newest first.

        A line is written for every verdict that is undone: the previous verdict, or UNDO where there was none.
        Returns: the lines written, [] when there is nothing to undo. Raises: InputError as `record`.
        """
        with self._open_locked() as stream:
            stamp = _stamp(who)
            lines = [Line(**stamp, **fields) for fields in _undo_fields(self.lines(), last)]
            if lines:
                _append(stream, lines)
        return lines

    @contextmanager
    def _open_locked(self) -> Iterator[int]:
        """Open the journal for appending, repaired, and hold its lock. Yields: the file descriptor."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            busy = f"waiting for another winnow command to write {self.file}"
            # Not the lock of the workspace, which a long command holds while it writes vectors.
            with acquire_lock(self.file.with_name(".journal.lock"), busy, self._on_message, POLL):
                stream = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
                try:
                    self._repair(stream)
                    yield stream
                finally:
                    os.close(stream)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise InputError(
                f"{self.file}: {error.strerror or error}; nothing was recorded",
                remedy="disk-full" if is_full else "correct",
            ) from None

    def _repair(self, stream: int) -> None:
        """Move an incomplete last line, as a crash leaves it, to journal.torn; sync the folder of a new file."""
        size = os.fstat(stream).st_size
        if not size:
            _sync_folder(self.file.parent)
            return
        os.lseek(stream, -1, os.SEEK_END)
        if os.read(stream, 1) == b"\n":
            return
        torn = self.file.read_bytes().rpartition(b"\n")[2]
        if _parse(torn) is not None:  # only the newline is missing, as some editors save it
            _write(stream, b"\n")
            return
        with self.file.with_suffix(".torn").open("ab", buffering=0) as aside:
            _write(aside.fileno(), torn + b"\n")
        os.ftruncate(stream, size - len(torn))
        self._on_message(
            f"{self.file} ended in an incomplete line, as after a crash; "
            f"its {len(torn)} bytes were moved to journal.torn"
        )


def current_verdicts(lines: Iterable[Line]) -> dict[str, Line]:
    """Map each id to the line with its current verdict; ids whose verdicts are all undone are missing."""
    last = {line.id: line for line in lines}
    return {id: line for id, line in last.items() if line.verdict != UNDO}


def _undo_fields(lines: Sequence[Line], last: int) -> list[dict[str, Any]]:
    """Fields of the lines that undo the last batches: for each picture of a batch, the verdict to restore.

    When an undo was interrupted half-way, the rest of its batch is still to be undone.
    """
    undone = {(line.undoes, line.id) for line in lines if line.undoes}
    history: dict[str, list[Line]] = {}  # id -> its verdicts that are not undone
    batches: dict[str, dict[str, Line]] = {}
    for line in lines:
        if not line.undoes and (line.batch, line.id) not in undone:
            history.setdefault(line.id, []).append(line)
            batches.setdefault(line.batch, {})[line.id] = line
    result = []
    for batch in list(reversed(batches))[: max(last, 0)]:
        for id, line in batches[batch].items():
            history[id] = [before for before in history[id] if before.batch != batch]
            previous = history[id][-1] if history[id] else None
            names = ("verdict", "reason", "label", "score")
            restored = {name: getattr(previous, name) for name in names} if previous else {}
            result.append({"id": id, "path": line.path, "verdict": UNDO, "undoes": batch} | restored)
    return result


def _stamp(who: str | None) -> dict[str, Any]:
    """Fields shared by all lines of a batch; created under the lock, so that names of batches sort like their lines."""
    import uuid  # here, because `winnow --help` loads this module

    now = datetime.now(UTC)
    return {
        "when": now.isoformat(timespec="milliseconds"),
        "who": to_text(who or _user()),
        "batch": f"{now:%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:6]}",
        "version": __version__,
    }


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the system does not know the user, as in some containers
        return "unknown"


_BLANK = dict.fromkeys(field.name for field in fields(Line))
_TEXT, _NUMBER = (str, NoneType), (float, int, NoneType)
_TYPES: tuple[Any, ...] = (str, str, str, str, str, str, _TEXT, _TEXT, _NUMBER, _TEXT, _TEXT)  # of the fields of a Line


def _parse(text: bytes) -> Line | None:
    """Parse a line of the file; None when it is not valid. Unknown fields, as of a newer Winnow, are ignored."""
    try:
        values = _BLANK | json.loads(text.decode())
    except (ValueError, TypeError, RecursionError):
        return None
    line = Line(*map(values.__getitem__, _BLANK))
    return line if _is_valid(line) else None


def _is_valid(line: Line) -> bool:
    if not all(map(isinstance, vars(line).values(), _TYPES)) or line.verdict not in (*VERDICTS, UNDO):
        return False
    try:
        "".join(value for value in vars(line).values() if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return bool(line.label) or line.verdict != "relabel"


def _append(stream: int, lines: Sequence[Line]) -> None:
    _write(stream, "".join(f"{json.dumps(vars(line))}\n" for line in lines).encode())


def _finite(score: float | None) -> float | None:
    return None if score is None or not math.isfinite(score) else float(score)


def _write(stream: int, data: bytes) -> None:
    """Append bytes and wait until they are on the disk; when that fails, restore the previous length of the file."""
    before = os.fstat(stream).st_size
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(stream, rest) :]
        os.fsync(stream)
    except BaseException:
        with suppress(OSError):  # the next writer repairs the incomplete line that stays
            os.ftruncate(stream, before)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        stream = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(stream)
        finally:
            os.close(stream)

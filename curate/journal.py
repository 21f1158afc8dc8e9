"""The append-only record of verdicts: one JSON line each, on the disk before it is reported, never changed again."""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from winnow.common.errors import InputError
from winnow.common.locks import acquire_lock
from winnow.common.paths import to_text
from winnow.common.versions import installed_version

REASONS = ("off_topic", "duplicate", "quality", "unreadable", "other")  # why a picture is dropped, the default first
VERDICTS = ("drop", "keep", "relabel")
UNDO = "undo"  # in place of a verdict: none holds any more
POLL = 0.005  # seconds between two attempts at the lock: about what it takes to write a batch


@dataclass(frozen=True)
class Decision:
    """A verdict about to be recorded. A reason belongs to a drop, a label to a relabel."""

    id: str
    path: str
    verdict: str  # one of VERDICTS
    reason: str | None = None  # one of REASONS
    label: str | None = None
    score: float | None = None  # off_topic at the time


@dataclass(frozen=True)
class Line:
    """A line of the journal."""

    when: str  # ISO 8601, UTC
    who: str
    batch: str  # one click or command; sorts by time
    id: str
    path: str
    verdict: str  # one of VERDICTS, or UNDO
    reason: str | None = None
    label: str | None = None
    score: float | None = None
    version: str | None = None
    undoes: str | None = None  # the batch that this line takes back


class Journal:
    """`folder/journal.jsonl`. Any number of processes and threads may record at once, and read meanwhile.

    Lines are ASCII (other characters as \\uXXXX), so no name can break one. `on_message` is told of what was damaged.
    """

    def __init__(self, folder: Path, on_message: Callable[[str], None] = lambda _: None) -> None:
        self.file = folder / "journal.jsonl"
        self._on_message = on_message

    def record(self, decisions: Sequence[Decision], who: str | None = None, undecided_only: bool = False) -> str:
        """Append verdicts as one batch, all of them on the disk on return. Returns the name of the batch.

        Parameters: `who`, None: the user's name; `undecided_only`, leave out pictures that have got a verdict
        meanwhile. No decisions: "" and nothing is written.
        Raises: InputError when the disk refuses; then the journal is as it was. ValueError for what is no verdict.
        """
        if not decisions:
            return ""
        with self._held() as stream:
            stamp = _stamp(who)
            held = current_verdicts(self.lines()) if undecided_only else {}
            decisions = [decision for decision in decisions if decision.id not in held]
            lines = [Line(**stamp, **vars(decision) | {"score": _finite(decision.score)}) for decision in decisions]
            if wrong := next((line for line in lines if not _is_sound(line)), None):
                raise ValueError(f"this is no verdict: {wrong}")
            _append(stream, lines)
        return stamp["batch"]

    def lines(self) -> list[Line]:
        """All lines, oldest first; those that cannot be read are told and passed over. Raises: InputError (disk).

        What stands behind the last newline is passed over in silence unless it is whole: another process may be
        writing it.
        """
        try:
            *whole, rest = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.file} cannot be read: {error.strerror}; check its permissions") from None
        parsed = [_parsed(text) for text in whole]
        damaged = [n for n, line in enumerate(parsed, start=1) if line is None and whole[n - 1].strip()]
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            self._on_message(
                f"{self.file}: line {damaged[0]}{more} cannot be read and is passed over; it stays as it is"
            )
        return [line for line in (*parsed, _parsed(rest)) if line is not None]

    def undo(self, last: int = 1, who: str | None = None) -> list[Line]:
        """Take back the last batches that are not undone yet, the newest first. Returns the lines written for it.

        Every verdict taken back gets a line: the verdict that held before again, or UNDO where there was none.
        Nothing left to take back: [] and nothing is written. Raises: InputError as `record`.
        """
        with self._held() as stream:
            stamp = _stamp(who)
            lines = [Line(**stamp, **fields) for fields in _taken_back(self.lines(), last)]
            if lines:
                _append(stream, lines)
        return lines

    @contextmanager
    def _held(self) -> Iterator[int]:
        """The journal's file descriptor, for appending, repaired, while no one else writes."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            busy = f"waiting for another winnow command to write {self.file}"
            # A lock of its own: that of the workspace is held while a long command writes vectors.
            with acquire_lock(self.file.with_name(".journal.lock"), busy, self._on_message, POLL):
                stream = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
                try:
                    self._repair(stream)
                    yield stream
                finally:
                    os.close(stream)
        except OSError as error:
            mend = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "mend that"
            raise InputError(
                f"{self.file}: {error.strerror or error}; nothing was recorded: {mend} and do it again"
            ) from None

    def _repair(self, stream: int) -> None:
        """Set aside what a crash left of a line; see to it that the file, if it is new, is found after a power cut."""
        size = os.fstat(stream).st_size
        if not size:
            _sync_folder(self.file.parent)
            return
        os.lseek(stream, -1, os.SEEK_END)
        if os.read(stream, 1) == b"\n":
            return
        torn = self.file.read_bytes().rpartition(b"\n")[2]
        if _parsed(torn) is not None:  # only the newline is missing, as some editors leave it
            _write(stream, b"\n")
            return
        with self.file.with_suffix(".torn").open("ab", buffering=0) as aside:
            _write(aside.fileno(), torn + b"\n")
        os.ftruncate(stream, size - len(torn))
        self._on_message(
            f"{self.file} ended in a torn line, as after a crash; its {len(torn)} bytes were moved to journal.torn"
        )


def current_verdicts(lines: Iterable[Line]) -> dict[str, Line]:
    """Id -> the line whose verdict holds; undone ones are not in it."""
    last = {line.id: line for line in lines}
    return {id: line for id, line in last.items() if line.verdict != UNDO}


def _taken_back(lines: Sequence[Line], last: int) -> list[dict[str, Any]]:
    """Fields of the lines that undo the last batches: for each picture of each, what it returns to.

    An undo that was cut off half-way leaves the rest of its batch to be undone.
    """
    undone = {(line.undoes, line.id) for line in lines if line.undoes}
    history: dict[str, list[Line]] = {}  # of each id, the verdicts not taken back
    batches: dict[str, dict[str, Line]] = {}
    for line in lines:
        if not line.undoes and (line.batch, line.id) not in undone:
            history.setdefault(line.id, []).append(line)
            batches.setdefault(line.batch, {})[line.id] = line
    result = []
    for batch in list(reversed(batches))[: max(last, 0)]:
        for id, line in batches[batch].items():
            history[id] = [before for before in history[id] if before.batch != batch]
            held = history[id][-1] if history[id] else None
            verdict = {name: getattr(held, name) for name in ("verdict", "reason", "label", "score")} if held else {}
            result.append({"id": id, "path": line.path, "verdict": UNDO, "undoes": batch} | verdict)
    return result


def _stamp(who: str | None) -> dict[str, Any]:
    """What the lines of a batch share; made while the journal is held, so that names of batches sort as their lines."""
    now = datetime.now(UTC)
    return {
        "when": now.isoformat(timespec="milliseconds"),
        "who": to_text(who or _user()),
        "batch": f"{now:%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:6]}",
        "version": installed_version("winnow-images"),
    }


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in the system's list, as in some containers
        return "unknown"


_BLANK = dict.fromkeys(field.name for field in fields(Line))
_TEXT, _NUMBER = (str, NoneType), (float, int, NoneType)
_TYPES: tuple[Any, ...] = (str, str, str, str, str, str, _TEXT, _TEXT, _NUMBER, _TEXT, _TEXT)  # of the fields of a Line


def _parsed(text: bytes) -> Line | None:
    """A line of the file; None when it is none. Fields that a newer Winnow may have added are passed over."""
    try:
        said = _BLANK | json.loads(text.decode())
    except (ValueError, TypeError, RecursionError):
        return None
    line = Line(*map(said.__getitem__, _BLANK))
    return line if _is_sound(line) else None


def _is_sound(line: Line) -> bool:
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
    """Append bytes and wait until the disk has them; when it does not take all, the file is as it was."""
    before = os.fstat(stream).st_size
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(stream, rest) :]
        os.fsync(stream)
    except BaseException:
        with suppress(OSError):  # the part that stays is a torn line, repaired by the next one to write
            os.ftruncate(stream, before)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        stream = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(stream)
        finally:
            os.close(stream)

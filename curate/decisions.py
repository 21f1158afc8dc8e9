"""From what a person says of pictures to decisions that can be recorded: by path, or by a rule on their scores."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.paths import from_text, to_text
from winnow.curate import manifest
from winnow.curate.journal import REASONS, VERDICTS, Decision, Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 3  # paths that a message names
_UNFIT = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, line and paragraph separators
_NO_PATH = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # what no path has; \udc80 to \udcff stand for bytes
OnMessage = Callable[[str], None]
Row = dict[str, Any]


def decide(
    workspace: Workspace,
    paths: Sequence[str],
    verdict: str,
    reason: str | None = None,
    label: str | None = None,
    on_message: OnMessage = lambda _: None,
    off_topic: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Record one verdict on pictures (see `find`), as one batch.

    Parameters: `verdict`, one of `VERDICTS`; `reason`, of a drop, one of `REASONS` (None: off_topic); `label`, of a
    relabel; `on_message`, called for a label that is new, and for pictures that cannot have a verdict because their
    bytes cannot be read; `off_topic`, id -> the score that is written beside the verdict.
    Returns: recorded (pictures; exact copies are one), batch, verdict, reason, label, skipped (paths).
    Raises: InputError; then nothing is recorded.
    """
    reason = _checked_reason(verdict, reason, label)
    rows = find(workspace, paths)
    skipped = [row["path"] for row in rows if row["id"] is None]
    first: dict[str, str] = {}
    for row in rows:
        if row["id"] is not None:
            first.setdefault(row["id"], row["path"])
    if skipped:
        what = f"{_some(skipped)}: the bytes cannot be read, and it is them that a verdict belongs to"
        if not first:
            raise InputError(f"no verdict can be kept on {what}; mend the file and run `winnow scan`")
        on_message(f"no verdict is kept on {what}")
    journal = Journal(workspace.folder, on_message)
    if verdict == "relabel":
        label = normalize_label(label or "", known_labels(workspace, journal), on_message)
    scores = off_topic or {}
    batch = journal.record([Decision(id, path, verdict, reason, label, scores.get(id)) for id, path in first.items()])
    return {
        "recorded": len(first),
        "batch": batch,
        "verdict": verdict,
        "reason": reason,
        "label": label,
        "skipped": skipped,
    }


def _checked_reason(verdict: str, reason: str | None, label: str | None) -> str | None:
    if verdict not in VERDICTS:
        raise InputError(f"a verdict is one of {', '.join(VERDICTS)}, not {verdict!r}")
    if label is not None and verdict != "relabel":
        raise InputError(f"only a relabel takes a label, not a {verdict}")
    if reason is not None and verdict != "drop":
        raise InputError(f"only a drop has a reason, not a {verdict}")
    if reason is not None and reason not in REASONS:
        raise InputError(f"a reason is one of {', '.join(REASONS)}, not {reason!r}")
    return (reason or REASONS[0]) if verdict == "drop" else None


def known_labels(workspace: Workspace, journal: Journal) -> list[str]:
    """Labels of the manifest and of the relabels that hold, sorted."""
    found = manifest.read(workspace)["label"].unique().to_pylist()
    given = [line.label for line in current_verdicts(journal.lines()).values()]
    return sorted({label for label in (*found, *given) if label is not None})


def normalize_label(label: str, known: Collection[str], on_message: OnMessage = lambda _: None) -> str:
    """A label as it is recorded: without spaces around it, and spelt as the known one that looks the same (NFC).

    Parameters: `on_message`, called when the label is not among `known`. Raises: InputError when it is empty, or
    a part of it cannot be printed on one line.
    """
    label = label.strip()
    if not label:
        raise InputError("a label is needed: the name of a class, as in --relabel roses")
    if any(unicodedata.category(character) in _UNFIT for character in label):
        raise InputError(f"{label!r} cannot be a label: it has control characters or bytes that are not UTF-8")
    spelt = {unicodedata.normalize("NFC", name): name for name in known}
    if label not in known:
        label = spelt.get(unicodedata.normalize("NFC", label), label)
    if label not in known:
        on_message(f"{label} is a new label; labels so far: {_some(sorted(known), 20) or 'none'}")
    return label


def parse_paths(text: bytes) -> list[str]:
    """Paths of a text with one a line, as the file system would give them; empty lines are passed over."""
    lines = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(line) for line in lines if line.strip()]


def find(workspace: Workspace, paths: Sequence[str]) -> list[Row]:
    """Manifest rows (id, path, label, problem, bytes, mtime_ns) of pictures, in the order of `paths`, each once.

    Parameters: `paths`, as the manifest writes them, or of files: absolute, below the current folder or below the
    images, through links or not.
    Raises: InputError naming what is no picture, could be two, or was changed since the scan.
    """
    table = manifest.read(workspace)
    if not len(table):
        raise InputError(f"{workspace.images} holds no picture that is known: run `winnow scan` first")
    rows = {path: row for row, path in enumerate(table["path"].to_pylist())}
    meant = _Meant(workspace.images, rows)
    chosen: dict[str, None] = {}
    strangers: list[str] = []
    for written in (_NO_PATH.sub("\N{REPLACEMENT CHARACTER}", path) for path in paths):
        found = meant(written)
        if len(found) > 1:
            raise InputError(
                f"{to_text(written)} is {found[0]} from the current folder, but also {found[1]} of {workspace.images}: "
                "write the whole path; nothing was recorded"
            )
        if found:
            chosen[found[0]] = None
        else:
            strangers.append(written)
    if strangers:
        raise InputError(_no_picture(strangers, len(paths), rows, workspace.images))
    if not chosen:
        raise InputError("no picture is named: give at least one path")
    fields = ("id", "path", "label", "problem", "bytes", "mtime_ns")
    result = table.select(fields).take([rows[path] for path in chosen]).to_pylist()
    _refuse_changed(result, workspace.images)
    return result


class _Meant:
    """Which manifest paths a written path means: called with it, gives none, one, or two that are different files."""

    def __init__(self, images: Path, known: Collection[str]) -> None:
        self._images, self._known, self._here = str(images), known, str(Path.cwd())
        self._real = lru_cache(maxsize=None)(os.path.realpath)  # of folders: many paths lie in few

    def __call__(self, written: str) -> list[str]:
        here, below = self._first(self._here, written), self._first(self._images, written)
        if written in self._known:
            below = written
        return list(dict.fromkeys(path for path in (here, below) if path is not None))

    def _first(self, start: str, written: str) -> str | None:
        return next((path for path in self._of_file(os.path.join(start, written)) if path in self._known), None)

    def _of_file(self, file: str) -> Iterator[str]:
        """Manifest paths that a file may have: as written, with the links to its folder followed, and its own link."""
        folder, name = os.path.split(file)
        yield self._below(os.path.normpath(file))
        real = os.path.join(self._real(folder), name)
        yield self._below(real)
        with suppress(OSError):  # no link
            yield self._below(os.path.realpath(os.path.join(os.path.dirname(real), Path(real).readlink())))

    def _below(self, file: str) -> str:
        root = os.path.join(self._images, "")
        return to_text(file[len(root) :].replace(os.sep, "/")) if file.startswith(root) else ""


def _refuse_changed(rows: Sequence[Row], images: Path) -> None:
    """A file that was edited since the scan is another picture by now: a verdict on the old one would be lost."""
    changed = []
    for row in rows:
        try:
            info = (images / from_text(row["path"])).stat()
        except OSError:
            continue  # gone: the verdict is there should it come back
        if (info.st_size, info.st_mtime_ns) != (row["bytes"], row["mtime_ns"]) and row["id"] is not None:
            changed.append(row["path"])
    if changed:
        raise InputError(f"changed since the last scan: {_some(changed)}; run `winnow scan` and decide again")


def _no_picture(strangers: Sequence[str], among: int, known: Collection[str], images: Path) -> str:
    kinds = [_kind(start / path) for path in strangers[:NAMED] for start in (Path(), images)]
    if "folder" in kinds:
        advice = "name the pictures in a folder, not the folder"
    elif "file" in kinds:
        advice = "run `winnow scan` when it is new"
    elif close := _closest(to_text(strangers[0]), known):
        advice = f"did you mean {close}?"
    else:
        advice = "paths are those of files, or as `winnow score` prints them"
    count = f"{len(strangers)} of {among} paths are" if among > 1 else "there is"
    return f"{count} no picture of {images}: {_some([to_text(path) for path in strangers])}; nothing recorded, {advice}"


def _kind(path: Path) -> str | None:
    try:
        return "folder" if path.is_dir() else "file" if path.exists() else None
    except (OSError, ValueError):  # no name that a file can have
        return None


def _closest(written: str, known: Collection[str]) -> str | None:
    """A path with the same name, else one that is spelt much like this one."""
    from difflib import get_close_matches

    name = os.path.basename(written)
    same = (path for path in known if path.rpartition("/")[2] == name)
    return next(same, None) or next(iter(get_close_matches(written, known, n=1, cutoff=0.8)), None)


def _some(names: Sequence[str], most: int = NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plan_drops(
    table: pa.Table,
    *,
    duplicates: bool = False,
    off_topic_above: float | None = None,
    unreadable: bool = False,
    quality: bool = False,
    verdicts: Mapping[str, Line] | None = None,
    area: Mapping[str, int] | None = None,
) -> list[Decision]:
    """Drops by rule, of pictures without a verdict: one each, in the order of paths, by the first rule that holds.

    Rules, in this order: unreadable (a problem, but bytes that a verdict can belong to); duplicate (of a group all but
    one); off_topic (`off_topic_prior` above a bound); quality (any of its rules broken). Of a group the one of
    `duplicate_keep` stays; when that one was dropped, or another rule drops it, the first that stays otherwise: one
    with a verdict, then the largest, then the first path; when none stays, none is spared.
    Parameters: `table`, of scores, a row a path; `verdicts`, id -> the line that holds (None: column `verdict`);
    `area`, id -> width times height (None: paths alone decide).
    """
    rows: dict[str, Row] = {}
    for row in table.to_pylist():
        if row["id"] is not None:
            rows.setdefault(row["id"], row)
    held = {id: row["verdict"] if verdicts is None else None for id, row in rows.items()}
    held |= {id: line.verdict for id, line in (verdicts or {}).items() if id in rows}
    others: dict[str, str | None] = {}  # reason that has nothing to do with duplicates
    for id, row in rows.items():
        off_topic = off_topic_above is not None and (row["off_topic_prior"] or 0.0) > off_topic_above
        others[id] = "off_topic" if off_topic else "quality" if quality and row["quality"] else None
        if unreadable and row["problem"] is not None:
            others[id] = "unreadable"
    doubled = _doubled(rows, held, others, area or {}) if duplicates else set()
    result = []
    for id, row in rows.items():
        reason = "duplicate" if id in doubled and others[id] != "unreadable" else others[id]
        if reason and held[id] is None:
            result.append(Decision(id, row["path"], "drop", reason, score=row["off_topic"]))
    return result


def _doubled(
    rows: Mapping[str, Row], held: Mapping[str, str | None], others: Mapping[str, str | None], area: Mapping[str, int]
) -> set[str]:
    """Ids of the duplicates of one that stays."""
    groups: dict[int, list[str]] = {}
    for id, row in rows.items():
        if row["duplicate_group"] is not None:
            groups.setdefault(row["duplicate_group"], []).append(id)
    doubled: set[str] = set()
    for members in groups.values():
        stay = [id for id in members if held[id] != "drop" and (held[id] or not others[id])]
        if stay:
            best = min(stay, key=lambda id: (not rows[id]["duplicate_keep"], not held[id], -area.get(id, 0)))
            doubled.update(id for id in members if id != best)
    return doubled

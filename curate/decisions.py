"""Verdicts on pictures named by their paths, and drops planned by rules on their scores."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.paths import from_text, to_text
from winnow.common.progress import OnMessage
from winnow.curate import manifest
from winnow.curate.journal import REASONS, VERDICTS, Decision, Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 3  # paths that a message names
# Unicode categories that a label must not have: control characters, surrogates, line and paragraph separators.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_NOT_IN_PATHS = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # \udc80 to \udcff stand for bytes that are not UTF-8
Row = dict[str, Any]  # of the manifest or of the scores: column -> value


@dataclass(frozen=True)
class DecideResult:
    """What `decide` recorded."""

    recorded: int  # pictures; exact copies count once
    batch: str
    verdict: str
    reason: str | None
    label: str | None
    skipped: list[str]  # paths of files whose bytes cannot be read

    def to_json(self) -> dict[str, Any]:
        """The document of `decide --json`."""
        return asdict(self)


@dataclass(frozen=True)
class PruneRules:
    """The rules by which `plan_drops` drops pictures; by default none."""

    duplicates: bool = False  # near-duplicates, all but one of each group
    off_topic_above: float | None = None  # pictures whose `off_topic_prior` (0-1) is greater
    unreadable: bool = False  # files with a problem
    quality: bool = False  # pictures that break a rule of `curate.noise.quality`


def decide(
    workspace: Workspace,
    paths: Sequence[str],
    verdict: str,
    reason: str | None = None,
    label: str | None = None,
    on_message: OnMessage = lambda _: None,
    off_topic: Mapping[str, float | None] | None = None,
) -> DecideResult:
    """Record one verdict on pictures as one batch.

    Parameters: `paths`, see `find_rows`; `verdict`, one of `VERDICTS`; `reason`, of a drop, one of `REASONS` (None:
    off_topic); `label`, of a relabel; `on_message`, called for a new label, and for files that cannot have a verdict
    because their bytes cannot be read; `off_topic`, id -> the score that is recorded with the verdict.
    Raises: InputError; then nothing is recorded.
    """
    reason = _check_reason(verdict, reason, label)
    rows = find_rows(workspace, paths)
    skipped = [row["path"] for row in rows if row["id"] is None]
    first: dict[str, str] = {}
    for row in rows:
        if row["id"] is not None:
            first.setdefault(row["id"], row["path"])
    if skipped:
        message = (
            f"no verdict is recorded on {_list_some(skipped)}: a verdict belongs to the bytes, which are unreadable"
        )
        if not first:
            raise InputError(message, remedy="repair")
        on_message(message)
    journal = Journal(workspace.folder, on_message)
    if verdict == "relabel":
        label = normalize_label(label or "", known_labels(workspace, journal), on_message)
    scores = off_topic or {}
    batch = journal.record([Decision(id, path, verdict, reason, label, scores.get(id)) for id, path in first.items()])
    return DecideResult(len(first), batch, verdict, reason, label, skipped)


def _check_reason(verdict: str, reason: str | None, label: str | None) -> str | None:
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
    """Labels of the manifest and of the current relabels, sorted."""
    as_found = manifest.read(workspace)["label"].unique().to_pylist()
    relabelled = [line.label for line in current_verdicts(journal.lines()).values()]
    return sorted({label for label in (*as_found, *relabelled) if label is not None})


def normalize_label(label: str, known: Collection[str], on_message: OnMessage = lambda _: None) -> str:
    """Normalize a label: without surrounding spaces, and spelt like the known label of the same Unicode NFC form.

    Parameters: `on_message`, called when the label is not among `known`.
    Raises: InputError when the label is empty or cannot be printed on one line.
    """
    label = label.strip()
    if not label:
        raise InputError("the label is empty", remedy="relabel")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in label):
        raise InputError(f"{label!r} cannot be a label: it has control characters or bytes that are not UTF-8")
    spelt = {unicodedata.normalize("NFC", name): name for name in known}
    if label not in known:
        label = spelt.get(unicodedata.normalize("NFC", label), label)
    if label not in known:
        on_message(f"{label} is a new label; labels so far: {_list_some(sorted(known), 20) or 'none'}")
    return label


def parse_paths(text: bytes) -> list[str]:
    """Parse a text with one path per line into paths as the operating system gives them; empty lines are skipped."""
    lines = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(line) for line in lines if line.strip()]


def find_rows(workspace: Workspace, paths: Sequence[str]) -> list[Row]:
    """Find the manifest rows (id, path, label, problem, bytes, mtime_ns) of pictures, each once, in the given order.

    Parameters: `paths`, as in the manifest, or of files: absolute, below the current folder or below the images,
    through links or not.
    Raises: InputError that names the paths that are no picture, are ambiguous, or changed since the scan.
    """
    table = manifest.read(workspace)
    if not len(table):
        raise InputError(f"the manifest has no picture of {workspace.images}", remedy="scan")
    rows = {path: row for row, path in enumerate(table["path"].to_pylist())}
    resolver = _PathResolver(workspace.images, rows)
    chosen: dict[str, None] = {}
    unknown: list[str] = []
    for written in (_NOT_IN_PATHS.sub("\N{REPLACEMENT CHARACTER}", path) for path in paths):
        matches = resolver.resolve(written)
        if len(matches) > 1:
            raise InputError(
                f"{to_text(written)} is {matches[0]} from the current folder, but also {matches[1]} of "
                f"{workspace.images}; nothing was recorded",
                remedy="whole-path",
            )
        if matches:
            chosen[matches[0]] = None
        else:
            unknown.append(written)
    if unknown:
        raise _no_picture(unknown, len(paths), rows, workspace.images)
    if not chosen:
        raise InputError("no path of a picture is given")
    fields = ("id", "path", "label", "problem", "bytes", "mtime_ns")
    result = table.select(fields).take([rows[path] for path in chosen]).to_pylist()
    _refuse_changed(result, workspace.images)
    return result


class _PathResolver:
    """Resolves paths as a user writes them to manifest paths."""

    def __init__(self, images: Path, known: Collection[str]) -> None:
        self._images, self._known, self._here = str(images), known, str(Path.cwd())
        self._real = lru_cache(maxsize=None)(os.path.realpath)  # of folders: many paths are in few of them

    def resolve(self, written: str) -> list[str]:
        """The manifest paths that a path may stand for: none, one, or two that are different files."""
        here, below = self._first(self._here, written), self._first(self._images, written)
        if written in self._known:
            below = written
        return list(dict.fromkeys(path for path in (here, below) if path is not None))

    def _first(self, start: str, written: str) -> str | None:
        return next((path for path in self._candidates(os.path.join(start, written)) if path in self._known), None)

    def _candidates(self, file: str) -> Iterator[str]:
        """Manifest paths that a file may have: as written, with links of its folder followed, and its own link."""
        folder, name = os.path.split(file)
        yield self._below(os.path.normpath(file))
        real = os.path.join(self._real(folder), name)
        yield self._below(real)
        with suppress(OSError):  # it is not a link
            yield self._below(os.path.realpath(os.path.join(os.path.dirname(real), Path(real).readlink())))

    def _below(self, file: str) -> str:
        root = os.path.join(self._images, "")
        return to_text(file[len(root) :].replace(os.sep, "/")) if file.startswith(root) else ""


def _refuse_changed(rows: Sequence[Row], images: Path) -> None:
    """Raise InputError for files edited since the scan: they are other pictures now, and would have no verdict."""
    changed = []
    for row in rows:
        try:
            info = (images / from_text(row["path"])).stat()
        except OSError:
            continue  # the file is missing: the verdict counts again if it comes back
        if (info.st_size, info.st_mtime_ns) != (row["bytes"], row["mtime_ns"]) and row["id"] is not None:
            changed.append(row["path"])
    if changed:
        raise InputError(f"changed since the last scan: {_list_some(changed)}", remedy="scan-and-decide")


def _no_picture(unknown: Sequence[str], total: int, known: Collection[str], images: Path) -> InputError:
    kinds = [_kind(start / path) for path in unknown[:NAMED] for start in (Path(), images)]
    similar = None
    if "folder" in kinds:
        remedy = "not-a-folder"
    elif "file" in kinds:
        remedy = "scan-new-file"
    else:
        similar = _closest(to_text(unknown[0]), known)
        remedy = "similar-path" if similar else "picture-paths"
    count = f"{len(unknown)} of {total} paths are" if total > 1 else "there is"
    names = _list_some([to_text(path) for path in unknown])
    return InputError(f"{count} no picture of {images}: {names}; nothing was recorded", remedy=remedy, similar=similar)


def _kind(path: Path) -> str | None:
    try:
        return "folder" if path.is_dir() else "file" if path.exists() else None
    except (OSError, ValueError):  # not a possible file name
        return None


def _closest(written: str, known: Collection[str]) -> str | None:
    """A known path with the same file name, else one with similar spelling, else None."""
    from difflib import get_close_matches

    name = os.path.basename(written)
    same = (path for path in known if path.rpartition("/")[2] == name)
    return next(same, None) or next(iter(get_close_matches(written, known, n=1, cutoff=0.8)), None)


def _list_some(names: Sequence[str], most: int = NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plan_drops(
    table: pa.Table,
    rules: PruneRules,
    verdicts: Mapping[str, Line] | None = None,
    areas: Mapping[str, int] | None = None,
) -> list[Decision]:
    """Plan drops of pictures without a verdict: one each, in the order of paths, by the first rule that applies.

    The rules apply in this order: unreadable (a problem, with bytes that a verdict can belong to); duplicate (all but
    one of a group); off_topic; quality. Of a group of duplicates the picture with `duplicate_keep` stays. When it is
    dropped, by a verdict or by another rule, another one stays: one with a verdict, else the largest, else the one with
    the first path; when the other rules drop all of them, none stays.
    Parameters: `table`, the scores, one row per path; `verdicts`, id -> line with its current verdict (None: use the
    column `verdict`); `areas`, id -> width times height in pixels (None: the first path stays).
    """
    rows: dict[str, Row] = {}
    for row in table.to_pylist():
        if row["id"] is not None:
            rows.setdefault(row["id"], row)
    decided = {id: row["verdict"] if verdicts is None else None for id, row in rows.items()}
    decided |= {id: line.verdict for id, line in (verdicts or {}).items() if id in rows}
    other_reasons: dict[str, str | None] = {id: _other_reason(row, rules) for id, row in rows.items()}
    redundant = _redundant_duplicates(rows, decided, other_reasons, areas or {}) if rules.duplicates else set()
    decisions = []
    for id, row in rows.items():
        reason = other_reasons[id]
        if id in redundant and reason != "unreadable":
            reason = "duplicate"
        if reason and decided[id] is None:
            decisions.append(Decision(id, row["path"], "drop", reason, score=row["off_topic"]))
    return decisions


def _other_reason(row: Row, rules: PruneRules) -> str | None:
    """The first reason to drop a picture other than being a duplicate."""
    if rules.unreadable and row["problem"] is not None:
        return "unreadable"
    if rules.off_topic_above is not None and (row["off_topic_prior"] or 0.0) > rules.off_topic_above:
        return "off_topic"
    return "quality" if rules.quality and row["quality"] else None


def _redundant_duplicates(
    rows: Mapping[str, Row],
    decided: Mapping[str, str | None],
    other_reasons: Mapping[str, str | None],
    areas: Mapping[str, int],
) -> set[str]:
    """Ids of the duplicates of a picture that stays."""
    groups: dict[int, list[str]] = {}
    for id, row in rows.items():
        if row["duplicate_group"] is not None:
            groups.setdefault(row["duplicate_group"], []).append(id)
    redundant: set[str] = set()
    for members in groups.values():
        remaining = [id for id in members if decided[id] != "drop" and (decided[id] or not other_reasons[id])]
        if remaining:
            best = min(remaining, key=lambda id: (not rows[id]["duplicate_keep"], not decided[id], -areas.get(id, 0)))
            redundant.update(id for id in members if id != best)
    return redundant

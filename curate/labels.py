"""From paths to labels and splits, by one of three rules: the top folder, the parent folder, or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from winnow.common.errors import InputError
from winnow.common.paths import to_text

# Names that a split goes by on disk; torchvision, Keras and Hugging Face write them so.
SPLIT_NAMES = dict.fromkeys(("val", "valid", "validation", "dev"), "val")
SPLIT_NAMES |= {"train": "train", "training": "train", "test": "test", "testing": "test"}


class LabelAssignment(NamedTuple):
    """Of every path: its label and its split, None where there is none; and what the person should know."""

    labels: list[str | None]
    splits: list[str | None]
    warnings: list[str]


def assign_labels(rule: str, paths: Sequence[str], images: Path) -> LabelAssignment:
    """Assign labels and splits to manifest paths.

    Parameters: `rule`, "folder", "parent" or the path of a CSV file; `images`, the folder that the paths are below.

    Raises: InputError when the CSV file cannot be read, lacks a column, or names none of `paths` (if any).
    """
    if rule in ("folder", "parent"):
        return _from_folders(paths, innermost=rule == "parent")
    return _from_csv(Path(rule), paths, images)


def _from_folders(paths: Sequence[str], innermost: bool) -> LabelAssignment:
    """The top folder below the root (as torchvision's ImageFolder), or the innermost one.

    When every folder on top bears the name of a split, and there is a part to train on, they are splits, not labels.
    """
    parts = [path.split("/")[:-1] for path in paths]
    tops = {folders[0] for folders in parts if folders}
    names = {SPLIT_NAMES.get(top.lower()) for top in tops}
    has_splits = None not in names and "train" in names and len(names) > 1
    splits = [SPLIT_NAMES[folders[0].lower()] if has_splits and folders else None for folders in parts]
    below = [folders[1:] if has_splits else folders for folders in parts]
    labels = [folders[-1 if innermost else 0] if folders else None for folders in below]
    return LabelAssignment(labels, splits, [])


def _from_csv(file: Path, paths: Sequence[str], images: Path) -> LabelAssignment:
    rows = _rows(file, ("path", "label"), "--labels takes folder, parent or a CSV file")
    known = set(paths)
    labels: dict[str, str] = {}
    splits: dict[str, str | None] = {}
    twice: list[str] = []
    words: set[str] = set()
    for row in rows:
        path, label = _manifest_path(row["path"], known, images), (row["label"] or "").strip()
        word = (row.get("split") or "").strip()
        if labels.get(path, label) != label:
            twice.append(path)
        if word and word.lower() not in SPLIT_NAMES:
            words.add(word)
        labels[path], splits[path] = label, SPLIT_NAMES.get(word.lower())
    strangers = [path for path in labels if path not in known]
    if paths:
        _refuse_strangers(file, labels, known, images)
    warnings = []
    if strangers:
        warnings.append(f"{len(strangers)} of {len(labels)} paths are not among the pictures, as {strangers[0]}")
    if twice:
        warnings.append(f"{len(twice)} paths come again with another label, which counts, as {twice[0]}")
    if words:
        warnings.append(f"splits other than train, val and test are passed over: {', '.join(sorted(words)[:5])}")
    warnings = [f"{file.name}: {warning}" for warning in warnings]
    return LabelAssignment([labels.get(path) or None for path in paths], [splits.get(path) for path in paths], warnings)


def read_groups(file: Path, paths: Sequence[str], images: Path) -> list[str | None]:
    """The group (burst, product, camera) of every manifest path by a CSV file (columns path, group); None without.

    Raises: InputError when the file cannot be read, lacks a column, or names none of the paths.
    """
    known = set(paths)
    rows = _rows(file, ("path", "group"), "--group-by takes a CSV file or a regular expression")
    groups = {_manifest_path(row["path"], known, images): (row["group"] or "").strip() for row in rows}
    _refuse_strangers(file, groups, known, images)
    return [groups.get(path) or None for path in paths]


def _refuse_strangers(file: Path, written: Iterable[str], known: set[str], images: Path) -> None:
    if known.isdisjoint(written):
        raise InputError(f"{file}: none of its paths is among the pictures; they are looked up below {images}")


def _rows(file: Path, columns: tuple[str, ...], takes: str) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            missing = [column for column in columns if column not in names]
            if missing:
                raise InputError(
                    f"{file}: column {missing[0]!r} is missing; the first line must name {','.join(columns)}"
                )
            reader.fieldnames = names
            rows = [row for row in reader if row["path"]]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; {takes}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8 ({error}): save it again") from None
    return rows


def _manifest_path(written: str, known: set[str], images: Path) -> str:
    """A path as written in a CSV file (absolute or below the root, any separator) as the manifest has it."""
    if written in known:
        return written
    path = Path(written.strip().replace("\\", "/"))
    if path.is_absolute() and not path.is_relative_to(images):
        path = path.parent.resolve() / path.name  # perhaps through a link to the root
    if path.is_relative_to(images):
        path = path.relative_to(images)
    return to_text(path.as_posix())

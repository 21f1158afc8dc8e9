"""Derive labels and splits from paths by one of three rules: top folder, parent folder, or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow.common.errors import InputError
from winnow.common.paths import to_text

# Folder name or CSV value -> split; the names that torchvision, Keras and Hugging Face write.
SPLIT_NAMES = dict.fromkeys(("val", "valid", "validation", "dev"), "val")
SPLIT_NAMES |= {"train": "train", "training": "train", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class LabelAssignment:
    """Label and split of every path, in the order of the paths; None where there is none."""

    labels: list[str | None]
    splits: list[str | None]
    warnings: list[str]  # one sentence each, for the user


def assign_labels(rule: str, paths: Sequence[str], images: Path) -> LabelAssignment:
    """Assign labels and splits to manifest paths.

    Parameters: `rule`, "folder", "parent" or the path of a CSV file; `images`, the folder that the paths are below.

    Raises: InputError when the CSV file cannot be read, lacks a column, or names none of `paths` (if any).
    """
    if rule in ("folder", "parent"):
        return _from_folders(paths, innermost=rule == "parent")
    return _from_csv(Path(rule), paths, images)


def _from_folders(paths: Sequence[str], innermost: bool) -> LabelAssignment:
    """Take the top folder below the root as label (as torchvision's ImageFolder), or the innermost one.

    When every top folder has the name of a split, and one of them is train, the top folders are splits, not labels.
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
    rows = _read_rows(file, ("path", "label"), remedy="labels")
    known = set(paths)
    labels: dict[str, str] = {}
    splits: dict[str, str | None] = {}
    relabelled: list[str] = []
    unknown_splits: set[str] = set()
    for row in rows:
        path, label = _manifest_path(row["path"], known, images), (row["label"] or "").strip()
        split = (row.get("split") or "").strip()
        if labels.get(path, label) != label:
            relabelled.append(path)
        if split and split.lower() not in SPLIT_NAMES:
            unknown_splits.add(split)
        labels[path], splits[path] = label, SPLIT_NAMES.get(split.lower())
    unknown_paths = [path for path in labels if path not in known]
    if paths:
        _require_known_path(file, labels, known, images)
    warnings = []
    if unknown_paths:
        warnings.append(
            f"{len(unknown_paths)} of {len(labels)} paths are not among the pictures, for example {unknown_paths[0]}"
        )
    if relabelled:
        warnings.append(
            f"{len(relabelled)} paths have several labels, the last of which counts, for example {relabelled[0]}"
        )
    if unknown_splits:
        names = ", ".join(sorted(unknown_splits)[:5])
        warnings.append(f"splits other than train, val and test are ignored: {names}")
    warnings = [f"{file.name}: {warning}" for warning in warnings]
    return LabelAssignment([labels.get(path) or None for path in paths], [splits.get(path) for path in paths], warnings)


def read_groups(file: Path, paths: Sequence[str], images: Path) -> list[str | None]:
    """Read the group (burst, product, camera) of every manifest path from a CSV file with columns path and group.

    Returns: one group per path, None for paths without one.
    Raises: InputError when the file cannot be read, lacks a column, or names none of the paths.
    """
    known = set(paths)
    rows = _read_rows(file, ("path", "group"), remedy="group-by")
    groups = {_manifest_path(row["path"], known, images): (row["group"] or "").strip() for row in rows}
    _require_known_path(file, groups, known, images)
    return [groups.get(path) or None for path in paths]


def _require_known_path(file: Path, written: Iterable[str], known: set[str], images: Path) -> None:
    if known.isdisjoint(written):
        raise InputError(f"{file}: none of its paths is a picture below {images}")


def _read_rows(file: Path, columns: tuple[str, ...], remedy: str) -> list[dict[str, str]]:
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
        raise InputError(f"{file}: no such file", remedy=remedy) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8 ({error})", remedy="save-csv") from None
    return rows


def _manifest_path(written: str, known: set[str], images: Path) -> str:
    """Convert a path of a CSV file (absolute or relative to the root, with any separator) to a manifest path."""
    if written in known:
        return written
    path = Path(written.strip().replace("\\", "/"))
    if path.is_absolute() and not path.is_relative_to(images):
        path = path.parent.resolve() / path.name  # it may go through a link to the root
    if path.is_relative_to(images):
        path = path.relative_to(images)
    return to_text(path.as_posix())

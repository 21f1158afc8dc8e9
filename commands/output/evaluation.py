"""What an evaluation found, for people: in the terminal, as one page, as a table of every picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.cells import cell_len, set_cell_size

from winnow.commands import console, tables
from winnow.commands.output.predictions import csv_row
from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.curate.export.image_folder import refuse_inside
from winnow.workflow.report import page as report
from winnow.workflow.report.figure_files import inline_svg, to_svg
from winnow.workflow.report.figures import confusion_figure

if TYPE_CHECKING:
    from winnow.workflow.report.page import Thumbnails

MATRIX = 12  # classes up to which the terminal shows the confusion matrix
SHOWN = 10  # rows of a list in the terminal
NAMED = 5  # labels that a sentence names
LONGEST = 28  # columns of the terminal that a label may take
_LEFT_OUT = {
    "trained_on": "that the model was trained or chosen on",
    "copies": "with the same bytes as another",
    "unlabelled": "without a label",
    "conflicting": "with copies under different labels",
}


def show(result: dict[str, Any]) -> None:
    """The scores, those of each class, the confusion matrix or the most frequent mistakes, the most wrong, on stdout.

    Here and below `result` is what `evaluation.evaluate` returns.
    """
    f1, claimed = result["weighted_f1"], _claimed(result)
    known = sum(row["support"] > 0 for row in result["classification_report"]["classes"])
    click.echo(
        f"Weighted F1 {f1['mean']:.3f}, 95% interval {f1['low']:.3f} to {f1['high']:.3f}, "
        f"on {_count(result['pictures'], 'picture')} of {_count(known, 'class', 'classes')}"
    )
    if claimed:
        click.echo(f"  the file says of its own test pictures: {claimed}")
    click.echo(
        f"Macro F1 {result['macro_f1']:.3f}, accuracy {result['accuracy']:.3f}, log loss {result['log_loss']:.3f}, "
        f"calibration error {result['ece']:.3f}"
    )
    tables.print_table(
        ("class", "precision", "recall", "F1", "pictures"), _report_rows(result["classification_report"])
    )
    _show_mistakes([_short(label) for label in result["classes"]], result["confusion"])
    if wrong := result["most_wrong"][:SHOWN]:
        rows = [(row["path"], *_chance(row, ""), *_chance(row, "label_")) for row in wrong]
        tables.print_table(("most wrong", "predicted", "", "labelled", ""), rows)
    for line in remarks(result):
        click.echo(console.printable(line))


def remarks(result: dict[str, Any]) -> list[str]:
    """What else there is to say, a sentence each: familiarity, unknown classes, what was left out, warnings."""
    said, n = [], result["pictures"]
    familiarity, unknown = result["familiarity"], result["unknown"]
    rest, marked = familiarity["rest"], familiarity["unfamiliar"]
    without = f"; weighted F1 without them {rest['weighted_f1']:.3f}" if marked and rest else ""
    said.append(f"Unfamiliar (below {familiarity['threshold']:g}): {marked:,} of {n:,}, {marked / n:.1%}{without}")
    if unknown["pictures"]:
        said.append(
            f"Of classes that the model does not know: {_count(unknown['pictures'], 'picture')}, "
            f"{unknown['unfamiliar']:,} marked unfamiliar, AUROC of familiarity {unknown['auroc']:.3f}: "
            + _named([f"{_short(label)} ({of['pictures']:,})" for label, of in unknown["labels"].items()])
        )
    if absent := result["absent"]:
        said.append(f"Classes of the model without a picture here: {_named(map(_short, absent))}")
    said += [f"Left out: {_count(n, 'picture')} {_LEFT_OUT[why]}" for why, n in result["left_out"].items() if n]
    if problems := result["problems"]:
        first, more = problems[0], len(problems) - 1
        said.append(f"Cannot be used: {first['path']}: {first['message']}" + (f" (and {more:,} more)" if more else ""))
    return said + [f"Note: {warning}" for warning in result["warnings"]]


def check_targets(folder: Path, files: Sequence[Path]) -> None:
    """Raises: InputError for files that cannot be written, lie among the pictures in `folder`, or are the same."""
    places = [file.resolve() for file in files if not _is_stream(file)]
    if len({*places}) < len(places):
        raise InputError(f"{files[0]} is named twice: name two files")
    for place in places:
        refuse_inside(place, {folder: "the pictures"})
        above = next(above for above in place.parents if above.exists())
        if place.is_dir() or not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{place} cannot be written: mend that or name another file")


def _is_stream(file: Path) -> bool:
    """Whether a file is written into as it is: a pipe, a device, what /dev/stdout leads to."""
    opened = str(file).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return file.exists() and not file.is_dir() and (opened or not file.is_file())


def write_page(result: dict[str, Any], file: Path, thumbnails: Thumbnails | None = None) -> None:
    """Write one self-contained HTML page, whole or not at all. Raises: InputError when the disk refuses.

    Parameters: `thumbnails`, from a path in `most_wrong` to a small JPEG, None when it is gone (None: from the folder).
    """
    thumbnails = thumbnails or (lambda path: report.thumbnail(Path(result["folder"]) / from_text(path)))
    counts, classes = np.array(result["confusion"]), result["classes"]
    title = f"{counts.trace()} of {counts.sum()} right"
    drawn = to_svg(confusion_figure(counts, classes, title), "confusion")
    page = report.load_template("evaluation.html.j2", Path(__file__).parent).render(
        result,
        title=Path(result["folder"]).name,
        name=Path(result["model"]).name,
        matrix=inline_svg(drawn, f"Confusion matrix. {title}"),
        confused=report.most_confused(result["confusion"], classes),
        claimed=_claimed(result),
        remarks=remarks(result | {"warnings": []}),
        thumbnails=report.thumbnail_urls((row["path"] for row in result["most_wrong"]), thumbnails),
    )
    _write(file, page)


def write_csv(result: dict[str, Any], file: Path) -> None:
    """Write what the model says of every picture, a row each, whole or not at all. Raises: InputError (disk)."""
    rows = result["predictions"]
    _write(file, "".join(map(csv_row, [rows[0], *(row.values() for row in rows)])))


def _show_mistakes(classes: list[str], counts: list[list[int]]) -> None:
    """The confusion matrix, columns numbered as the rows are; of many classes what is most often mistaken."""
    if len(classes) <= MATRIX:
        numbers = [str(number) for number in range(1, len(classes) + 1)]
        rows = [
            [f"{number:>2} {label}", *map(str, row)]
            for number, label, row in zip(numbers, classes, counts, strict=True)
        ]
        tables.print_table(("true, predicted →", *numbers), rows, title="Confusion matrix")
    else:
        mistakes = [
            (row.label, row.predicted, f"{row.count:,} of {row.total:,}")
            for row in report.most_confused(counts, classes, SHOWN)
        ]
        tables.print_table(("class", "taken for", "pictures"), mistakes, title="Most often mistaken")


def _chance(row: dict[str, Any], of: str) -> tuple[str, str]:
    return _short(row["label" if of else "predicted"]), f"{row[f'{of}probability']:.2f}"


def _count(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or f'{one}s'}"


def _named(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def _claimed(result: dict[str, Any]) -> str:
    """The weighted F1 that the file says of itself; nothing when it does not."""
    try:
        mean, low, high = (float(result["claimed"]["weighted_f1"][name]) for name in ("mean", "low", "high"))
    except (KeyError, TypeError, ValueError):
        return ""
    return f"{mean:.3f}, 95% interval {low:.3f} to {high:.3f}"


def _report_rows(report: dict[str, Any]) -> list[list[str]]:
    named = [(row["label"], row) for row in report["classes"]]
    named += [(f"({name.replace('avg', 'average')})", report[name]) for name in ("macro avg", "weighted avg")]
    return [
        [_short(name), *(f"{row[score]:.3f}" for score in ("precision", "recall", "f1-score")), f"{row['support']:,}"]
        for name, row in named
    ]


def _short(label: str) -> str:
    """A label on one line, cut in the middle when it is long: what tells labels apart may be at either end."""
    text, half = console.printable(label), LONGEST // 2
    if cell_len(text) <= LONGEST:
        return text
    end = text[1 - half :]
    while cell_len(end) >= half:
        end = end[1:]
    return f"{set_cell_size(text, half).rstrip()}…{end}"


def _write(file: Path, text: str) -> None:
    """Whole or not at all; a pipe, or what stands for standard output, is written into."""
    try:
        with file.open("ab") if _is_stream(file) else atomic_write(file.resolve()) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; mend that or name another file") from None

"""Report an evaluation: on the terminal, as an HTML page, and as a CSV table of every picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len, set_cell_size

from winnow.commands import console, tables
from winnow.commands.output.prediction_printers import format_csv_row
from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.curate.export.image_folder import refuse_inside
from winnow.workflow.report import page as report
from winnow.workflow.report.figure_files import inline_svg, to_svg
from winnow.workflow.report.figures import confusion_figure

if TYPE_CHECKING:
    from winnow.deploy.inference.evaluate import Evaluation
    from winnow.workflow.report.page import Thumbnails

MAX_MATRIX = 12  # classes up to which the terminal shows the confusion matrix
MAX_ROWS = 10  # rows of a list on the terminal
MAX_NAMED = 5  # labels that a sentence names
MAX_LABEL_WIDTH = 28  # columns of the terminal
_LEFT_OUT = {
    "trained_on": "that the model was trained or chosen on",
    "copies": "with the same bytes as another",
    "unlabelled": "without a label",
    "conflicting": "with copies under different labels",
}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the scores, the scores by class, the confusion matrix or the most frequent mistakes, and the remarks."""
    scores = evaluation.scores
    f1 = scores.weighted_f1
    occurring = sum(row["support"] > 0 for row in scores.classification_report["classes"])
    click.echo(
        f"Weighted F1 {f1.mean:.3f}, 95% interval {f1.low:.3f} to {f1.high:.3f}, "
        f"on {_count(scores.pictures, 'picture')} of {_count(occurring, 'class', 'classes')}"
    )
    if claimed := _describe_claimed(evaluation):
        click.echo(f"  on the test pictures of its own collection, the file states {claimed}")
    click.echo(
        "Macro F1 {macro_f1:.3f}, accuracy {accuracy:.3f}, log loss {log_loss:.3f}, calibration error {ece:.3f}".format(
            **scores.metrics
        )
    )
    columns = ("class", "precision", "recall", "F1", "pictures")
    tables.print_table(columns, _class_rows(scores.classification_report))
    _print_mistakes([_shorten(label) for label in scores.classes], scores.confusion.tolist())
    if wrong := scores.most_wrong[:MAX_ROWS]:
        rows = [
            (
                row.path,
                _shorten(row.predicted),
                f"{row.probability:.2f}",
                _shorten(row.label),
                f"{row.label_probability:.2f}",
            )
            for row in wrong
        ]
        tables.print_table(("mistake", "predicted", "", "label", ""), rows)
    for line in [*describe_remarks(evaluation), *(f"Note: {warning}" for warning in evaluation.warnings)]:
        click.echo(console.printable(line))


def describe_remarks(evaluation: Evaluation) -> list[str]:
    """Sentences about familiarity, unknown classes, absent classes, and what was left out."""
    scores, unknown = evaluation.scores, evaluation.unknown
    familiar, count = scores.familiar_metrics, scores.unfamiliar
    without = f"; weighted F1 without them {familiar['weighted_f1']:.3f}" if count and familiar else ""
    share = count / scores.pictures
    remarks = [f"Unfamiliar (below {evaluation.threshold:g}): {count:,} of {scores.pictures:,}, {share:.1%}{without}"]
    if unknown.pictures:
        labels = _join_names([f"{_shorten(label)} ({number:,})" for label, number in unknown.pictures.items()])
        marked = sum(unknown.unfamiliar.values())
        remarks.append(
            f"Of classes that the model does not know: {_count(sum(unknown.pictures.values()), 'picture')}, "
            f"{marked:,} marked unfamiliar, AUROC of familiarity {unknown.auroc:.3f}: {labels}"
        )
    if scores.absent:
        remarks.append(f"Classes of the model without a picture here: {_join_names(map(_shorten, scores.absent))}")
    for reason, number in evaluation.left_out.items():
        if number:
            remarks.append(f"Left out: {_count(number, 'picture')} {_LEFT_OUT[reason]}")
    if evaluation.problems:
        first, more = evaluation.problems[0], len(evaluation.problems) - 1
        remarks.append(f"Cannot be used: {first.path}: {first.message}" + (f" (and {more:,} more)" if more else ""))
    return remarks


def check_targets(folder: Path, files: Sequence[Path]) -> None:
    """Raises: InputError for files that cannot be written, lie among the pictures in `folder`, or are the same."""
    targets = [file.resolve() for file in files if not _is_stream(file)]
    if len({*targets}) < len(targets):
        raise InputError(f"{files[0]} is named twice: name two files")
    for target in targets:
        refuse_inside(target, {folder: "the pictures"})
        above = next(above for above in target.parents if above.exists())
        if target.is_dir() or not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{target} cannot be written", remedy="another-file")


def _is_stream(file: Path) -> bool:
    """Whether a file is written in place: a pipe, a device, or what /dev/stdout leads to."""
    is_descriptor = str(file).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return file.exists() and not file.is_dir() and (is_descriptor or not file.is_file())


def write_page(evaluation: Evaluation, file: Path, thumbnails: Thumbnails | None = None) -> None:
    """Write one self-contained HTML page, whole or not at all. Raises: InputError when it cannot be written.

    Parameters: `thumbnails`, maps a path of `most_wrong` to a small JPEG, or None when it is gone (None: from the
    folder of the evaluation).
    """
    thumbnails = thumbnails or (lambda path: report.thumbnail(evaluation.folder / from_text(path)))
    scores = evaluation.scores
    title = f"{scores.confusion.trace()} of {scores.confusion.sum()} correct"
    matrix = to_svg(confusion_figure(scores.confusion, scores.classes, title), "confusion")
    page = report.load_template("evaluation.html.j2", Path(__file__).parent).render(
        evaluation.to_json(),
        title=evaluation.folder.name,
        name=evaluation.model.name,
        matrix=inline_svg(matrix, f"Confusion matrix. {title}"),
        confused=report.most_confused(scores.confusion.tolist(), scores.classes),
        claimed=_describe_claimed(evaluation),
        remarks=describe_remarks(evaluation),
        thumbnails=report.thumbnail_urls((row.path for row in scores.most_wrong), thumbnails),
    )
    _write(file, page)


def write_csv(evaluation: Evaluation, file: Path) -> None:
    """Write the prediction of every picture, one row each, whole or not at all. Raises: InputError (disk)."""
    rows = [row.to_json() for row in evaluation.predictions]
    _write(file, "".join(map(format_csv_row, [rows[0], *(row.values() for row in rows)])))


def _print_mistakes(classes: list[str], matrix: list[list[int]]) -> None:
    """Print the confusion matrix with numbered columns; for many classes only the most frequent mistakes."""
    if len(classes) <= MAX_MATRIX:
        numbers = [str(number) for number in range(1, len(classes) + 1)]
        rows = [
            [f"{number:>2} {label}", *map(str, row)]
            for number, label, row in zip(numbers, classes, matrix, strict=True)
        ]
        tables.print_table(("true, predicted →", *numbers), rows, title="Confusion matrix")
    else:
        mistakes = [
            (row.label, row.predicted, f"{row.count:,} of {row.total:,}")
            for row in report.most_confused(matrix, classes, MAX_ROWS)
        ]
        tables.print_table(("class", "predicted as", "pictures"), mistakes, title="Most frequent mistakes")


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def _join_names(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _describe_claimed(evaluation: Evaluation) -> str:
    """The weighted F1 in the metadata of the file; empty when it has none."""
    try:
        mean, low, high = (float(evaluation.claimed["weighted_f1"][name]) for name in ("mean", "low", "high"))
    except (KeyError, TypeError, ValueError):
        return ""
    return f"{mean:.3f}, 95% interval {low:.3f} to {high:.3f}"


def _class_rows(class_report: dict[str, Any]) -> list[list[str]]:
    rows = [(row["label"], row) for row in class_report["classes"]]
    rows += [(f"({name.replace('avg', 'average')})", class_report[name]) for name in ("macro avg", "weighted avg")]
    return [
        [_shorten(name), *(f"{row[score]:.3f}" for score in ("precision", "recall", "f1-score")), f"{row['support']:,}"]
        for name, row in rows
    ]


def _shorten(label: str) -> str:
    """A label on one line, cut in the middle when it is long: labels may differ at either end."""
    text, half = console.printable(label), MAX_LABEL_WIDTH // 2
    if cell_len(text) <= MAX_LABEL_WIDTH:
        return text
    end = text[1 - half :]
    while cell_len(end) >= half:
        end = end[1:]
    return f"{set_cell_size(text, half).rstrip()}…{end}"


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all; a pipe, or what stands for standard output, is written in place."""
    try:
        with file.open("ab") if _is_stream(file) else atomic_write(file.resolve()) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="another-file") from None

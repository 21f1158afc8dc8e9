"""Print predictions: as lines for people, as CSV, as one JSON document per line, or all in one document."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from winnow.commands import console
from winnow.common.formatting import round_finite
from winnow.deploy.inference.model import Model
from winnow.deploy.inference.predict import Prediction, top_labels

MAX_LABEL_WIDTH = 32  # columns of the terminal
FIELDS = ("path", "label", "probability", "familiarity", "unfamiliar")
PROBLEM_FIELDS = ("problem", "problem_message")
Printer = Callable[[Prediction], None]


def prediction_document(model: Model, prediction: Prediction, top: int = 1) -> dict[str, Any]:
    """A prediction as JSON holds it; with `top` above 1 also the `top` most probable labels."""
    document = {name: getattr(prediction, name) for name in (*FIELDS, *PROBLEM_FIELDS)}
    document |= {name: round_finite(document[name]) for name in ("probability", "familiarity")}
    if top > 1:
        pairs = top_labels(model, prediction, top)
        document["top"] = [{"label": label, "probability": round_finite(probability)} for label, probability in pairs]
    return document


def format_csv_row(values: Iterable[object]) -> str:
    """A line of CSV with its line end; booleans are written as in JSON, None as an empty cell."""
    row = io.StringIO(newline="")
    cells = [str(value).lower() if isinstance(value, bool) else value for value in values]
    csv.writer(row, lineterminator="\n").writerow(cells)
    return row.getvalue()


# Each of these makes a printer. Parameters: `top`, labels per picture; `documents`, which only `json_printer` fills.


def json_printer(model: Model, top: int, documents: list[dict[str, Any]]) -> Printer:
    """Print nothing, and append each document to `documents`, for one document at the end."""
    return lambda prediction: documents.append(prediction_document(model, prediction, top))


def jsonl_printer(model: Model, top: int, documents: list[dict[str, Any]]) -> Printer:
    """Print one JSON document per line."""
    return lambda prediction: click.echo(json.dumps(prediction_document(model, prediction, top)))


def csv_printer(model: Model, top: int, documents: list[dict[str, Any]]) -> Printer:
    """Print CSV with a header; further labels have columns of their own."""
    extra = [f"{name}_{rank}" for rank in range(2, min(top, len(model.labels)) + 1) for name in FIELDS[1:3]]

    def print_row(prediction: Prediction) -> None:
        document = prediction_document(model, prediction, max(top, 2))
        others = [value for pair in document["top"][1:top] for value in pair.values()] or [None] * len(extra)
        row = [*(document[name] for name in FIELDS), *others, *(document[name] for name in PROBLEM_FIELDS)]
        click.echo(format_csv_row(row), nl=False)

    click.echo(format_csv_row([*FIELDS, *extra, *PROBLEM_FIELDS]), nl=False)
    return print_row


def text_printer(model: Model, top: int, documents: list[dict[str, Any]]) -> Printer:
    """Print one line per picture: labels, probabilities and familiarity in columns, then the whole path."""
    top = min(top, len(model.labels))
    width = min(MAX_LABEL_WIDTH, max(len("label"), *(cell_len(console.printable(label)) for label in model.labels)))

    def format_label(label: str, probability: str) -> str:
        text = console.printable(label)
        text = text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"
        return f"{set_cell_size(text, width)}  {probability:>11}  "

    def print_line(labels: str, familiarity: str, mark: str, path: str) -> None:
        click.echo(f"{labels}{familiarity:>11}  {mark:10}  {path}")

    def print_prediction(prediction: Prediction) -> None:
        path = console.printable(prediction.path)
        if prediction.problem is None:
            labels = "".join(format_label(label, f"{p:.3f}") for label, p in top_labels(model, prediction, top))
            mark = "unfamiliar" if prediction.unfamiliar else ""
            print_line(labels, f"{prediction.familiarity:.3f}", mark, path)
        else:
            problem = f"{prediction.problem}: {console.printable(prediction.problem_message or '')}"
            print_line(format_label("-", "") * top, "", "", f"{path}  {problem}")

    print_line(format_label("label", "probability") * top, "familiarity", "", "path")
    return print_prediction


PRINTERS = {"text": text_printer, "json": json_printer, "jsonl": jsonl_printer, "csv": csv_printer}

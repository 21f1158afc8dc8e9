"""How predictions are printed: a line each, CSV, a JSON document each, or all of them in one."""

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
from winnow.deploy.inference.predict import Prediction, best

WIDEST = 32  # columns of a terminal that a label may take
FIELDS = ("path", "label", "probability", "familiarity", "unfamiliar")
PROBLEM = ("problem", "problem_message")
Print = Callable[[Prediction], None]


def document(model: Model, found: Prediction, top: int = 1) -> dict[str, Any]:
    """A prediction as JSON can hold it, with `top` labels when more than one is asked for."""
    said = {name: getattr(found, name) for name in (*FIELDS, *PROBLEM)}
    said |= {name: round_finite(said[name]) for name in ("probability", "familiarity")}
    if top > 1:
        said["top"] = [{"label": label, "probability": round_finite(p)} for label, p in best(model, found, top)]
    return said


def csv_row(values: Iterable[object]) -> str:
    """A line of CSV with its end; truth is written as JSON does, None as nothing."""
    row = io.StringIO(newline="")
    plain = [str(value).lower() if isinstance(value, bool) else value for value in values]
    csv.writer(row, lineterminator="\n").writerow(plain)
    return row.getvalue()


def gathered(model: Model, top: int, rows: list[dict[str, Any]]) -> Print:
    """Prints nothing: the documents go into `rows`."""
    return lambda found: rows.append(document(model, found, top))


def lines_of_json(model: Model, top: int, rows: list[dict[str, Any]]) -> Print:
    """A JSON document a line."""
    return lambda found: click.echo(json.dumps(document(model, found, top)))


def table_of_csv(model: Model, top: int, rows: list[dict[str, Any]]) -> Print:
    """CSV with a header; further labels are in columns of their own."""
    extra = [f"{name}_{place}" for place in range(2, min(top, len(model.labels)) + 1) for name in FIELDS[1:3]]

    def show(found: Prediction) -> None:
        said = document(model, found, max(top, 2))
        others = [value for pair in said["top"][1:top] for value in pair.values()] or [None] * len(extra)
        row = [*(said[name] for name in FIELDS), *others, *(said[name] for name in PROBLEM)]
        click.echo(csv_row(row), nl=False)

    click.echo(csv_row([*FIELDS, *extra, *PROBLEM]), nl=False)
    return show


def lines(model: Model, top: int, rows: list[dict[str, Any]]) -> Print:
    """A line a picture: labels, probabilities and familiarity in columns, and last the path, however long it is."""
    top = min(top, len(model.labels))
    width = min(WIDEST, max(len("label"), *(cell_len(console.printable(label)) for label in model.labels)))

    def cell(label: str, probability: str) -> str:
        text = console.printable(label)
        text = text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"
        return f"{set_cell_size(text, width)}  {probability:>11}  "

    def line(labels: str, familiarity: str, mark: str, path: str) -> None:
        click.echo(f"{labels}{familiarity:>11}  {mark:10}  {path}")

    def show(found: Prediction) -> None:
        path = console.printable(found.path)
        if found.problem is None:
            labels = "".join(cell(label, f"{p:.3f}") for label, p in best(model, found, top))
            line(labels, f"{found.familiarity:.3f}", "unfamiliar" if found.unfamiliar else "", path)
        else:
            line(
                cell("-", "") * top,
                "",
                "",
                f"{path}  {found.problem}: {console.printable(found.problem_message or '')}",
            )

    line(cell("label", "probability") * top, "familiarity", "", "path")
    return show


PRINTERS = {"text": lines, "json": gathered, "jsonl": lines_of_json, "csv": table_of_csv}

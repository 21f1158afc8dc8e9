"""Render the metadata of an exported model as a model card: Markdown and YAML in the layout of Hugging Face."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

MAX_ROWS = 200  # classes in the table; the metadata of the file lists all
FEW_PICTURES = 20  # training pictures below which a class is named among the limitations
MAX_FEW = 10  # of such classes that are named
HARDEST = 3  # classes with the lowest F1 that are named

# Characters that may begin markup, or a link that GitHub makes of a bare address or a user name.
_MARKUP = re.compile(r"[\\&<>`*_\[\]|~$#!:@]|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;"}  # GitHub reads a doubled backslash as a formula


def render_card(metadata: dict[str, Any]) -> str:
    """The model card of a file, as Markdown.

    Parameters: `metadata`, that of the file with the JSON decoded. It may also hold `file`, the name of the file
    ("model.onnx"); `title`, the name of the pictures' folder; `split_rule`, how the pictures were split, in words;
    `classification_report`, as `heads.evaluation.metrics` returns it, on the test pictures. Labels and names are shown
    literally and never read as Markdown, HTML or YAML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from winnow.common.formatting import format_number, format_setting
    from winnow.deploy.onnx.parity import format_upper_bound

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"quoted": quoted, "code": code, "shell": lambda text: _printable(shlex.quote(text))}
    environment.filters |= {name: _as_markup(function) for name, function in filters.items()}
    environment.filters |= {"number": format_number, "setting": format_setting}
    content = {"file": "model.onnx", "title": None, "split_rule": None, "classification_report": None} | metadata
    counts, metrics, parity = content["training"]["classes"], content["metrics"], content["parity"]
    scores = {row["label"]: row for row in (content["classification_report"] or {}).get("classes", ())}
    tested = [row for row in scores.values() if row["support"]]
    evaluated_as = ("square", "fp32", metrics.get("tta", "none"))
    is_as_evaluated = (content["input"], content["precision"], content["tta"]) == evaluated_as
    body = environment.get_template("model_card.md.j2").render(
        content,
        is_as_evaluated=is_as_evaluated,
        score=metrics["weighted_f1"]["mean"] if is_as_evaluated else parity["weighted_f1"]["file"],
        largest_difference=format_upper_bound(parity["largest_difference"]),
        rows=[(label, counts.get(label, 0), scores.get(label)) for label in content["labels"][:MAX_ROWS]],
        few=[(label, count) for label, count in counts.items() if count < FEW_PICTURES][:MAX_FEW],
        hardest=sorted(tested, key=lambda row: row["f1-score"])[:HARDEST],
        more=max(len(content["labels"]) - MAX_ROWS, 0),
    )
    return f"{body}{_signature(body)}\n"


def is_untouched(file: Path) -> bool:
    """Whether a card is as it was written: its last line holds the digest of the lines before it."""
    body, _, last = file.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")
    return last == _signature(f"{body}\n")


def _signature(body: str) -> str:
    return f"<!-- winnow {hashlib.sha256(body.encode()).hexdigest()[:16]} -->"


def plain(text: str) -> str:
    """Text that Markdown shows literally, on one line; unprintable characters are written as escapes."""
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), _printable(text))


def code(text: str) -> str:
    """Text as a code span on one line, in a fence of more backticks than the text has in a row."""
    text = _printable(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def quoted(text: str) -> str:
    """Text in double quotes, as both YAML and Python read it."""
    text = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _as_markup(function: Any) -> Any:
    """A filter whose result enters the card without being escaped."""
    from markupsafe import Markup

    return lambda value: Markup(function(str(value)))

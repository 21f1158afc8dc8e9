"""The metadata of a fused file as a model card: Markdown in the layout of Hugging Face, its front matter YAML."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

CLASSES = 200  # rows of the table of classes; the file's metadata has them all
FEW = 20  # training pictures below which a class is named among the limits

# Characters that may begin markup, or a link that GitHub makes of a bare address or a name.
_MARKUP = re.compile(r"[\\&<>`*_\[\]|~$#!:@]|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;"}  # a doubled backslash begins a formula in places


def card(said: dict[str, Any]) -> str:
    """The model card of a file, from its metadata with the JSON decoded.

    Besides the metadata, `said` may have: `file`, the name of the file ("model.onnx"); `title`, that of the pictures'
    folder; `split_rule`, how they were divided, in words; `classification_report`, of `heads.evaluate`, on the test
    pictures. Labels and names are shown as they are and never read as Markdown, HTML or YAML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from winnow.common.formatting import format_number, format_setting
    from winnow.deploy.onnx.parity import at_most

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"quoted": quoted, "code": code, "shell": lambda text: _spelt(shlex.quote(text))}
    environment.filters |= {name: _whole(function) for name, function in filters.items()}
    environment.filters |= {"number": format_number, "setting": format_setting}
    given = {"file": "model.onnx", "title": None, "split_rule": None, "classification_report": None} | said
    counts = given["training"]["classes"]
    scores = {row["label"]: row for row in (given["classification_report"] or {}).get("classes", ())}
    f1, measured = given["metrics"]["weighted_f1"], given["parity"]["weighted_f1"]["file"]
    as_judged = ("square", "fp32", given["metrics"].get("tta", "none"))
    is_plain = (given["input"], given["precision"], given["tta"]) == as_judged
    body = environment.get_template("model_card.md.j2").render(
        given,
        is_plain=is_plain,
        score=f1["mean"] if is_plain else measured,
        apart=at_most(given["parity"]["largest_difference"]),
        rows=[(label, counts.get(label, 0), scores.get(label)) for label in given["labels"][:CLASSES]],
        few=[(label, n) for label, n in counts.items() if n < FEW][:10],
        hardest=sorted((row for row in scores.values() if row["support"]), key=lambda row: row["f1-score"])[:3],
        more=max(len(given["labels"]) - CLASSES, 0),
    )
    return f"{body}{_signature(body)}\n"


def is_untouched(file: Path) -> bool:
    """Whether a card is still as it was written: its last line holds the digest of the others."""
    body, _, last = file.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")
    return last == _signature(f"{body}\n")


def _signature(body: str) -> str:
    return f"<!-- winnow {hashlib.sha256(body.encode()).hexdigest()[:16]} -->"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line; what is not printable is spelt out."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), _spelt(text))


def code(text: str) -> str:
    """Text as a code span of one line, in a fence of more backticks than it has."""
    text = _spelt(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def quoted(text: str) -> str:
    """Text in double quotes, as both YAML and Python read it."""
    text = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def _spelt(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _whole(function: Any) -> Any:
    """A filter whose text goes into the card as it is."""
    from markupsafe import Markup

    return lambda value: Markup(function(str(value)))

"""What a terminal shows."""

from __future__ import annotations

import io
import re

import pytest

import console

HEAD = {
    "weighted_f1": {"mean": 0.912, "low": 0.9, "high": 0.924},
    "versus_chosen": None,
    "macro_f1": 0.91,
    "accuracy": 0.913,
    "log_loss": 0.3,
    "val_weighted_f1": 0.9,
    "fit_seconds": 1.25,
    "predict_seconds": 0.004,
}
DATA = {"repeats": 10, "pictures": 1000, "classes": ["a", "b"], "split_rule": "70/15/15"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_comparison_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    other = HEAD | {"versus_chosen": {"difference": -0.014, "p": 0.4}}
    console.comparison([HEAD | {"name": "svm-rbf"}, other | {"name": "a head with a very long name " * 3}], DATA)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "svm-rbf" in text
    assert "0.912" in text
    assert "0.900-0.924" in text
    assert "-0.014 n.s." in text
    assert ("macro F1" in text) == (width >= 124)


def test_names_cannot_speak_to_the_terminal() -> None:
    assert console.shown("a\nb\x1b[31m\u202e\udce9") == "a\\nb\\x1b[31m\\u202e\\udce9"
    assert console.shown("Blüte 🌻") == "Blüte 🌻"


def test_lines_of_progress_start_their_clock_with_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("console.time.monotonic", lambda: now)
    with console.progress("Embedding") as told:
        now = 200.0  # something else took a while
        told(10, 100)
        now = 206.0
        told(70, 100)
        told(100, 100)
    assert capsys.readouterr().err == "Embedding: 70 of 100, 10/s, 3 s left\n"

"""What a terminal shows."""

from __future__ import annotations

import io
import re
import sys

import pytest

from winnow.commands import console, progress, results

HEAD = {
    "weighted_f1": {"mean": 0.912, "low": 0.9, "high": 0.924},
    "versus_chosen": None,
    "macro_f1": 0.91,
    "accuracy": 0.913,
    "log_loss": 0.3,
    "ece": 0.041,
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
    results.print_comparison([HEAD | {"name": "svm-rbf"}, other | {"name": "a head with a very long name " * 3}], DATA)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "svm-rbf" in text
    assert "0.912" in text
    assert "0.900-0.924" in text
    assert "-0.014 n.s." in text
    assert ("macro F1" in text) == (width >= 124)
    assert ("0.041" in text) == (width >= 100)


def test_the_learning_curve_is_a_line_a_size_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    f1 = {"mean": 0.9, "low": 0.88, "high": 0.92}
    sizes = [{"pictures": n, "share": n / 1400, "weighted_f1": f1} for n in (140, 1400)]
    results.print_learning_curve({"head": "lda", "sizes": sizes, "guess": None, "reason": "two splits at least"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "0.880" in line] == [
        ["140", "0.900", "0.880-0.920"],
        ["1,400", "0.900", "0.880-0.920"],
    ]
    assert lines[-1] == "lda on 1,400 training pictures: 0.900; no guess at twice as many: two splits at least"


def test_names_cannot_speak_to_the_terminal() -> None:
    assert console.printable("a\nb\x1b[31m\u202e\udce9") == "a\\nb\\x1b[31m\\u202e\\udce9"
    assert console.printable("Blüte 🌻") == "Blüte 🌻"


def test_lines_of_progress_start_their_clock_with_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("winnow.commands.progress.time.monotonic", lambda: now)
    with progress.show_progress("Embedding") as told:
        now = 200.0  # something else took a while
        told(10, 100)
        now = 206.0
        told(70, 100)
        told(100, 100)
    assert capsys.readouterr().err == "Embedding: 70 of 100, 10/s, 3 s left\n"


def test_a_bar_leaves_the_terminal_alone_until_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    plain = sys.stderr
    with progress._bar("Embedding maps") as told:
        assert sys.stderr is plain  # what is asked here stands there as it is
        told(1, 2)
        assert sys.stderr is not plain
    assert sys.stderr is plain
    with progress._bar("Nothing to do"):
        pass
    assert sys.stderr is plain

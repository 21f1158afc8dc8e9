"""Progress: lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import sys

import pytest

from winnow.commands import progress


def test_lines_of_progress_start_their_clock_with_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("winnow.commands.progress.time.monotonic", lambda: now)
    with progress.show_progress("Embedding") as on_progress:
        now = 200.0  # something else took a while
        on_progress(10, 100)
        now = 206.0
        on_progress(70, 100)
        on_progress(100, 100)
    assert capsys.readouterr().err == "Embedding: 70 of 100, 10/s, 3 s left\n"


def test_a_bar_leaves_the_terminal_alone_until_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    plain = sys.stderr
    with progress._bar("Embedding maps") as on_progress:
        assert sys.stderr is plain  # a question asked here is not garbled
        on_progress(1, 2)
        assert sys.stderr is not plain
    assert sys.stderr is plain
    with progress._bar("Nothing to do"):
        pass
    assert sys.stderr is plain


def test_the_reporter_knows_the_command_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/winnow", "scan", "my photos"])
    assert progress.reporter().command == "winnow scan 'my photos'"

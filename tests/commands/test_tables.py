"""Tables fit the terminal, and hide nothing that tells two rows apart."""

from __future__ import annotations

from typing import Any

import pytest
from support.terminal import printed_lines

from winnow.commands.tables import Column, print_table

ROWS = [(f"{name}.jpg", "daisy", "0.912") for name in ("a", "b")]
COLUMNS = ("path", Column("label", 60), "score")


def table(*arguments: Any, width: int = 40, **settings: Any) -> list[str]:
    return printed_lines(lambda: print_table(*arguments, **settings), width)


def test_a_long_cell_is_wrapped_and_complete() -> None:
    names = ["settings of a head with a long name, 0.01", "settings of a head with a long name, 0.1"]
    rows = [(name, "0.912", "0.900-0.924") for name in names]
    lines = table(("head", "weighted F1", "95% interval"), rows, width=50)
    assert max(map(len, lines)) <= 50
    column = lines[1].index("weighted")  # where the second column begins
    first_column = "".join("".join(line[:column].split()) for line in lines)
    assert first_column.endswith("".join("".join(names).split()))


def test_long_cells_in_other_columns_are_wrapped_too() -> None:
    lines = table(("path", "label"), [("daisy/1.jpg", "a label of many words " * 3)])
    assert max(map(len, lines)) <= 40
    assert sum("many words" in line for line in lines) == 3


def test_wide_characters_count_twice() -> None:
    lines = table(("path", "label", "score"), [("花" * 30, "菊", "0.912")])
    assert max(len(line) + line.count("花") + line.count("菊") for line in lines) <= 40


def test_a_column_can_need_a_wider_terminal() -> None:
    assert "daisy" not in "\n".join(table(COLUMNS, ROWS, width=59))
    assert "daisy" in "\n".join(table(COLUMNS, ROWS, width=60))


def test_a_piped_table_follows_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, ROWS)
    assert "daisy" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "50")
    print_table(COLUMNS, ROWS)
    assert "daisy" not in capsys.readouterr().out


def test_the_best_row_has_a_star() -> None:
    lines = table(("path", "label", "score"), ROWS, best=1)
    rows = [line.split() for line in lines if ".jpg" in line]
    assert rows == [["a.jpg", "daisy", "0.912"], ["*", "b.jpg", "daisy", "0.912"]]

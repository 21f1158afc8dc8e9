"""Spellings of version 0.1.0 that still work in this release, each with a note that names the new one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from winnow.embed.config import TTA_OF_0_1_0
from winnow.heads.kinds import current_kind

RENAMED_OPTIONS = {"--views": "--augment", "--test-views": "--tta"}
CURRENT_VALUE: dict[str, Callable[[str], str]] = {
    "--tta": lambda name: TTA_OF_0_1_0.get(name, name),
    "--head": current_kind,
    "--heads": current_kind,
}
NOTE = "note: {} is now {}; the old name goes with the next release"


def replace_old_spellings(args: Sequence[str], options: Collection[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command in today's spelling, and a note for each that was replaced.

    Parameters: `options`, the names of the options that the command has.
    """
    updated: list[str] = []
    notes: list[str] = []
    remaining = iter(args)
    for word in remaining:
        if word == "--":
            return [*updated, word, *remaining], notes
        name, equals, value = word.partition("=")
        option = RENAMED_OPTIONS.get(name, name)
        if option not in options or (option == name and name not in CURRENT_VALUE):
            updated.append(word)
            continue
        if option != name:
            notes.append(NOTE.format(name, option))
        values = [value] if equals else [following for following in (next(remaining, None),) if following is not None]
        renamed = [_rename_values(option, text, notes) for text in values]
        updated += [f"{option}={renamed[0]}"] if equals else [option, *renamed]
    return updated, notes


def _rename_values(option: str, text: str, notes: list[str]) -> str:
    """The values of an option, separated by commas, by their current names."""
    current_value = CURRENT_VALUE.get(option, str)
    values = text.split(",")
    renamed = [current_value(value) for value in values]
    notes += [NOTE.format(f"{option} {old}", new) for old, new in zip(values, renamed, strict=True) if old != new]
    return ",".join(renamed)

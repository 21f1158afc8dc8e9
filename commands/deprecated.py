"""Spellings of version 0.1.0 that still work in this release, each with a note that names the new one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from winnow.embed.config import TTA_OF_0_1_0

RENAMED_OPTIONS = {"--views": "--augment", "--test-views": "--tta"}
RENAMED_VALUES = {"--tta": TTA_OF_0_1_0, "--head": {"tail": "finetune"}, "--heads": {"tail": "finetune"}}
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
        if option not in options or (option == name and name not in RENAMED_VALUES):
            updated.append(word)
            continue
        if option != name:
            notes.append(NOTE.format(name, option))
        values = [value] if equals else [following for following in (next(remaining, None),) if following is not None]
        renamed = [_rename_values(option, text, notes) for text in values]
        updated += [f"{option}={renamed[0]}"] if equals else [option, *renamed]
    return updated, notes


def _rename_values(option: str, text: str, notes: list[str]) -> str:
    renamed = RENAMED_VALUES.get(option, {})
    values = text.split(",")
    notes += [
        NOTE.format(f"{option} {value}", renamed[value]) for value in values if renamed.get(value, value) != value
    ]
    return ",".join(renamed.get(value, value) for value in values)

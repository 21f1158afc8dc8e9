"""What was done with the App's own tools, tags and deletions, as verdicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from winnow.curate.journal import REASONS, Decision, Line

LABEL = "label:"  # what a tag begins with when the rest is a label, known or new


class Picture(NamedTuple):
    """A picture in the App; one id may have several paths, and so several of these."""

    id: str
    path: str
    score: float | None = None  # off_topic
    tags: Sequence[str] = ()


@dataclass
class Found:
    """What tags and deletions come to."""

    decisions: list[Decision] = field(default_factory=list)  # those to be recorded, one an id
    read: dict[str, list[str]] = field(default_factory=dict)  # id -> the tags that were understood
    strange: dict[str, int] = field(default_factory=dict)  # tag that is no verdict -> pictures that have it
    contradictory: list[str] = field(default_factory=list)  # paths of pictures whose tags say several things
    copies: list[str] = field(default_factory=list)  # paths deleted while a copy of the picture is still there


def meaning(tag: str, labels: Collection[str]) -> tuple[str, str | None, str | None] | None:
    """(verdict, reason, label) that a tag stands for, None when it stands for none.

    "drop" or the name of a reason, "keep", "label:NAME", or a known label; the words before a label of the same name.
    """
    word = tag.strip().casefold()
    if word == "drop":
        return "drop", REASONS[0], None
    if word in REASONS:
        return "drop", word, None
    if word == "keep":
        return "keep", None, None
    if word.startswith(LABEL) and tag.strip()[len(LABEL) :].strip():
        return "relabel", None, tag.strip()[len(LABEL) :].strip()
    return ("relabel", None, tag) if tag in labels else None


def read(
    pictures: Iterable[Picture], deleted: Iterable[Picture], labels: Collection[str], holding: dict[str, Line]
) -> Found:
    """Tags of the pictures that are there, and those that are gone, as decisions.

    Parameters: `labels`, the known ones; `holding`, id -> the verdict that holds, which is not recorded again.
    """
    found = Found()
    here: dict[str, list[Picture]] = {}
    for picture in pictures:
        here.setdefault(picture.id, []).append(picture)
    for copies in here.values():
        _read_tags(copies, labels, holding, found)
    gone: dict[str, Picture] = {}
    for picture in deleted:
        if picture.id in here:
            found.copies.append(picture.path)
        else:
            gone.setdefault(picture.id, picture)
    for picture in gone.values():
        if picture.id not in holding or holding[picture.id].verdict != "drop":
            found.decisions.append(Decision(picture.id, picture.path, "drop", "other", None, picture.score))
    return found


def _read_tags(copies: list[Picture], labels: Collection[str], holding: dict[str, Line], found: Found) -> None:
    first = copies[0]
    said: dict[str, tuple[str, str | None, str | None]] = {}
    for tag in dict.fromkeys(tag for picture in copies for tag in picture.tags):
        told = meaning(tag, labels)
        if told is None:
            found.strange[tag] = found.strange.get(tag, 0) + 1
        else:
            said[tag] = told
    verdicts = set(said.values())
    if {verdict for verdict, _, _ in verdicts} == {"drop"} and len(verdicts) > 1:
        verdicts.discard(("drop", REASONS[0], None))  # "drop" beside the name of a reason says less than that
    if len(verdicts) > 1:
        found.contradictory.append(first.path)
    elif verdicts:
        verdict, reason, label = verdicts.pop()
        found.read[first.id] = list(said)
        now = holding.get(first.id)
        if now is None or (now.verdict, now.reason, now.label) != (verdict, reason, label):
            found.decisions.append(Decision(first.id, first.path, verdict, reason, label, first.score))

"""Tags and deletions made with the App's own tools, read as verdicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from winnow.curate.journal import REASONS, Decision, Line

LABEL = "label:"  # prefix of a tag that names a label, known or new


@dataclass(frozen=True)
class Picture:
    """A picture in the App; an id with several paths is several of these. The score is its off-topic score."""

    id: str
    path: str
    score: float | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class TagVerdict:
    """The verdict that a tag stands for; the fields are those of `journal.Decision`."""

    verdict: str
    reason: str | None = None
    label: str | None = None


@dataclass
class TagActions:
    """What the tags and deletions amount to.

    decisions : verdicts to record, at most one per id.
    understood : id -> its tags that stand for a verdict.
    unknown : tag that stands for no verdict -> pictures that have it.
    contradictory : paths of pictures whose tags stand for different verdicts.
    deleted_copies : deleted paths of pictures of which another copy is still there.
    """

    decisions: list[Decision] = field(default_factory=list)
    understood: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    contradictory: list[str] = field(default_factory=list)
    deleted_copies: list[str] = field(default_factory=list)


def parse_tag(tag: str, labels: Collection[str]) -> TagVerdict | None:
    """Return the verdict that a tag stands for, None when it stands for none.

    A tag is "drop", the name of a reason, "keep", "label:NAME", or a known label. The fixed words win over a label of
    the same name.
    """
    word = tag.strip().casefold()
    if word == "drop":
        return TagVerdict("drop", REASONS[0])
    if word in REASONS:
        return TagVerdict("drop", word)
    if word == "keep":
        return TagVerdict("keep")
    if word.startswith(LABEL) and (name := tag.strip()[len(LABEL) :].strip()):
        return TagVerdict("relabel", label=name)
    return TagVerdict("relabel", label=tag) if tag in labels else None


def read_actions(
    pictures: Iterable[Picture], deleted: Iterable[Picture], labels: Collection[str], verdicts: Mapping[str, Line]
) -> TagActions:
    """Turn the tags of pictures, and deleted pictures, into decisions.

    A picture is dropped when all of its copies are deleted.
    Parameters: `labels`, the known ones; `verdicts`, id -> the current verdict, which is not recorded again.
    """
    actions = TagActions()
    copies_by_id: dict[str, list[Picture]] = {}
    for picture in pictures:
        copies_by_id.setdefault(picture.id, []).append(picture)
    for copies in copies_by_id.values():
        _read_tags(copies, labels, verdicts, actions)
    deleted_by_id: dict[str, Picture] = {}
    for picture in deleted:
        if picture.id in copies_by_id:
            actions.deleted_copies.append(picture.path)
        else:
            deleted_by_id.setdefault(picture.id, picture)
    for picture in deleted_by_id.values():
        if picture.id not in verdicts or verdicts[picture.id].verdict != "drop":
            actions.decisions.append(Decision(picture.id, picture.path, "drop", "other", None, picture.score))
    return actions


def _read_tags(
    copies: list[Picture], labels: Collection[str], verdicts: Mapping[str, Line], actions: TagActions
) -> None:
    """Add what the tags of all copies of one picture stand for to `actions`."""
    first = copies[0]
    understood: dict[str, TagVerdict] = {}
    for tag in dict.fromkeys(tag for picture in copies for tag in picture.tags):
        parsed = parse_tag(tag, labels)
        if parsed is None:
            actions.unknown[tag] = actions.unknown.get(tag, 0) + 1
        else:
            understood[tag] = parsed
    choices = set(understood.values())
    if {choice.verdict for choice in choices} == {"drop"} and len(choices) > 1:
        choices.discard(TagVerdict("drop", REASONS[0]))  # a tag that names a reason is more precise than "drop"
    if len(choices) > 1:
        actions.contradictory.append(first.path)
    elif choices:
        choice = choices.pop()
        actions.understood[first.id] = list(understood)
        current = verdicts.get(first.id)
        if current is None or TagVerdict(current.verdict, current.reason, current.label) != choice:
            decision = Decision(first.id, first.path, choice.verdict, choice.reason, choice.label, first.score)
            actions.decisions.append(decision)

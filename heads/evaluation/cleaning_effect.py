"""The effect of cleaning the training images: the same heads, splits and test images, trained before and after it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from winnow.heads.evaluation.fit import Fit, HeadSpec, Split
from winnow.heads.evaluation.head_scores import f1_difference, mean_sizes
from winnow.heads.evaluation.metrics import PairedDifference


@dataclass(frozen=True)
class DatasetChanges:
    """How many images the verdicts dropped, added and relabelled, and whether whole classes came or went."""

    dropped: int
    added: int
    relabelled: int
    classes_changed: bool

    def describe(self) -> str:
        """`dropping 31, relabelling 2`."""
        counts = {"dropping": self.dropped, "relabelling": self.relabelled, "adding": self.added}
        return ", ".join(f"{verb} {count}" for verb, count in counts.items() if count) or "no change"


@dataclass(frozen=True)
class BeforeAfter:
    """Mean test weighted F1 of a head trained before and after cleaning; difference: after minus before."""

    before: float
    after: float
    difference: PairedDifference

    def to_json(self) -> dict[str, float]:
        """{before, after, difference, low, high, p}."""
        return {"before": self.before, "after": self.after} | self.difference.to_json()

    @classmethod
    def from_json(cls, document: dict[str, float]) -> BeforeAfter:
        """The inverse of `to_json`."""
        difference = PairedDifference(*(document[name] for name in ("difference", "low", "high", "p")))
        return cls(document["before"], document["after"], difference)


@dataclass(frozen=True)
class HeadEffect:
    """The effect of cleaning on one head, on the test images as found and on those as decided."""

    name: str
    as_found: BeforeAfter
    as_decided: BeforeAfter


@dataclass(frozen=True)
class CleaningEffect:
    """The effect of cleaning on each head, the best by mean weighted F1 on val after cleaning first."""

    repeats: int
    heads: list[HeadEffect]
    changes: DatasetChanges

    def to_json(self) -> dict[str, Any]:
        """{repeats, heads [{name, as_found, as_decided}], dropped, added, relabelled, classes_changed}."""
        heads = [
            {"name": head.name, "as_found": head.as_found.to_json(), "as_decided": head.as_decided.to_json()}
            for head in self.heads
        ]
        return {"repeats": self.repeats, "heads": heads} | asdict(self.changes)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> CleaningEffect:
        """The inverse of `to_json`."""
        heads = [
            HeadEffect(head["name"], *(BeforeAfter.from_json(head[test]) for test in ("as_found", "as_decided")))
            for head in document["heads"]
        ]
        names = ("dropped", "added", "relabelled", "classes_changed")
        return cls(document["repeats"], heads, DatasetChanges(*(document[name] for name in names)))

    def describe(self) -> str:
        """One sentence about the first head, in points of weighted F1.

        The score is on the test images as found, with the labels as found. Where labels changed, the score on those as
        decided is added; where whole classes came or went, it is the only one: no head could be right on the others.
        """
        best, changes = self.heads[0], self.changes
        row = (best.as_decided if changes.classes_changed else best.as_found).difference
        sentence = f"{changes.describe()}: {row.describe_points()} of weighted F1 ({best.name})"
        if changes.classes_changed:
            sentence += " on the test pictures as decided, because classes came or went"
        elif changes.relabelled:
            sentence += f", {best.as_decided.difference.describe_points()} on the test pictures as decided"
        return sentence + row.describe_conclusion()


def measure_cleaning(
    heads: list[HeadSpec],
    before: list[list[Fit]],
    after: list[list[Fit]],
    splits_before: list[Split],
    splits_after: list[Split],
    changes: DatasetChanges,
) -> CleaningEffect:
    """Compare heads trained before and after cleaning: before[head][split], after[head][split].

    `test` of before and `second_test` of after are the test images as found; `second_test` of before and `test` of
    after those as decided. Intervals and p: see `head_scores.f1_difference`.
    """
    sizes = mean_sizes(splits_after)[0], mean_sizes(splits_before)[1]
    effects = [
        HeadEffect(
            head.name,
            as_found=_before_after(b, "test", a, "second_test", sizes),
            as_decided=_before_after(b, "second_test", a, "test", sizes),
        )
        for head, b, a in zip(heads, before, after, strict=True)
    ]
    val = [np.mean([fit.metrics["val"]["weighted_f1"] for fit in fits]) for fits in after]
    order = np.argsort(-np.array(val), kind="stable")
    return CleaningEffect(len(splits_after), [effects[h] for h in order], changes)


def _before_after(
    before: list[Fit], part_before: str, after: list[Fit], part_after: str, sizes: tuple[float, float]
) -> BeforeAfter:
    mean_before, mean_after = (
        float(np.mean([fit.metrics[part]["weighted_f1"] for fit in fits]))
        for fits, part in ((before, part_before), (after, part_after))
    )
    return BeforeAfter(mean_before, mean_after, f1_difference(after, before, sizes, part_after, part_before))

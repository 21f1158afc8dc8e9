"""What cleaning the training pictures bought: the same heads, splits and test pictures, trained before and after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from winnow.heads.evaluation import metrics
from winnow.heads.evaluation.fit import Fit, HeadSpec, Split


def summary(
    heads: list[HeadSpec],
    before: list[list[Fit]],
    after: list[list[Fit]],
    splits_before: list[Split],
    splits_after: list[Split],
) -> dict[str, Any]:
    """{heads: [{name, as_found, as_decided}]}, the best by mean weighted F1 on the val part after cleaning first.

    before, after: fits[head][repeat] of heads trained before and after cleaning. `test` of before and `also` of after
    are the test pictures as found; `also` of before and `test` of after those as decided. Each of as_found and
    as_decided is {before, after, difference, low, high, p}: mean test weighted F1, after minus before with its 95%
    interval, by the corrected resampled t-test (`evaluate.paired`), or with one split by a bootstrap over its test
    pictures.
    """
    n_train = float(np.mean([len(split.train) for split in splits_after]))
    n_test = float(np.mean([len(split.test) for split in splits_before]))
    rows = [
        {
            "name": head.name,
            "as_found": _paired(b, "test", a, "also", n_train, n_test),
            "as_decided": _paired(b, "also", a, "test", n_train, n_test),
        }
        for head, b, a in zip(heads, before, after, strict=True)
    ]
    val = [np.mean([fit.metrics["val"]["weighted_f1"] for fit in fits]) for fits in after]
    return {"repeats": len(splits_after), "heads": [rows[h] for h in np.argsort(-np.array(val), kind="stable")]}


def _paired(
    before: list[Fit], part_before: str, after: list[Fit], part_after: str, n_train: float, n_test: float
) -> dict[str, float]:
    b, a = (
        np.array([fit.metrics[part]["weighted_f1"] for fit in fits])
        for fits, part in ((before, part_before), (after, part_after))
    )
    if len(a) > 1:
        difference = metrics.paired(a, b, n_train, n_test)
    else:
        drawn = metrics.bootstrap_f1(after[0].y[part_after], after[0].proba[part_after])
        drawn = drawn - metrics.bootstrap_f1(before[0].y[part_before], before[0].proba[part_before])
        low, high = metrics.bootstrap_interval(drawn)
        p = metrics.bootstrap_p(drawn)
        difference = {"difference": float(a[0] - b[0]), "low": low, "high": high, "p": p}
    return {"before": float(b.mean()), "after": float(a.mean())} | difference


def in_words(said: dict[str, Any]) -> str:
    """One sentence of what `summary` found, of its first head, in points of weighted F1.

    On the test pictures as found, which have the labels as found; beside it on those as decided where labels changed,
    and only on these when whole classes came or went: then no head could be right on the others.
    """
    best, classes = said["heads"][0], said["classes_changed"]
    what = [
        f"{verb} {said[name]}"
        for name, verb in (("dropped", "dropping"), ("relabelled", "relabelling"), ("added", "adding"))
        if said[name]
    ]
    row = best["as_decided" if classes else "as_found"]
    sentence = f"{', '.join(what) or 'no change'}: {in_points(row)} of weighted F1 ({best['name']})"
    if classes:
        sentence += " on the test pictures as decided, for classes came or went"
    elif said["relabelled"]:
        sentence += f", {in_points(best['as_decided'])} on the test pictures as decided"
    if row["low"] > 0:
        return sentence
    return f"{sentence}: {'it made it worse' if row['high'] < 0 else 'no clear gain'}"


def in_points(row: dict[str, float]) -> str:
    """A paired difference with its interval, in points of weighted F1: `+0.4 points [−0.5, +1.3]`."""
    return f"{_points(row['difference'])} points [{_points(row['low'])}, {_points(row['high'])}]"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")

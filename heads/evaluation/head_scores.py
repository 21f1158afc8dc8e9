"""From fits on splits to scores of heads: means with confidence intervals, paired tests, and a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.heads.evaluation import metrics
from winnow.heads.evaluation.fit import Fit, HeadSpec, Split
from winnow.heads.evaluation.metrics import Interval, PairedDifference, ReliabilityBins


@dataclass(frozen=True)
class HeadScores:
    """The scores of one head over all splits.

    weighted_f1: on test, with its interval. val_weighted_f1: mean on val. macro_f1, accuracy, log_loss: means on test.
    ece, reliability: of the test predictions of all splits. fit_seconds, predict_seconds: means.
    versus_chosen: test weighted F1 of this head minus that of the chosen one; None for the chosen one itself.
    """

    name: str
    kind: str
    params: dict[str, Any]
    weighted_f1: Interval
    val_weighted_f1: float
    macro_f1: float
    accuracy: float
    log_loss: float
    ece: float
    reliability: ReliabilityBins
    fit_seconds: float
    predict_seconds: float
    versus_chosen: PairedDifference | None

    @property
    def spec(self) -> HeadSpec:
        """The head that was scored."""
        return HeadSpec(self.name, self.kind, self.params)

    @property
    def seconds(self) -> float:
        """Seconds to fit and to predict."""
        return self.fit_seconds + self.predict_seconds

    def to_json(self) -> dict[str, Any]:
        """The fields and `seconds`; intervals, differences and reliability as dicts."""
        return {
            "name": self.name,
            "kind": self.kind,
            "params": self.params,
            "weighted_f1": self.weighted_f1.to_json(),
            "val_weighted_f1": self.val_weighted_f1,
            "macro_f1": self.macro_f1,
            "accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "ece": self.ece,
            "reliability": self.reliability.to_json(),
            "fit_seconds": self.fit_seconds,
            "predict_seconds": self.predict_seconds,
            "seconds": self.seconds,
            "versus_chosen": self.versus_chosen and self.versus_chosen.to_json(),
        }


def rank_heads(heads: list[HeadSpec], fits: list[list[Fit]], splits: list[Split]) -> list[HeadScores]:
    """Score heads, ordered by their mean weighted F1 on val; the first is the chosen one. fits[head][split]."""
    sizes = mean_sizes(splits)
    val = [_mean(head_fits, "weighted_f1", "val") for head_fits in fits]
    order = sorted(range(len(heads)), key=lambda h: -val[h])
    chosen = fits[order[0]]
    return [
        _score(heads[h], fits[h], None if h == order[0] else f1_difference(fits[h], chosen, sizes), sizes)
        for h in order
    ]


def mean_sizes(splits: list[Split]) -> tuple[float, float]:
    """Mean number of images in train and in test."""
    n_train, n_test = (float(np.mean([len(getattr(split, part)) for split in splits])) for part in ("train", "test"))
    return n_train, n_test


def f1_interval(fits: list[Fit], sizes: tuple[float, float]) -> Interval:
    """Mean weighted F1 on test with its 95% interval. sizes: as `mean_sizes` returns them.

    Over two or more splits the interval is that of the corrected resampled t-test (`metrics.corrected_interval`); with
    one split, of a bootstrap over its test images.
    """
    if len(fits) > 1:
        return metrics.corrected_interval(_f1(fits, "test"), *sizes)
    low, high = metrics.bootstrap_interval(_bootstrap(fits, "test"))
    return Interval(float(_f1(fits, "test")[0]), low, high)


def f1_difference(
    fits: list[Fit], baseline: list[Fit], sizes: tuple[float, float], part: str = "test", baseline_part: str = "test"
) -> PairedDifference:
    """Weighted F1 of fits minus that of baseline, on the same splits; tested as `f1_interval` computes intervals.

    part, baseline_part: the parts of the split that hold the same test images for each of the two.
    """
    f1, baseline_f1 = _f1(fits, part), _f1(baseline, baseline_part)
    if len(fits) > 1:
        return metrics.paired(f1, baseline_f1, *sizes)
    resampled = _bootstrap(fits, part) - _bootstrap(baseline, baseline_part)
    low, high = metrics.bootstrap_interval(resampled)
    return PairedDifference(float(f1[0] - baseline_f1[0]), low, high, metrics.bootstrap_p(resampled))


def _score(
    head: HeadSpec, fits: list[Fit], versus_chosen: PairedDifference | None, sizes: tuple[float, float]
) -> HeadScores:
    reliability = metrics.pool_bins([fit.reliability for fit in fits])
    return HeadScores(
        name=head.name,
        kind=head.kind,
        params=head.params,
        weighted_f1=f1_interval(fits, sizes),
        val_weighted_f1=_mean(fits, "weighted_f1", "val"),
        macro_f1=_mean(fits, "macro_f1", "test"),
        accuracy=_mean(fits, "accuracy", "test"),
        log_loss=_mean(fits, "log_loss", "test"),
        ece=metrics.ece(reliability),
        reliability=reliability,
        fit_seconds=float(np.mean([fit.fit_seconds for fit in fits])),
        predict_seconds=float(np.mean([fit.predict_seconds for fit in fits])),
        versus_chosen=versus_chosen,
    )


def _mean(fits: list[Fit], metric: str, part: str) -> float:
    return float(np.mean([fit.metrics[part][metric] for fit in fits]))


def _f1(fits: list[Fit], part: str) -> np.ndarray:
    return np.array([fit.metrics[part]["weighted_f1"] for fit in fits])


def _bootstrap(fits: list[Fit], part: str) -> np.ndarray:
    return metrics.bootstrap_f1(fits[0].y[part], fits[0].proba[part])

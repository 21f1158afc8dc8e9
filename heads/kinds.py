"""The kinds of heads and the choices for their options. Nothing is imported here: the command line starts quickly."""

from __future__ import annotations

DEFAULT_HEADS = ("dense", "dummy", "centroid", "knn", "logistic", "svm-linear", "svm-rbf", "lda", "forest", "mlp")
ONLY_NAMED = ("triplet", "supcon", "finetune")  # not compared unless they are named
HEADS = (*DEFAULT_HEADS, *ONLY_NAMED)
SCHEDULES = ("constant", "step", "exponential", "cosine", "plateau", "one-cycle")  # of `models.schedules.SCHEDULES`
CALIBRATIONS = ("none", "sigmoid", "isotonic", "temperature")  # of `models.baselines.CALIBRATIONS`
MONITORS = ("loss", "accuracy", "weighted_f1")  # of `models.dense_training.MONITORED`
_FORMER_KINDS = {"tail": "finetune"}  # in runs, models and grid files of version 0.1.0


def current_kind(kind: str) -> str:
    """The current name of a kind of head; names of earlier versions are translated, all others are returned as is."""
    return _FORMER_KINDS.get(kind, kind)

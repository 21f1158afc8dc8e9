"""The document of a run as the report reads it: the keys of `metrics.json`.

The file is a format: a key may be added, and none of these may be renamed or removed. Numbers that JSON cannot hold
(NaN, infinity) are null in the file.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class ScoreInterval(TypedDict):
    """A mean over the splits with its 95% interval."""

    mean: float
    low: float
    high: float


class PairedDifference(TypedDict):
    """The weighted F1 of one head minus that of another on the same splits, with a 95% interval and a p-value."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None


class ReliabilityBins(TypedDict):
    """Test predictions of all splits in B bins of their probability; each list has B values."""

    confidence: list[float]  # mean probability of the predictions in the bin
    accuracy: list[float]  # share of them that is correct
    count: list[int]


class ShownFit(TypedDict):
    """The fit of a head on one split, of which the report shows curves and matrices."""

    repeat: int  # number of the split, from 0
    confusion: dict[str, list[list[int]]]  # "train", "test" -> (C, C) counts, rows are true classes
    classification_report: dict[str, Any]  # on test: classes [{label, precision, …}], "macro avg", …, accuracy
    history: dict[str, list[float]] | None  # quantity ("loss", "val_loss", "lr", …) -> one value per epoch
    best_epoch: int | None  # from 0


class HeadRow(TypedDict):
    """One compared head: its scores are means over the splits, on test unless the name says val."""

    name: str
    kind: str
    params: dict[str, Any]
    chosen: bool  # has the best val_weighted_f1; it is the first row
    weighted_f1: ScoreInterval
    val_weighted_f1: float
    macro_f1: float
    accuracy: float
    log_loss: float
    ece: float  # expected calibration error
    reliability: ReliabilityBins
    fit_seconds: float
    predict_seconds: float
    seconds: float  # the sum of both
    versus_chosen: PairedDifference | None  # None for the chosen head
    shown: ShownFit


class DataSection(TypedDict):
    """The pictures that the heads are trained and tested on."""

    images: str  # the folder
    pictures: int
    classes: list[str]  # in the order of the confusion matrices
    splits: dict[str, dict[str, int]]  # "train", "val", "test" -> class -> pictures, of the first split
    repeats: int  # number of splits
    split_rule: str  # a phrase, as "70/15/15, stratified by class, seed 0 to 9; duplicates kept together"
    found: NotRequired[int]
    dropped: NotRequired[int]
    relabelled: NotRequired[int]
    left_out: dict[str, int]  # class with too few pictures -> how many
    problems: list[dict[str, str]]  # files that could not be read: path, code, message
    exact_duplicates: int  # files with the bytes of another
    warnings: list[str]


class VectorsSection(TypedDict):
    """The vectors that the heads are trained on."""

    backbone: str  # a phrase, as "MobileNetV2 1.0, ImageNet weights"
    recipe: str
    key: str  # of the table of vectors
    dimension: int
    untrained: bool  # the backbone has random weights
    parity: NotRequired[Any]
    made_by: NotRequired[Any]
    precision: NotRequired[str]


class MisclassifiedPicture(TypedDict):
    """A test picture of the first split that the chosen head classifies wrong."""

    path: str
    label: str
    predicted: str
    probability: float  # of the predicted class
    label_probability: float


class RunDocument(TypedDict):
    """Everything that the report of a run shows."""

    title: str
    command: str  # to run it again
    created: str  # ISO 8601
    kind: str  # "run", "compare", "train" or "tune"
    version: str  # of Winnow
    data: DataSection
    vectors: VectorsSection
    heads: list[HeadRow]  # the chosen one first
    curation: NotRequired[dict[str, Any] | None]  # `curate.summary.summarize_curation`; None without the verdicts
    cleaning: NotRequired[dict[str, Any] | None]  # `heads.evaluation.cleaning_effect.CleaningEffect`
    learning_curve: NotRequired[dict[str, Any] | None]  # `heads.evaluation.learning_curve.LearningCurve`
    search: NotRequired[dict[str, Any] | None]  # `heads.evaluation.search.SearchResult`
    most_wrong: list[MisclassifiedPicture]  # the lowest probability of the own label first
    seconds: dict[str, float]  # of each stage

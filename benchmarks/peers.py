"""Other tools with their default settings, each a function from the same vectors to scores or pairs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

IMAGEDEDUP_BITS = 10  # its default `max_distance_threshold`
FIFTYONE_DISTANCE = 0.2  # its default `threshold`, a cosine distance


def absent() -> list[str]:
    """Return the names of the peers that are not installed."""
    needed = {"cleanlab": "cleanlab", "FiftyOne": "fiftyone", "cleanlab's Datalab": "datasets"}
    return [name for name, module in needed.items() if importlib.util.find_spec(module) is None]


def has(name: str) -> bool:
    return name not in absent()


def cleanlab_outlier(x: np.ndarray) -> np.ndarray:
    """`OutOfDistribution`: mean distance to the ten nearest neighbours. 1 is typical, so 1 minus it is returned."""
    from cleanlab.outlier import OutOfDistribution

    return 1 - OutOfDistribution().fit_score(features=x, verbose=False)


def fiftyone_uniqueness(x: np.ndarray) -> np.ndarray:
    import fiftyone.brain as fob

    with _dataset(len(x)) as data:
        fob.compute_uniqueness(data, uniqueness_field="uniqueness", embeddings=x)
        return np.array(data.values("uniqueness"))


@cache
def _folds(seed: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(5, shuffle=True, random_state=seed)


def probabilities(x: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Out-of-fold probabilities of a logistic regression on vectors of length 1: float64 (n, classes)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import normalize

    head = LogisticRegression(C=10, max_iter=300)
    return cross_val_predict(head, normalize(x), labels, cv=_folds(seed), method="predict_proba")


def cleanlab_label(labels: np.ndarray, p: np.ndarray, method: str) -> np.ndarray:
    from cleanlab.rank import get_label_quality_scores

    return 1 - get_label_quality_scores(labels, p, method=method)


def fiftyone_mistakenness(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    import fiftyone as fo
    import fiftyone.brain as fob

    with _dataset(len(p)) as data:
        data.set_values("label", [fo.Classification(label=str(label)) for label in labels])
        predictions = zip(p.argmax(1), p.max(1), np.log(p + 1e-12), strict=True)
        guesses = [fo.Classification(label=str(i), confidence=float(c), logits=logits) for i, c, logits in predictions]
        data.set_values("guess", guesses)
        fob.compute_mistakenness(data, "guess", label_field="label", mistakenness_field="mistakenness")
        return np.array(data.values("mistakenness"))


Pairs = set[tuple[int, int]]


def imagededup_phash(phash: np.ndarray, bits: int = IMAGEDEDUP_BITS) -> Pairs:
    """Pairs whose hashes differ in at most `bits` bits."""
    differing = np.bitwise_count(phash[:, None] ^ phash)
    return {(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(differing <= bits, 1)), strict=True)}


def fiftyone_near(x: np.ndarray, distance: float = FIFTYONE_DISTANCE) -> Pairs:
    """Pairs within the groups of `compute_near_duplicates`: an image that is kept and its duplicates."""
    import fiftyone.brain as fob

    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    with _dataset(len(x)) as data:
        rows = {id: row for row, id in enumerate(data.values("id"))}
        index = fob.compute_near_duplicates(data, threshold=distance, embeddings=unit)
        groups = [[kept, *(id for id, _ in copies)] for kept, copies in index.neighbors_map.items()]
    return pairs_within([rows[str(id)] for id in group] for group in groups)


def datalab_near(x: np.ndarray) -> Pairs:
    """Pairs that Datalab's near-duplicate check reports."""
    from cleanlab import Datalab

    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab(data={"row": list(range(len(x)))})
        lab.find_issues(features=x, issue_types={"near_duplicate": {}})
    near = lab.get_issues("near_duplicate")["near_duplicate_sets"]
    return {(min(i, int(j)), max(i, int(j))) for i, others in enumerate(near) for j in others}


def pairs_within(groups: Any) -> Pairs:
    """All pairs (i, j), i < j, within groups of rows."""
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


@contextlib.contextmanager
def _dataset(count: int) -> Iterator[Any]:
    import fiftyone as fo

    data = fo.Dataset()
    data.add_samples([fo.Sample(filepath=f"/{row}.jpg") for row in range(count)])
    yield data
    data.delete()


def use_database(folder: Path) -> None:
    """Give FiftyOne a separate database, without telemetry, messages or progress bars; call it before the first use."""
    os.environ |= {
        "FIFTYONE_DATABASE_DIR": str(folder),
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "FIFTYONE_LOGGING_LEVEL": "ERROR",
    }


OFF_TOPIC: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "cleanlab outlier": ("cleanlab", cleanlab_outlier),
    "FiftyOne uniqueness": ("FiftyOne", fiftyone_uniqueness),
}

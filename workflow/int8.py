"""The int8 network of a workspace: calibrated once on its own pictures, and compared with the float32 network on them.

It lies beside the table of its vectors, `embeddings/KEY.onnx`; its metadata hold the comparison.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import digest, file_digest
from winnow.common.errors import InputError
from winnow.common.progress import OnMessage
from winnow.common.tables import open_table
from winnow.curate import manifest
from winnow.curate.workspace import Workspace
from winnow.embed import pipeline
from winnow.embed.backbone import Backbone, load_backbone
from winnow.embed.backends import OUTPUTS, create_single_thread_session
from winnow.embed.recipe import Recipe

CALIBRATION_PICTURES = 100  # 50 give activation ranges that are too narrow
COMPARED_PICTURES = 300
MIN_UNSEEN = 20  # pictures that were not calibrated on; with fewer, the comparison uses all pictures
SPLITS = 10
TEST_SHARE = 0.3
MIN_PER_LABEL = 4  # pictures that a label needs to be in both parts of a split
TIMED_BATCH, TIMED_ROUNDS = 4, 15  # pictures per timed inference call, and calls
WORTHWHILE_SPEEDUP = 1.05
_METADATA_KEY = "winnow_int8"


@dataclass(frozen=True)
class F1Comparison:
    """Weighted F1 (0 to 1) of logistic regression on float32 and on int8 vectors, means over the splits.

    difference: int8 minus float32. low, high: its 95% interval (corrected resampled t, see
    `heads.evaluation.metrics.paired`). on: pictures.
    """

    fp32: float
    int8: float
    difference: float
    low: float
    high: float
    on: int
    splits: int


@dataclass(frozen=True)
class Int8Effect:
    """What int8 costs and gains, measured when the network was calibrated.

    calibrated_on, measured_on: pictures. calibration: digest of the ids that were calibrated on. fp32: sha256 of the
    float32 file. cosine_mean, cosine_min: between the vectors of both networks. weighted_f1: None where there are too
    few labels, for the `reason`. speedup: float32 time over int8 time. pays: whether the speedup is worthwhile.
    """

    calibrated_on: int
    calibration: str
    fp32: str
    measured_on: int
    cosine_mean: float
    cosine_min: float
    weighted_f1: F1Comparison | None
    speedup: float
    pays: bool
    reason: str | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Int8Effect:
        """From the metadata of a network; `to_json` is the way back."""
        f1 = document["weighted_f1"]
        fields = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        return cls(**fields | {"weighted_f1": F1Comparison(**f1) if f1 else None})

    def to_json(self) -> dict[str, Any]:
        """As `embed --json` prints it, with `vnni`: whether this processor has VNNI (None: unknown)."""
        document = {name: value for name, value in asdict(self).items() if name != "reason" or value is not None}
        return document | {"vnni": has_vnni()}


def calibrated(workspace: Workspace, plain: Backbone, files: dict[str, Path], on_message: OnMessage) -> Backbone:
    """The int8 form of a float32 backbone, calibrated on the pictures of a workspace the first time, then reused.

    Parameters: `files`, id -> a picture.
    Raises: InputError when the network is gone but vectors of it are there (vectors of another calibration do not
    belong in their table), when there is nothing to calibrate on, or no room.
    """
    recipe = replace(plain.recipe, precision="int8")
    file = workspace.embeddings / f"{recipe.key(plain.weights.digest)}.onnx"
    with workspace.lock(on_message):
        if not file.is_file():
            table = file.with_suffix(".lance")
            if open_table(table) is not None:
                raise InputError(
                    f"{file}, the int8 network of {table.name}, is gone: put it back, or move that table away too, "
                    "then both are made again"
                )
            _create(workspace, plain, files, file, on_message)
    return replace(load_backbone(file, recipe), recipe=recipe, weights=plain.weights)


def read_effect(backbone: Backbone) -> Int8Effect | None:
    """The comparison stored with an int8 network; None for one that no workspace calibrated."""
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(backbone.file).metadata_props}
    return Int8Effect.from_json(json.loads(metadata[_METADATA_KEY])) if _METADATA_KEY in metadata else None


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor multiplies 8-bit numbers in one instruction (x86: VNNI); None where that is unknown."""
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return None
    return "avx512_vnni" in flags or "avx_vnni" in flags


def sample_by_label(ids: Sequence[str], labels: dict[str, str], most: int) -> list[str]:
    """Up to `most` ids, each label in turn; ids are hashes, so the first ids of a label are a random sample."""
    by_label: dict[str, list[str]] = {}
    for id in ids:
        by_label.setdefault(labels.get(id, ""), []).append(id)
    turns = zip_longest(*(by_label[label] for label in sorted(by_label)))
    return [id for id in chain.from_iterable(turns) if id is not None][:most]


def compare_f1(fp32: np.ndarray, int8: np.ndarray, labels: Sequence[str | None]) -> F1Comparison | None:
    """Compare two sets of vectors (N, D) of the same pictures on seeded splits.

    Returns: None when fewer than two labels have `MIN_PER_LABEL` pictures.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    from winnow.heads.evaluation import metrics

    counts = Counter(label for label in labels if label is not None)
    classes = sorted(label for label, count in counts.items() if count >= MIN_PER_LABEL)
    rows = np.array([row for row, label in enumerate(labels) if label in classes], dtype=np.int64)
    n_test = max(len(classes), round(TEST_SHARE * len(rows)))
    if len(classes) < 2:
        return None
    y = np.array([classes.index(str(labels[row])) for row in rows])
    folds = list(StratifiedShuffleSplit(SPLITS, test_size=n_test, random_state=0).split(rows, y))
    before, after = (_logistic_f1(X[rows], y, folds) for X in (fp32, int8))
    paired = metrics.paired(after, before, len(rows) - n_test, n_test)
    return F1Comparison(
        fp32=float(before.mean()),
        int8=float(after.mean()),
        difference=paired.difference,
        low=paired.low,
        high=paired.high,
        on=len(rows),
        splits=SPLITS,
    )


def _create(workspace: Workspace, plain: Backbone, files: dict[str, Path], file: Path, on_message: OnMessage) -> None:
    import onnx

    from winnow.embed.quantize import quantize_to_int8

    labels = _first_labels(workspace)
    sample = sample_by_label(sorted(files), labels, CALIBRATION_PICTURES)
    on_message(f"Quantising the network to int8 on {len(sample)} of your pictures (once for these options)")
    squares = [square[None] for _, square in _read_squares(plain.recipe, files, sample)]
    if not squares:
        raise InputError("none of the pictures can be read", remedy="unreadable")
    model = quantize_to_int8(onnx.load(plain.file), np.concatenate(squares))
    unseen = sorted(files.keys() - set(sample))
    compared = (unseen if len(unseen) >= MIN_UNSEEN else sorted(files))[:COMPARED_PICTURES]
    on_message(f"Measuring what int8 costs on {len(compared)} pictures")
    effect = _compare(plain, model, files, compared, labels)
    effect |= {"calibrated_on": len(squares), "calibration": digest(sample), "fp32": file_digest(plain.file)}
    _write(model, plain, effect, file)


def _write(model: Any, plain: Backbone, effect: dict[str, Any], file: Path) -> None:
    import onnx

    recipe = replace(plain.recipe, precision="int8")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    backbone = json.loads(metadata["winnow_backbone"]) | {"graph": recipe.graph_options()}
    metadata |= {"winnow_backbone": json.dumps(backbone), "recipe": str(recipe), _METADATA_KEY: json.dumps(effect)}
    onnx.helper.set_model_props(model, metadata)
    try:
        with atomic_write(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; make room there and start again") from None


def _first_labels(workspace: Workspace) -> dict[str, str]:
    """id -> label, the first label of each picture."""
    table = manifest.read(workspace)
    pairs = zip(*(table[name].to_pylist() for name in ("id", "label")), strict=True)
    return dict(reversed([(id, label) for id, label in pairs if id is not None and label is not None]))


def _read_squares(recipe: Recipe, files: dict[str, Path], ids: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """(id, pixels uint8 (S, S, 3)) of the pictures that can still be read."""
    squares: list[tuple[str, np.ndarray]] = []
    for batch in pipeline.decode_and_infer(ids, _reader(recipe, files), lambda pixels: (pixels,)):
        readable = [id for id, error in zip(batch.items, batch.errors, strict=True) if error is None]
        squares += zip(readable, *batch.outputs, strict=True) if readable else []
    return squares


def _reader(recipe: Recipe, files: dict[str, Path]) -> Callable[[str], np.ndarray]:
    return lambda id: pipeline.read_square(files[id], recipe, id)


def _compare(
    plain: Backbone, model: Any, files: dict[str, Path], ids: Sequence[str], labels: dict[str, str]
) -> dict[str, Any]:
    """Run both networks on the same pictures: similarity of the vectors, F1 of a head on them, and speed."""
    sessions = [create_single_thread_session(plain.file), create_single_thread_session(model.SerializeToString())]

    def run_both(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        vectors = [session.run(OUTPUTS[:1], {"image": pixels})[0] for session in sessions]
        return tuple(rows.reshape(len(rows), -1, rows.shape[-1]).mean(axis=1) for rows in vectors)

    readable, pairs = list[str](), list[tuple[np.ndarray, ...]]()
    for batch in pipeline.decode_and_infer(ids, _reader(plain.recipe, files), run_both):
        readable += [id for id, error in zip(batch.items, batch.errors, strict=True) if error is None]
        pairs += [batch.outputs] if batch.outputs else []
    if not readable:
        raise InputError("none of the pictures can be read", remedy="unreadable")
    fp32, int8 = (np.concatenate(column) for column in zip(*pairs, strict=True))
    lengths = np.linalg.norm(fp32, axis=1) * np.linalg.norm(int8, axis=1)
    cosine = (fp32 * int8).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    f1 = compare_f1(fp32, int8, [labels.get(id) for id in readable])
    pixels = np.stack([square for _, square in _read_squares(plain.recipe, files, readable[:TIMED_BATCH])])
    speedup = _speedup(*(lambda s=session: s.run(OUTPUTS, {"image": pixels}) for session in sessions))
    effect: dict[str, Any] = {"measured_on": len(readable)}
    effect |= {"cosine_mean": float(cosine.mean()), "cosine_min": float(cosine.min())}
    effect |= {"weighted_f1": f1 and asdict(f1), "speedup": speedup, "pays": speedup >= WORTHWHILE_SPEEDUP}
    return effect if f1 else effect | {"reason": f"fewer than two labels have {MIN_PER_LABEL} of these pictures"}


def _speedup(fp32: Callable[[], Any], int8: Callable[[], Any]) -> float:
    """How many times as fast the second call is, by medians of alternating calls after a warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(TIMED_ROUNDS + 1):
        for call, spent in zip((fp32, int8), seconds, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    before, after = (statistics.median(spent[1:]) for spent in seconds)
    return round(before / after, 2)


def _logistic_f1(X: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    from threadpoolctl import threadpool_limits

    from winnow.heads.evaluation import metrics
    from winnow.heads.models.baselines import logistic

    scores = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence that could go on a little
        for train, test in folds:
            head = logistic().fit(X[train], y[train])
            scores.append(metrics.metrics(y[test], head.predict_proba(X[test]))["weighted_f1"])
    return np.array(scores)

"""The int8 network of a workspace: calibrated once on the person's own pictures, and what that costs, measured there.

It lies beside the table of its vectors, `embeddings/KEY.onnx`; its metadata say how it was made.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import digest, file_digest
from winnow.common.errors import InputError
from winnow.common.tables import open_table
from winnow.curate import manifest
from winnow.curate.workspace import Workspace
from winnow.embed import pipeline
from winnow.embed.backbone import Backbone, load_backbone
from winnow.embed.backends import OUTPUTS, create_single_thread_session

CALIBRATED_ON = 100  # pictures; 50 give ranges that are too narrow
MEASURED_ON = 300
FEW = 20  # pictures that were not calibrated on, below which all are measured on
SPLITS = 10
TEST = 0.3  # of the pictures, in each split
LEAST = 4  # pictures of a label, for it to be in both parts
TIMED, ROUNDS = 4, 15  # pictures of one inference that is timed, and how often
PAYS = 1.05  # so much faster it has to be
_EFFECT = "winnow_int8"
OnMessage = Callable[[str], None]


def int8(workspace: Workspace, plain: Backbone, files: dict[str, Path], on_message: OnMessage) -> Backbone:
    """The int8 form of a float32 backbone, made of the pictures of a workspace the first time, from then on found.

    Parameters: `files`, id -> a picture. Raises: InputError when it is gone but vectors of it are there (those of
    another calibration are no part of their table), or there is nothing to calibrate on, or no room.
    """
    recipe = replace(plain.recipe, precision="int8")
    made = workspace.embeddings / f"{recipe.key(plain.weights.digest)}.onnx"
    with workspace.lock(on_message):
        if not made.is_file():
            table = made.with_suffix(".lance")
            if open_table(table) is not None:
                raise InputError(
                    f"{made}, the int8 network of {table.name}, is gone: put it back, or move that table away too, "
                    "then both are made anew"
                )
            _make(workspace, plain, files, made, on_message)
    return replace(load_backbone(made, recipe), recipe=recipe, weights=plain.weights)


def effect(backbone: Backbone) -> dict[str, Any] | None:
    """What `embed --json` prints as `int8`; None for a backbone that no workspace calibrated.

    {calibrated_on, calibration (digest of the ids), fp32 (sha256 of the float32 file), measured_on, cosine_mean,
    cosine_min, weighted_f1 {fp32, int8, difference, low, high, on, splits} or null with the `reason`, speedup, pays,
    vnni (null: unknown)}. All but vnni were measured when it was made.
    """
    import onnx

    said = {entry.key: entry.value for entry in onnx.load(backbone.file).metadata_props}
    return json.loads(said[_EFFECT]) | {"vnni": has_vnni()} if _EFFECT in said else None


def in_words(effect: dict[str, Any]) -> str:
    """One line of what int8 costs and whether it pays on this processor."""
    f1, on, speedup = effect["weighted_f1"], effect["measured_on"], f"{effect['speedup']:.1f} times as fast"
    line = f"int8: cosine to fp32 {effect['cosine_mean']:.3f} (least {effect['cosine_min']:.3f})"
    if f1:
        low, high = 100 * f1["low"], 100 * f1["high"]
        line += f", weighted F1 {f1['fp32']:.3f} -> {f1['int8']:.3f} [{low:+.1f}, {high:+.1f} points]"
    line += f" on {on} pictures; "
    if not effect["pays"]:
        why = "this processor has no VNNI: " if effect["vnni"] is False else ""
        return f"{line}{why}{speedup} as fp32 here, it does not pay: leave --precision int8 out."
    return f"{line}{speedup} here{', without VNNI' if effect['vnni'] is False else ''}."


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor multiplies 8-bit numbers in one instruction (x86: VNNI); None where nothing tells."""
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return None
    return "avx512_vnni" in flags or "avx_vnni" in flags


def _make(workspace: Workspace, plain: Backbone, files: dict[str, Path], made: Path, on_message: OnMessage) -> None:
    import onnx

    from winnow.embed.quantize import quantize_to_int8 as quantised

    labels = _labels(workspace)
    chosen = spread(sorted(files), labels, CALIBRATED_ON)
    on_message(f"Quantising the network to int8 on {len(chosen)} of your pictures (once for these options)")
    pixels = [square[None] for _, square in _squares(plain, files, chosen)]
    if not pixels:
        raise InputError("none of the pictures can be read: `winnow scan` lists what is wrong")
    model = quantised(onnx.load(plain.file), np.concatenate(pixels))
    rest = sorted(files.keys() - set(chosen))
    measured = (rest if len(rest) >= FEW else sorted(files))[:MEASURED_ON]
    on_message(f"Measuring what int8 costs on {len(measured)} pictures")
    found = _measured(plain, model, files, measured, labels)
    found |= {"calibrated_on": len(pixels), "calibration": digest(chosen), "fp32": file_digest(plain.file)}
    _write(model, plain, found, made)


def _write(model: Any, plain: Backbone, found: dict[str, Any], made: Path) -> None:
    import onnx

    recipe = replace(plain.recipe, precision="int8")
    said = {entry.key: entry.value for entry in model.metadata_props}
    backbone = json.loads(said["winnow_backbone"]) | {"graph": recipe.graph_options()}
    said |= {"winnow_backbone": json.dumps(backbone), "recipe": str(recipe), _EFFECT: json.dumps(found)}
    onnx.helper.set_model_props(model, said)
    try:
        with atomic_write(made) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"{made}: {error.strerror}; make room there and run the command again") from None


def _labels(workspace: Workspace) -> dict[str, str]:
    """id -> label, the first of those that a picture has."""
    table = manifest.read(workspace)
    pairs = zip(*(table[name].to_pylist() for name in ("id", "label")), strict=True)
    return dict(reversed([(id, label) for id, label in pairs if id is not None and label is not None]))


def spread(ids: Sequence[str], labels: dict[str, str], most: int) -> list[str]:
    """Up to `most` ids, each label in turn; ids are hashes, so the first ones of a label are a random choice."""
    of: dict[str, list[str]] = {}
    for id in ids:
        of.setdefault(labels.get(id, ""), []).append(id)
    turns = zip_longest(*(of[label] for label in sorted(of)))
    return [id for id in chain.from_iterable(turns) if id is not None][:most]


def _squares(backbone: Backbone, files: dict[str, Path], ids: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Ids and what they are embedded from, uint8 (S, S, 3); without those that cannot be read any more."""
    found: list[tuple[str, np.ndarray]] = []
    read = _reader(backbone, files)
    for done in pipeline.decode_and_infer(ids, read, lambda pixels: (pixels,)):
        good = [id for id, error in zip(done.items, done.errors, strict=True) if error is None]
        found += zip(good, *done.outputs, strict=True) if good else []
    return found


def _reader(backbone: Backbone, files: dict[str, Path]) -> Callable[[str], np.ndarray]:
    return lambda id: pipeline.read_square(files[id], backbone.recipe, id)


def _measured(
    plain: Backbone, model: Any, files: dict[str, Path], ids: Sequence[str], labels: dict[str, str]
) -> dict[str, Any]:
    """Both networks on the same pictures: how alike the vectors are, what heads make of them, how fast they are."""
    sessions = [create_single_thread_session(plain.file), create_single_thread_session(model.SerializeToString())]

    def both(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        vectors = [session.run(OUTPUTS[:1], {"image": pixels})[0] for session in sessions]
        return tuple(found.reshape(len(found), -1, found.shape[-1]).mean(axis=1) for found in vectors)

    read, seen, pairs = _reader(plain, files), list[str](), list[tuple[np.ndarray, ...]]()
    for done in pipeline.decode_and_infer(ids, read, both):
        seen += [id for id, error in zip(done.items, done.errors, strict=True) if error is None]
        pairs += [done.outputs] if done.outputs else []
    if not seen:
        raise InputError("none of the pictures can be read: `winnow scan` lists what is wrong")
    fp32, int8 = (np.concatenate(column) for column in zip(*pairs, strict=True))
    lengths = np.linalg.norm(fp32, axis=1) * np.linalg.norm(int8, axis=1)
    cosine = (fp32 * int8).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    f1 = weighted_f1(fp32, int8, [labels.get(id) for id in seen])
    pixels = np.stack([square for _, square in _squares(plain, files, seen[:TIMED])])
    ratio = _speedup(*(lambda s=session: s.run(OUTPUTS, {"image": pixels}) for session in sessions))
    found: dict[str, Any] = {"measured_on": len(seen)}
    found |= {"cosine_mean": float(cosine.mean()), "cosine_min": float(cosine.min())}
    found |= {"weighted_f1": f1, "speedup": ratio, "pays": ratio >= PAYS}
    return found if f1 else found | {"reason": f"fewer than two labels have {LEAST} of these pictures"}


def _speedup(fp32: Callable[[], Any], int8: Callable[[], Any]) -> float:
    """How many times as fast the second is, by medians of calls in turn; a first call of each is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for call, spent in zip((fp32, int8), seconds, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    before, after = (statistics.median(spent[1:]) for spent in seconds)
    return round(before / after, 2)


def weighted_f1(fp32: np.ndarray, int8: np.ndarray, labels: Sequence[str | None]) -> dict[str, Any] | None:
    """Weighted F1 (0-1) of logistic regression on two sets of vectors (N, D) of the same pictures, on seeded splits.

    Returns: {fp32, int8 (means over the splits), difference (int8 - fp32), low, high (95%, corrected resampled t, see
    `heads.evaluate.paired`), on (pictures), splits}; None when fewer than two labels have `LEAST` pictures.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    from winnow.heads.evaluation import metrics

    counts = Counter(label for label in labels if label is not None)
    classes = sorted(label for label, count in counts.items() if count >= LEAST)
    rows = np.array([row for row, label in enumerate(labels) if label in classes], dtype=np.int64)
    test = max(len(classes), round(TEST * len(rows)))
    if len(classes) < 2:
        return None
    y = np.array([classes.index(str(labels[row])) for row in rows])
    folds = list(StratifiedShuffleSplit(SPLITS, test_size=test, random_state=0).split(rows, y))
    scores = {name: _scores(X[rows], y, folds) for name, X in (("fp32", fp32), ("int8", int8))}
    compared = metrics.paired(scores["int8"], scores["fp32"], len(rows) - test, test)
    means = {name: float(of.mean()) for name, of in scores.items()}
    return (
        means | {n: getattr(compared, n) for n in ("difference", "low", "high")} | {"on": len(rows), "splits": SPLITS}
    )


def _scores(X: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    from threadpoolctl import threadpool_limits

    from winnow.heads.evaluation import metrics
    from winnow.heads.models.baselines import logistic

    found = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could go on a little
        for train, test in folds:
            head = logistic().fit(X[train], y[train])
            found.append(metrics.metrics(y[test], head.predict_proba(X[test]))["weighted_f1"])
    return np.array(found)

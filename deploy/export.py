"""Export a trained head as one ONNX file: build it, compare it with Python on real pictures, describe and write it.

The checks that the file must pass are in `deploy.onnx.parity`. `workflow.export` finds what a run consists of and
calls `export`.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow import __version__
from winnow.common.atomic_write import atomic_write
from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.common.paths import to_text
from winnow.common.progress import Reporter
from winnow.common.threads import map_ahead, processors
from winnow.curate.workspace import Workspace
from winnow.deploy.inference.model import FORMAT, ID_DIGITS
from winnow.deploy.onnx import parity
from winnow.deploy.onnx.parity import Comparison, ParityReport, Predictions
from winnow.deploy.source import Source, SourcePicture
from winnow.embed.backends import create_single_thread_session

if TYPE_CHECKING:
    from winnow.deploy.novelty import ConformalCalibration

MAX_LISTED = 20_000  # training pictures up to which the file lists the ids that it was trained and chosen on


@dataclass(frozen=True)
class FamiliarityReport:
    """The threshold of familiarity and what it does to test pictures.

    threshold : a picture below it is called unfamiliar.
    calibrated_on : number of val pictures that the p-values are calibrated on.
    held_out_pictures, held_out_rejected : number of test pictures, and the share of them below the threshold (0–1).
    """

    threshold: float
    calibrated_on: int
    held_out_pictures: int
    held_out_rejected: float

    def to_json(self) -> dict[str, Any]:
        """The key `familiarity` of the model's metadata and of `export --json`."""
        held_out = {"pictures": self.held_out_pictures, "rejected": self.held_out_rejected}
        return {"threshold": self.threshold, "calibrated_on": self.calibrated_on, "held_out": held_out}


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how it compares with Python.

    model, card, run : the file, its model card, and the run folder.
    head : name of the head.
    bytes : size of the file.
    input, precision, tta : "square" or "any", "fp32", "fp16" or "int8", "none" or "flip".
    familiarity, parity : measured on the val and test pictures of the run.
    metrics : the scores of the run, as in the model's metadata.
    """

    model: Path
    card: Path
    run: Path
    head: str
    bytes: int
    input: str
    precision: str
    tta: str
    familiarity: FamiliarityReport
    parity: ParityReport
    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As `export --json` prints it."""
        paths = {name: str(getattr(self, name)) for name in ("model", "card", "run")}
        plain = {name: getattr(self, name) for name in ("head", "bytes", "input", "precision", "tta")}
        measured = {"familiarity": self.familiarity.to_json(), "parity": self.parity.to_json()}
        return paths | plain | measured | {"metrics": self.metrics}


def export(source: Source, out: Path) -> ExportReport:
    """Build the file, compare it with Python, and write it to `out`, with its model card beside it, if it passes.

    Raises: InputError when pictures or vectors of the run are gone, when the file fails a check of
    `deploy.onnx.parity`, or when it cannot be written.
    """
    options, trained = source.options, source.trained
    _check_target(out, source.workspace)
    calibration, calibrated_on = _calibrate(source)
    model = source.build_model(calibration)
    comparison = _compare(source, model)
    parity.require_finite(comparison)
    parity.require_labels_of_run(comparison)
    if options.is_exact:
        parity.require_parity(comparison)
    rejected = float((comparison.familiarity < options.unfamiliar).mean())
    familiarity = FamiliarityReport(options.unfamiliar, calibrated_on, len(comparison.pictures), rejected)
    parity_report = parity.measure(comparison)
    metadata = _metadata(source) | {
        "familiarity": familiarity.to_json(),
        "familiarity_threshold": repr(options.unfamiliar),
        "parity": parity_report.to_json(),
    }
    _set_metadata(model, metadata)
    card = _write(out, model, metadata | _card_details(source) | {"file": out.name}, source.reporter)
    return ExportReport(
        model=out,
        card=card,
        run=trained.folder,
        head=trained.name,
        bytes=out.stat().st_size,
        input=metadata["input"],
        precision=metadata["precision"],
        tta=metadata["tta"],
        familiarity=familiarity,
        parity=parity_report,
        metrics=metadata["metrics"],
    )


class _PythonPipeline:
    """The prediction pipeline without the fused file: backbone and head as two separate ONNX sessions."""

    def __init__(self, source: Source) -> None:
        self._backbone = create_single_thread_session(source.backbone.file)
        self._head = create_single_thread_session(source.trained.model.SerializeToString())
        self._classes = np.array(source.trained.classes, dtype=object)

    def predict(self, picture: SourcePicture, tta: str) -> Predictions:
        """Predict one picture with a test-time augmentation of `embed.config.TTA`."""
        squares = [picture.square]
        if tta == "flip":
            squares.append(picture.square[:, :, ::-1])
        elif tta == "mean":
            squares += [square[None] for square in picture.augmented]
        vectors = [self._backbone.run(["embedding"], {"image": np.ascontiguousarray(square)})[0] for square in squares]
        if tta != "mean" and vectors[0].ndim == 2:  # maps are not averaged: as in training, the probabilities are
            return self._apply_head(np.mean(vectors, axis=0))
        probabilities = np.mean([self._apply_head(vector).probabilities for vector in vectors], axis=0)
        return Predictions(self._classes[probabilities.argmax(axis=1)], probabilities)

    def _apply_head(self, vector: np.ndarray) -> Predictions:
        outputs = self._head.run(["label", "probabilities"], {"embedding": vector.reshape(1, -1)})
        return Predictions(*outputs)


def _calibrate(source: Source) -> tuple[ConformalCalibration, int]:
    """Calibrate familiarity on the OOD scores that the file itself computes for val pictures; their number."""
    from winnow.deploy.novelty import calibrate

    session = create_single_thread_session(source.build_model(None).SerializeToString())

    def score(picture: SourcePicture) -> np.ndarray:
        return session.run(["ood_score"], {"image": picture.model_input})[0]

    scores = _apply_to_split(source, "val", score, "Calibrating")
    return calibrate(np.concatenate(list(scores.values())).astype(np.float64)), len(scores)


def _compare(source: Source, model: Any) -> Comparison:
    """Predict the test pictures with Python and with the file."""
    python, session = _PythonPipeline(source), create_single_thread_session(model.SerializeToString())
    run_tta, file_tta = source.trained.embedding.tta, source.options.tta or "none"
    outputs = ["label", "probabilities", "familiarity"]

    def predict(picture: SourcePicture) -> tuple[Predictions, Predictions, Predictions, np.ndarray]:
        baseline = python.predict(picture, run_tta)
        label, probabilities, familiarity = session.run(outputs, {"image": picture.model_input})
        expected = baseline if file_tta == run_tta else python.predict(picture, file_tta)
        return baseline, expected, Predictions(label, probabilities), familiarity

    augmentations = range(1, source.trained.embedding.rows_per_image) if run_tta == "mean" else ()
    rows = _apply_to_split(source, "test", predict, "Comparing", augmentations)
    baseline, expected, file, familiarity = zip(*rows.values(), strict=True)
    ids = list(rows)
    return Comparison(
        pictures=[to_text(str(source.files[id])) for id in ids],
        y=source.class_indexes("test", ids),
        run=np.stack([source.trained.test_probabilities[id] for id in ids]),
        baseline=_concatenate(baseline),
        expected=_concatenate(expected),
        file=_concatenate(file),
        familiarity=np.concatenate(familiarity),
    )


def _concatenate(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(
        np.concatenate([part.labels for part in parts]), np.concatenate([part.probabilities for part in parts])
    )


def _apply_to_split(
    source: Source, split: str, function: Callable[[SourcePicture], Any], title: str, augmentations: Sequence[int] = ()
) -> dict[str, Any]:
    """Map id to `function(picture)` for the pictures of a split that are still there; the missing ones are reported.

    Parameters: `title`, of the progress; `augmentations`, numbers of those to load besides the plain picture.
    Raises: InputError when more than half of the pictures are gone.
    """
    ids, workers, results = source.sample_ids(split), processors(), dict[str, Any]()

    def load_and_apply(id: str) -> Any:
        picture = source.load_picture(id, augmentations)
        return None if picture is None else function(picture)

    with source.reporter.progress(title) as on_progress:
        for number, (id, future) in enumerate(map_ahead(load_and_apply, ids, workers, window=2 * workers), 1):
            if (result := future.result()) is not None:
                results[id] = result
            on_progress(number, len(ids))
    gone = len(ids) - len(results)
    if 2 * gone > len(ids) or not results:
        raise InputError(
            f"{gone} of {len(ids)} {split} pictures are gone from {source.workspace.images} or changed",
            remedy="train-again",
        )
    if gone:
        source.reporter.message(
            f"note: {gone} of {len(ids)} {split} pictures are gone or changed since, and are left out"
        )
    return results


def _metadata(source: Source) -> dict[str, Any]:
    """The metadata of the file, JSON not encoded yet, without what was measured on it."""
    trained, options = source.trained, source.options
    chosen, data = trained.metrics["heads"][0], trained.metrics["data"]
    recipe, params = asdict(source.backbone.recipe), dict(trained.params)
    for document in (recipe, params):  # the file name of the weights, not the folder that they lie in
        document |= {"weights": Path(document["weights"]).name} if "weights" in document else {}
    train, val = trained.splits["train"], trained.splits["val"]
    counts = Counter(train.values())
    return {
        "winnow_model": str(FORMAT),
        "winnow": __version__,
        "labels": trained.classes,
        "preprocessing": str(source.backbone.recipe),
        "recipe": recipe,
        "backbone": file_digest(source.backbone.file),
        "weights": recipe["weights"],
        "input": "any" if options.any_size else "square",
        "precision": options.precision,
        "tta": options.tta,
        "kind": trained.kind,
        "params": params,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metrics": {name: chosen[name] for name in ("weighted_f1", "accuracy", "macro_f1")}
        | {"splits": trained.repeats, "pictures": len(trained.splits["test"]), "tta": trained.embedding.tta},
        "training": {
            "pictures": len(train),
            "pictures_as_found": data["found"]["train"],
            "as_found": sum(data["found"].values()),
            "as_decided": data["pictures"],
            "dropped": data["dropped"],
            "relabelled": data["relabelled"],
            "classes": {label: counts[label] for label in trained.classes},
        },
        "trained_on": [id[:ID_DIGITS] for id in (*train, *val)] if len(train) <= MAX_LISTED else [],
    }


def _card_details(source: Source) -> dict[str, Any]:
    """What the model card states beyond the metadata."""
    metrics = source.trained.metrics
    report = metrics["heads"][0]["shown"]["classification_report"]
    return {
        "title": metrics["title"],
        "split_rule": source.trained.split_rule,
        "classification_report": report,
    }


def _set_metadata(model: Any, metadata: dict[str, Any]) -> None:
    import onnx

    def encode(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)

    onnx.helper.set_model_props(model, {name: encode(value) for name, value in metadata.items()})


def _check_target(out: Path, workspace: Workspace) -> None:
    """Raises: InputError for a file that must not or cannot be written, before the work."""
    if out.suffix.lower() != ".onnx":
        raise InputError(f"{out} does not end in .onnx", remedy="onnx-file")
    if out.resolve().is_relative_to(workspace.images.resolve()):
        raise InputError(f"{out} would lie inside the pictures, which are only read", remedy="another-file")
    with _wrap_os_errors(out):
        if out.is_dir():
            raise InputError(f"{out} is a folder", remedy="another-file")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass


def _write(out: Path, model: Any, card_content: dict[str, Any], reporter: Reporter) -> Path:
    """Write the file and its card, both or none. A card that was edited is kept, and the new one gets another name.

    Returns: the path of the card.
    """
    from winnow.deploy.model_card import is_untouched, render_card

    card = out.with_suffix(".md")
    with _wrap_os_errors(out):
        if card.exists() and not (card.is_file() and is_untouched(card)):
            reporter.message(f"note: {card} was edited and is kept; the new card is {out.stem}.new.md")
            card = out.with_name(f"{out.stem}.new.md")
        with atomic_write(out) as stream:
            stream.write(model.SerializeToString())
            with _wrap_os_errors(card), atomic_write(card) as text:
                text.write(render_card(card_content).encode())
    return card


@contextmanager
def _wrap_os_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="another-file") from None

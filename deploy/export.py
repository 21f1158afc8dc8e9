"""From a trained head to one ONNX file: fused, compared with Python's own path on real pictures, and described."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.digests import file_digest
from winnow.common.errors import InputError
from winnow.common.paths import to_text
from winnow.common.progress import Reporter
from winnow.common.threads import map_ahead, processors
from winnow.common.versions import installed_version
from winnow.curate.workspace import Workspace
from winnow.deploy.inference.model import FORMAT, ID_DIGITS
from winnow.deploy.onnx import parity
from winnow.deploy.onnx.parity import Said, Seen, at_most
from winnow.deploy.source import Pixels, Source, Variant
from winnow.embed.backends import create_single_thread_session

if TYPE_CHECKING:
    from winnow.deploy.novelty import Calibration

FEW = 40  # val pictures below which familiarity is a rough guess
MOST_UNFAMILIAR = 0.5  # share of known pictures that may be turned away
MOST_NAMED = 20_000  # training pictures up to which the file names them, and those that it was chosen on


def export(
    run: Path,
    out: Path | None,
    reporter: Reporter,
    *,
    unfamiliar: float = 0.05,
    workspace: Path | None = None,
    **variant: Any,
) -> dict[str, Any]:
    """Fuse backbone and head of a run into one file; write it and its model card when it holds what it promises.

    Parameters: `out`, None: `model.onnx` in the run, with a suffix that names the variant; `unfamiliar`, the share of
    known pictures that may be turned away; `workspace`, that of the run (None: it lies in it); `variant`, fields of
    `Variant`. Returns: what `export --json` prints.
    Raises: InputError when pictures, vectors or backbone of the run are gone, or the file does not say what Python's
    path and the run say: the same labels, and probabilities within 1e-4 of Python's path.
    """
    if not 0 <= unfamiliar <= MOST_UNFAMILIAR:  # NaN is refused too
        raise InputError(f"the share that may be turned away is from 0 to {MOST_UNFAMILIAR:g}, not {unfamiliar!r}")
    kind = Variant(**variant)
    source = Source.of(run, kind, reporter, workspace)
    out = _checked(out or run / f"model{kind.suffix}.onnx", source.workspace)
    calibration, calibrated_on = _calibration(source)
    model = source.fused(calibration)
    seen = _seen(source, model)
    parity.refuse_if_no_numbers(seen)
    parity.refuse_if_not_the_run(seen)
    if kind.is_exact:
        parity.refuse_if_apart(seen)
    held_out = {"pictures": len(seen.pictures), "rejected": float((seen.familiarity < unfamiliar).mean())}
    familiarity = {"threshold": unfamiliar, "calibrated_on": calibrated_on, "held_out": held_out}
    said = _metadata(source) | {"familiarity": familiarity, "familiarity_threshold": repr(unfamiliar)}
    said |= {"parity": parity.compared(seen)}
    _describe(model, said)
    reporter.message(in_words(said))
    card = _write(out, model, said | _beside(source) | {"file": out.name}, reporter)
    return {
        "model": str(out),
        "card": str(card),
        "run": str(run),
        "head": source.trained.run["heads"][0]["name"],
        "bytes": out.stat().st_size,
        **{name: said[name] for name in ("input", "precision", "tta", "familiarity", "parity", "metrics")},
    }


def in_words(said: dict[str, Any]) -> str:
    """How far the file is from Python's path, and what it turns away."""
    found, f1 = said["parity"], said["parity"]["weighted_f1"]
    on = f"on {_counted(found['pictures'], 'test picture')}"
    other, apart = found["labels_differ"], found["largest_difference"]
    agree = _counted(other, "other label") if other else "the same labels"
    near = f"probabilities at most {at_most(apart)} from Python's path" if apart else "probabilities to the last bit"
    lines = [f"Parity {on}: {agree}, {near}."]
    other_views = said["tta"] != said["metrics"]["tta"]
    if said["input"] == "any" or said["precision"] != "fp32" or other_views:
        low, change, high = (f"{100 * f1[name]:+.1f}" for name in ("low", "change", "high"))
        lines.append(f"Weighted F1 {f1['ordinary']:.3f} becomes {f1['file']:.3f}: {change} points [{low}, {high}].")
    away = said["familiarity"]
    lines.append(f"Unfamiliar below {away['threshold']:g}: {100 * away['held_out']['rejected']:.1f}% of them.")
    if away["calibrated_on"] < FEW:
        on = _counted(away["calibrated_on"], "val picture")
        lines.append(f"note: familiarity is a rough guess, calibrated on {on} only")
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class _Python:
    """The path of `predict` without the file: the backbone, then the stored head, both by themselves."""

    def __init__(self, source: Source) -> None:
        self._backbone = create_single_thread_session(source.backbone.file)
        self._head = create_single_thread_session(source.trained.head.SerializeToString())
        self._classes = np.array(source.trained.classes, dtype=object)

    def __call__(self, pixels: Pixels, views: str) -> Said:
        """Label and probabilities (1, C) of a picture that is looked at as one of `choice.TTA` says."""
        looks = [pixels.square]
        if views == "flip":
            looks.append(pixels.square[:, :, ::-1])
        elif views == "mean":
            looks += [other[None] for other in pixels.others]
        vectors = [self._backbone.run(["embedding"], {"image": np.ascontiguousarray(look)})[0] for look in looks]
        if views != "mean" and vectors[0].ndim == 2:  # of maps, too, what is said of each is averaged: `rows.read`
            return self._said(np.mean(vectors, axis=0))
        proba = np.mean([self._said(one)[1] for one in vectors], axis=0)
        return self._classes[proba.argmax(axis=1)], proba

    def _said(self, vector: np.ndarray) -> Said:
        label, proba = self._head.run(["label", "probabilities"], {"embedding": vector.reshape(1, -1)})
        return label, proba


def _calibration(source: Source) -> tuple[Calibration, int]:
    """From what the file itself says of the val pictures; and how many there were."""
    from winnow.deploy.novelty import calibrate

    session = create_single_thread_session(source.fused(None).SerializeToString())
    strange = _each(source, "val", lambda seen: session.run(["strangeness"], {"image": seen.given})[0], "Calibrating")
    return calibrate(np.concatenate(list(strange.values())).astype(np.float64)), len(strange)


def _seen(source: Source, model: Any) -> Seen:
    """The test pictures by Python's path and by the file."""
    python, session = _Python(source), create_single_thread_session(model.SerializeToString())
    views, names = source.kind.tta, ["label", "probabilities", "familiarity"]
    ordinary, others = source.judged_by, range(1, source.choice.rows_per_image)

    def look(pixels: Pixels) -> tuple[Said, Said, Said, np.ndarray]:
        plain = python(pixels, ordinary)
        label, proba, familiarity = session.run(names, {"image": pixels.given})
        expected = plain if views == ordinary else python(pixels, views)
        return plain, expected, (label, proba), familiarity

    rows = _each(source, "test", look, "Comparing", others if ordinary == "mean" else ())
    *said, familiarity = zip(*rows.values(), strict=True)
    plain, expected, found = (
        (np.concatenate([label for label, _ in of]), np.concatenate([proba for _, proba in of])) for of in said
    )
    ids = list(rows)
    return Seen(
        pictures=[to_text(str(source.files[id])) for id in ids],
        truth=source.truth("test", ids),
        judged=np.stack([source.trained.judged[id] for id in ids]),
        plain=plain,
        expected=expected,
        found=found,
        familiarity=np.concatenate(familiarity),
    )


def _each(
    source: Source, part: str, look: Callable[[Pixels], Any], what: str, views: Sequence[int] = ()
) -> dict[str, Any]:
    """id -> what `look` says of it, of the pictures of a part that are still there: at least half, and it is told.

    Parameters: `views`, which others it is to see besides the plain one. Raises: InputError when fewer are.
    """
    ids, workers, found = source.some(part), processors(), dict[str, Any]()

    def seen(id: str) -> Any:
        pixels = source.pixels(id, views)
        return None if pixels is None else look(pixels)

    with source.reporter.progress(what) as told:
        for number, (id, future) in enumerate(map_ahead(seen, ids, workers, window=2 * workers), 1):
            if (said := future.result()) is not None:
                found[id] = said
            told(number, len(ids))
    gone = len(ids) - len(found)
    if 2 * gone > len(ids) or not found:
        raise InputError(
            f"{gone} of {len(ids)} {part} pictures are gone from {source.workspace.images} or changed: train again"
        )
    if gone:
        source.reporter.message(
            f"note: {gone} of {len(ids)} {part} pictures are gone or changed since, and are left out"
        )
    return found


def _metadata(source: Source) -> dict[str, Any]:
    """What the file says of itself, without what was measured on it."""
    run, document, kind = source.trained.run, source.trained.document, source.kind
    chosen, data, recipe = document["heads"][0], document["data"], asdict(source.backbone.recipe)
    params = dict(source.trained.params)
    for said in (recipe, params):  # a tail's parameters say it, too
        said |= {"weights": Path(said["weights"]).name} if "weights" in said else {}  # not where it lies
    train, val = (source.trained.parts[part] for part in ("train", "val"))
    trained = Counter(train.values())
    found = data["found"]
    return {
        "winnow_model": str(FORMAT),
        "winnow": installed_version("winnow-images") or "unknown",
        "labels": source.trained.classes,
        "preprocessing": str(source.backbone.recipe),
        "recipe": recipe,
        "backbone": file_digest(source.backbone.file),
        "weights": recipe["weights"],
        "input": "any" if kind.any_size else "square",
        "precision": kind.precision,
        "tta": kind.tta,
        "kind": source.trained.kind,
        "params": params,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metrics": {name: chosen[name] for name in ("weighted_f1", "accuracy", "macro_f1")}
        | {"splits": run["repeats"], "pictures": len(source.trained.parts["test"]), "tta": source.judged_by},
        "training": {
            "pictures": len(train),
            "pictures_as_found": found["train"],
            "as_found": sum(found.values()),
            "as_decided": data["pictures"],
            "dropped": data["dropped"],
            "relabelled": data["relabelled"],
            "classes": {label: trained[label] for label in source.trained.classes},
        },
        "trained_on": [id[:ID_DIGITS] for id in (*train, *val)] if len(train) <= MOST_NAMED else [],
    }


def _beside(source: Source) -> dict[str, Any]:
    """What the model card says beyond the metadata."""
    document = source.trained.document
    report = document["heads"][0]["shown"]["classification_report"]
    said = {"title": document["title"], "split_rule": source.trained.run["split_rule"]}
    return said | {"classification_report": report}


def _describe(model: Any, said: dict[str, Any]) -> None:
    import onnx

    text = {name: value if isinstance(value, str) else _json(value) for name, value in said.items()}
    onnx.helper.set_model_props(model, text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _checked(out: Path, workspace: Workspace) -> Path:
    """Raises: InputError for a place where nothing may or can be written, before the work."""
    if out.suffix.lower() != ".onnx":
        raise InputError(f"{out}: name it FILE.onnx")
    if out.resolve().is_relative_to(workspace.images.resolve()):
        raise InputError(f"{out} would lie inside the pictures, which are only read: name another place")
    with _written(out):
        if out.is_dir():
            raise InputError(f"{out} is a folder: name a file in it")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    return out


def _write(out: Path, model: Any, said: dict[str, Any], reporter: Reporter) -> Path:
    """Both files, or none of them. A card that a person has changed is kept, and the new one called otherwise.

    Returns: where the card is.
    """
    from winnow.deploy.model_card import card, is_untouched

    beside = out.with_suffix(".md")
    with _written(out):
        if beside.exists() and not (beside.is_file() and is_untouched(beside)):
            reporter.message(f"note: {beside} is not as Winnow wrote it and is kept; the new card is {out.stem}.new.md")
            beside = out.with_name(f"{out.stem}.new.md")
        with atomic_write(out) as stream:
            stream.write(model.SerializeToString())
            with _written(beside), atomic_write(beside) as text:
                text.write(card(said).encode())
    return beside


@contextmanager
def _written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; make room there or name another place") from None

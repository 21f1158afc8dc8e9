"""The document of a run for the tests of the report, and a reader of the page."""

from __future__ import annotations

from html.parser import HTMLParser
from io import BytesIO

import numpy as np

EVIL = "<script>alert(1)</script>"


def class_report(classes, matrix):
    counts = np.array(matrix)
    rows = [
        {"label": label, "precision": 0.5, "recall": 0.25, "f1-score": 1 / 3, "support": float(counts[i].sum())}
        for i, label in enumerate(classes)
    ]
    average = {"precision": 0.61, "recall": 0.62, "f1-score": 0.63, "support": float(counts.sum())}
    return {"classes": rows, "macro avg": average, "weighted avg": average, "accuracy": 0.64}


def head(name, mean, versus=None, history=None, classes=("ants", "bees")):
    matrix = (np.eye(len(classes), dtype=int) * 3 + 1).tolist()
    shown = {
        "repeat": 0,
        "confusion": {"train": matrix, "test": matrix},
        "classification_report": class_report(classes, matrix),
        "history": history,
        "best_epoch": 1 if history else None,
    }
    return {
        "name": name, "kind": name, "params": {"lr": 0.01, "hidden": [128, 64]}, "chosen": versus is None,
        "weighted_f1": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}, "val_weighted_f1": mean + 0.001,
        "macro_f1": mean + 0.002, "accuracy": mean + 0.003, "log_loss": 0.4, "ece": 0.043,
        "reliability": {"confidence": [0.4, 0.9], "accuracy": [0.5, 0.8], "count": [10, 22]}, "fit_seconds": 75.0,
        "predict_seconds": 0.0021, "seconds": 75.0021, "versus_chosen": versus, "shown": shown,
    }  # fmt: skip


HISTORY = {"loss": [0.9, 0.4], "val_loss": [0.8, 0.5], "accuracy": [0.5, 0.9], "val_accuracy": [0.4, 0.8]}


def document(classes=("ants", "bees"), heads=None):
    classes = list(classes)
    heads = heads or [
        head("dense", 0.9, history=HISTORY, classes=classes),
        head("lda", 0.89, {"difference": -0.01, "low": -0.03, "high": 0.01, "p": 0.31}, classes=classes),
        head("knn", 0.8, {"difference": -0.1, "low": -0.12, "high": -0.08, "p": 0.0001}, classes=classes),
        head("dummy", 0.07, {"difference": -0.83, "low": -0.84, "high": -0.82, "p": None}, classes=classes),
    ]
    wrong = {"label": classes[0], "predicted": classes[1], "probability": 0.98, "label_probability": 0.01}
    problem = {"path": "bees/9.jpg", "code": "truncated", "message": "image file is truncated"}
    return {
        "title": "insects", "command": "winnow run ../insects", "created": "2026-01-31T12:00:00+00:00", "kind": "run",
        "version": "0.1.0",
        "data": {
            "images": "/photos/insects", "pictures": 1234, "classes": classes, "repeats": 10,
            "splits": {split: dict.fromkeys(classes, n) for split, n in (("train", 70), ("val", 15), ("test", 16))},
            "split_rule": "70/15/15, stratified, seed 0", "left_out": {"wasps": 2}, "problems": [problem],
            "exact_duplicates": 1, "warnings": ["Look at the wasps."],
        },
        "vectors": {
            "backbone": "MobileNetV2", "recipe": "crop(224)|pool(avg)", "key": "ab12", "dimension": 1280,
            "untrained": False,
        },
        "heads": heads,
        "most_wrong": [wrong | {"path": "ants/1.jpg"}, wrong | {"path": "ants/2.jpg"}],
        "seconds": {"scan": 3.14, "compare": 61.0},
    }  # fmt: skip


def jpeg(path):
    """A small picture; `ants/2.jpg` does not exist."""
    from PIL import Image

    if path == "ants/2.jpg":
        return None
    buffer = BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "JPEG")
    return buffer.getvalue()


class Reader(HTMLParser):
    """The content of a page: its text, its tags with their attributes, and the tags that are still open at the end."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data + " "

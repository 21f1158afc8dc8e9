"""What the App shows of the samples: colours, saved views and panels, the embeddings and the similarity index."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.digests import digest
from winnow.embed.store import read_ids, read_vectors

COMPONENTS = 128  # of the vectors, that the similarity index keeps
COLOURS = {"drop": "#d73a49", "keep": "#28a745", "relabel": "#0366d6"}
LABELS = ("label", "suggested_label", "new_label", "predicted")  # fields that hold one
# Okabe and Ito's and a few more, which most people can tell apart. A label has the same one in every field.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A6761D", "#7570B3", "#66A61E")


def colour(dataset: Any) -> None:
    """Give every verdict and every label a colour of its own."""
    import fiftyone as fo

    bearing = [name for name in LABELS if dataset.has_sample_field(name)]
    labels = {label for name in bearing for label in dataset.distinct(name)}
    names = dict(zip(sorted(labels), cycle(PALETTE), strict=False))
    schemes = {"verdict": COLOURS} | dict.fromkeys(bearing, names)
    fields = [
        {"path": path, "valueColors": [{"value": value, "color": shade} for value, shade in scheme.items()]}
        for path, scheme in schemes.items()
    ]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="value", fields=fields)
    dataset.save()


def save_views(dataset: Any, differ: str) -> None:
    """The views and panels that a person finds in the App; views of the same names are replaced, others stay.

    Parameters: `differ`, how the field `duplicate` ends where the labels of duplicates differ.
    """
    import fiftyone as fo
    from fiftyone import ViewField as F

    undecided = dataset.match(F("verdict") == None)  # noqa: E711 (an expression of the database's)
    doubled = dataset.match(F("duplicate_group") != None).sort_by(  # noqa: E711
        [("duplicate_group", 1), ("duplicate_keep", -1)]
    )
    views = {
        "Off-topic first": dataset.match(F("off_topic") != None).sort_by("off_topic", reverse=True),  # noqa: E711
        "Label suspects": undecided.match(F("suggested_label") != F("label"))
        .match(F("suggested_label") != None)  # noqa: E711
        .sort_by("label_suspect", reverse=True),
        "Duplicates": doubled,
        "Duplicates, labels differ": doubled.match(F("duplicate").ends_with(differ)),
        "Quality": dataset.match((F("quality").length() > 0) | (F("problem") != None)),  # noqa: E711
        "Decided": dataset.match(F("verdict") != None),  # noqa: E711
        "Left to look at": undecided.match(F("off_topic") != None).sort_by("off_topic", reverse=True),  # noqa: E711
    }
    if dataset.has_sample_field("familiarity"):
        least = {"Unfamiliar first": "familiarity", "Unsure first": "probability"}
        views |= {name: undecided.match(F(field) != None).sort_by(field) for name, field in least.items()}  # noqa: E711
    for name, view in views.items():
        dataset.save_view(name, view, overwrite=True)
    if not dataset.has_workspace("Pictures and embeddings"):
        # Pictures alone in theirs: the App opens its own panels beside them, never in front.
        dataset.save_workspace("Pictures", _space("Samples"), overwrite=True)
        both = fo.Space(children=[_space("Samples"), _space("Embeddings")], orientation="horizontal", sizes=[0.6, 0.4])
        dataset.save_workspace("Pictures and embeddings", both)


def _space(kind: str) -> Any:
    import fiftyone as fo

    panel = fo.Panel(type=kind, pinned=kind == "Samples")
    return fo.Space(children=[panel], active_child=panel.component_id)


def embed(dataset: Any, store: Path) -> None:
    """Fill the Embeddings panel and the similarity index, unless they are of these very pictures and vectors."""
    from fiftyone import brain
    from sklearn.decomposition import PCA

    here = read_ids(store)
    rows = [(id, picture) for id, picture in zip(*dataset.values(["id", "picture"]), strict=True) if picture in here]
    key = digest([store.name, COMPONENTS, rows])
    if len(rows) < 3 or dataset.info.get("embedded") == key:
        return
    vectors = read_vectors(store, [picture for _, picture in rows])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    size = min(COMPONENTS, *vectors.shape)
    reduced = PCA(size, svd_solver="randomized", random_state=0, copy=False).fit_transform(vectors)
    view = dataset.select([id for id, _ in rows], ordered=True)
    for name in ("pca", "similar", "umap"):
        if dataset.has_brain_run(name):
            dataset.delete_brain_run(name)
    brain.compute_visualization(view, embeddings=reduced, method="pca", brain_key="pca", num_dims=2, seed=0)
    brain.compute_similarity(view, embeddings=reduced, backend="sklearn", metric="euclidean", brain_key="similar")
    dataset.info["embedded"] = key
    dataset.save()


def add_umap(dataset: Any) -> None:
    """Add UMAP to the Embeddings panel where umap-learn is installed and it is not there yet. It takes a while."""
    from importlib.util import find_spec

    from fiftyone import brain

    if find_spec("umap") and dataset.has_brain_run("similar") and not dataset.has_brain_run("umap"):
        index = dataset.load_brain_results("similar")
        brain.compute_visualization(
            dataset, similarity_index=index, method="umap", brain_key="umap", seed=0, verbose=False
        )

"""What the App shows: colours, saved views, panels, the Embeddings panel and the similarity index."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from winnow.common.digests import digest
from winnow.embed.store import read_ids, read_vectors

COMPONENTS = 128  # principal components of the vectors in the similarity index
COLOURS = {"drop": "#d73a49", "keep": "#28a745", "relabel": "#0366d6"}
LABEL_FIELDS = ("label", "suggested_label", "new_label", "predicted")
LABELS_DIFFER = ", labels differ"  # ending of the field `duplicate` where the duplicates have several labels
# The colours of Okabe and Ito and a few more, which most people can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A6761D", "#7570B3", "#66A61E")


def set_colours(dataset: Any) -> None:
    """Give every verdict and every label a colour; a label has the same one in every field."""
    import fiftyone as fo

    label_fields = [name for name in LABEL_FIELDS if dataset.has_sample_field(name)]
    labels = {label for name in label_fields for label in dataset.distinct(name)}
    label_colours = dict(zip(sorted(labels), cycle(PALETTE), strict=False))
    schemes = {"verdict": COLOURS} | dict.fromkeys(label_fields, label_colours)
    fields = [
        {"path": path, "valueColors": [{"value": value, "color": colour} for value, colour in scheme.items()]}
        for path, scheme in schemes.items()
    ]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="value", fields=fields)
    dataset.save()


def save_views(dataset: Any) -> None:
    """Save views and panel layouts, which FiftyOne calls workspaces.

    Those of the same names are replaced; the user's own stay.
    """
    import fiftyone as fo
    from fiftyone import ViewField as F

    undecided = dataset.match(F("verdict") == None)  # noqa: E711 (an expression for the database)
    duplicates = dataset.match(F("duplicate_group") != None).sort_by(  # noqa: E711
        [("duplicate_group", 1), ("duplicate_keep", -1)]
    )
    views = {
        "Off-topic first": dataset.match(F("off_topic") != None).sort_by("off_topic", reverse=True),  # noqa: E711
        "Label suspects": undecided.match(F("suggested_label") != F("label"))
        .match(F("suggested_label") != None)  # noqa: E711
        .sort_by("label_suspect", reverse=True),
        "Duplicates": duplicates,
        "Duplicates, labels differ": duplicates.match(F("duplicate").ends_with(LABELS_DIFFER)),
        "Quality": dataset.match((F("quality").length() > 0) | (F("problem") != None)),  # noqa: E711
        "Decided": dataset.match(F("verdict") != None),  # noqa: E711
        "Left to look at": undecided.match(F("off_topic") != None).sort_by("off_topic", reverse=True),  # noqa: E711
    }
    if dataset.has_sample_field("familiarity"):
        ascending = {"Unfamiliar first": "familiarity", "Unsure first": "probability"}
        views |= {name: undecided.match(F(field) != None).sort_by(field) for name, field in ascending.items()}  # noqa: E711
    for name, view in views.items():
        dataset.save_view(name, view, overwrite=True)
    if not dataset.has_workspace("Pictures and embeddings"):
        # In a workspace of pictures alone the App opens its own panels beside them, never in front.
        dataset.save_workspace("Pictures", _space("Samples"), overwrite=True)
        both = fo.Space(children=[_space("Samples"), _space("Embeddings")], orientation="horizontal", sizes=[0.6, 0.4])
        dataset.save_workspace("Pictures and embeddings", both)


def _space(kind: str) -> Any:
    """Build a space that holds one panel, "Samples" or "Embeddings"."""
    import fiftyone as fo

    panel = fo.Panel(type=kind, pinned=kind == "Samples")
    return fo.Space(children=[panel], active_child=panel.component_id)


def index_vectors(dataset: Any, store: Path) -> None:
    """Fill the Embeddings panel and the similarity index, unless they hold these pictures and vectors already."""
    from fiftyone import brain
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    embedded = read_ids(store)
    pairs = zip(*dataset.values(["id", "picture"]), strict=True)
    rows = [(id, picture) for id, picture in pairs if picture in embedded]
    key = digest([store.name, COMPONENTS, rows])
    if len(rows) < 3 or dataset.info.get("embedded") == key:
        return
    vectors = normalize(read_vectors(store, [picture for _, picture in rows]), copy=False)
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
    """Add UMAP to the Embeddings panel where umap-learn is installed, which takes a while, unless it is there."""
    from importlib.util import find_spec

    from fiftyone import brain

    if find_spec("umap") and dataset.has_brain_run("similar") and not dataset.has_brain_run("umap"):
        index = dataset.load_brain_results("similar")
        brain.compute_visualization(
            dataset, similarity_index=index, method="umap", brain_key="umap", seed=0, verbose=False
        )

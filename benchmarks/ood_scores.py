"""Scores for out-of-distribution detection: Winnow's and the usual ones, each fitted on training vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from winnow.deploy import novelty


@dataclass(frozen=True)
class Photographs:
    """Embedded pictures.

    ids, labels, names : (N,); names are file names without suffix.
    pooled : float32 (N, 1280).
    bottleneck : float32 (N, 320).
    """

    ids: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    pooled: np.ndarray
    bottleneck: np.ndarray

    def select(self, rows: np.ndarray) -> Photographs:
        """Select pictures by row numbers or by a mask."""
        return Photographs(
            self.ids[rows], self.labels[rows], self.names[rows], self.pooled[rows], self.bottleneck[rows]
        )


Score = Callable[[Photographs], np.ndarray]  # higher is further from the training pictures


def winnow(train: Photographs, head: Any = None) -> Score:
    """The out-of-distribution score that an exported file computes."""
    codes = np.unique(train.labels, return_inverse=True)[1]
    model = novelty.fit_ood_model(train.pooled, train.bottleneck, codes)
    return lambda pictures: novelty.ood_score(model, pictures.pooled, pictures.bottleneck)


def softmax(train: Photographs, head: Any) -> Score:
    """1 minus the largest probability of the logistic head (Hendrycks and Gimpel 2017)."""
    return lambda pictures: 1 - head.predict_proba(pictures.pooled).max(axis=1)


def energy(train: Photographs, head: Any) -> Score:
    """-log sum exp of the logistic head's logits (Liu, Wang, Owens and Li 2020)."""
    return lambda pictures: -np.logaddexp.reduce(head.decision_function(pictures.pooled), axis=1)


def nearest(train: Photographs, head: Any) -> Score:
    """Distance to the nearest unit pooled vector (Sun, Ming, Zhu and Li 2022; their k, here 1, is 1000 on ImageNet)."""
    known = normalize(train.pooled)
    return lambda pictures: 1 - (normalize(pictures.pooled) @ known.T).max(axis=1)


def mahalanobis(train: Photographs, head: Any, shrinkage: float = 0.3) -> Score:
    """Squared distance to the nearest class mean under a shared covariance, unit pooled (Lee et al. 2018)."""
    x = normalize(train.pooled)
    means, residuals = _class_means(x, train.labels)
    root = _root(residuals, shrinkage)
    return lambda pictures: _nearest_mean(normalize(pictures.pooled), means, root)


def relative_mahalanobis(train: Photographs, head: Any, shrinkage: float = 0.1) -> Score:
    """The same minus the distance to the overall mean under the overall covariance, bottleneck (Ren et al. 2021)."""
    x = normalize(train.bottleneck)
    means, residuals = _class_means(x, train.labels)
    centre = x.mean(axis=0, keepdims=True)
    root, root_all = _root(residuals, shrinkage), _root(x - centre, shrinkage)

    def score(pictures: Photographs) -> np.ndarray:
        z = normalize(pictures.bottleneck)
        return _nearest_mean(z, means, root) - _nearest_mean(z, centre, root_all)

    return score


def virtual_logit(train: Photographs, head: Any, dimensions: int = 50) -> Score:
    """ViM: length outside the first principal directions, scaled, plus the energy, unit pooled (Wang et al. 2022)."""
    x, negative_energy = normalize(train.pooled), energy(train, head)
    outside = np.linalg.eigh(np.cov(x.T))[1][:, :-dimensions]
    mean, top = x.mean(axis=0), head.decision_function(train.pooled).max(axis=1)
    scale = top.mean() / np.linalg.norm((x - mean) @ outside, axis=1).mean()

    def score(pictures: Photographs) -> np.ndarray:
        residual = np.linalg.norm((normalize(pictures.pooled) - mean) @ outside, axis=1)
        return scale * residual + negative_energy(pictures)

    return score


METHODS: dict[str, Callable[[Photographs, Any], Score]] = {
    "**Winnow** familiarity": winnow,
    "max softmax": softmax,
    "energy": energy,
    "k-NN, pooled": nearest,
    "Mahalanobis, pooled": mahalanobis,
    "relative Mahalanobis, bottleneck": relative_mahalanobis,
    "ViM, pooled": virtual_logit,
}


def _class_means(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class means (C, D), and each row minus the mean of its class (N, D)."""
    classes, codes = np.unique(labels, return_inverse=True)
    means = np.stack([x[codes == code].mean(axis=0) for code in range(len(classes))])
    return means, x - means[codes]


def _nearest_mean(x: np.ndarray, means: np.ndarray, root: np.ndarray) -> np.ndarray:
    return np.min([(((x - mean) @ root) ** 2).sum(axis=1) for mean in means], axis=0)


def _root(centred: np.ndarray, shrinkage: float) -> np.ndarray:
    """L with L Lᵀ the inverse of the covariance, shrunk towards a multiple of the identity."""
    covariance = centred.T.astype(np.float64) @ centred / len(centred)
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))
    return np.linalg.cholesky(np.linalg.inv(shrunk))

"""How unlike known pictures others are: Winnow's score and the usual ones, each fitted on training vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from winnow.deploy import novelty


class EmbeddingConfig(NamedTuple):
    """Of pictures: ids (N,), labels (N,), names (N,) without suffix, float32 (N, 1280) pooled, (N, 320) bottleneck."""

    ids: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    pooled: np.ndarray
    bottleneck: np.ndarray

    def of(self, chosen: np.ndarray) -> EmbeddingConfig:
        """Some of them, by rows or a mask."""
        return EmbeddingConfig(*(part[chosen] for part in self))


Score = Callable[[EmbeddingConfig], np.ndarray]  # higher is stranger; for familiarity the other way round


def winnow(train: EmbeddingConfig, head: Any = None) -> Score:
    """The strangeness that an exported file computes."""
    codes = np.unique(train.labels, return_inverse=True)[1]
    reference = novelty.fit(train.pooled, train.bottleneck, codes)
    return lambda asked: novelty.strangeness(reference, asked.pooled, asked.bottleneck)


def softmax(train: EmbeddingConfig, head: Any) -> Score:
    """1 less the largest probability of the logistic head (Hendrycks and Gimpel 2017)."""
    return lambda asked: 1 - head.predict_proba(asked.pooled).max(axis=1)


def energy(train: EmbeddingConfig, head: Any) -> Score:
    """-log sum exp of the logistic head's logits (Liu, Wang, Owens and Li 2020)."""
    return lambda asked: -np.logaddexp.reduce(head.decision_function(asked.pooled), axis=1)


def nearest(train: EmbeddingConfig, head: Any) -> Score:
    """Distance to the nearest unit pooled vector (Sun, Ming, Zhu and Li 2022; their k, here 1, is 1000 on ImageNet)."""
    known = _unit(train.pooled)
    return lambda asked: 1 - (_unit(asked.pooled) @ known.T).max(axis=1)


def mahalanobis(train: EmbeddingConfig, head: Any, shrinkage: float = 0.3) -> Score:
    """Squared distance to the nearest class mean under a shared covariance, unit pooled (Lee et al. 2018)."""
    x = _unit(train.pooled)
    means, residuals = _class_means(x, train.labels)
    root = _root(residuals, shrinkage)
    return lambda asked: _nearest_mean(_unit(asked.pooled), means, root)


def relative_mahalanobis(train: EmbeddingConfig, head: Any, shrinkage: float = 0.1) -> Score:
    """The same less the distance to the mean of all under the covariance of all, unit bottleneck (Ren et al. 2021)."""
    x = _unit(train.bottleneck)
    means, residuals = _class_means(x, train.labels)
    centre = x.mean(axis=0, keepdims=True)
    root, root_all = _root(residuals, shrinkage), _root(x - centre, shrinkage)

    def score(asked: EmbeddingConfig) -> np.ndarray:
        z = _unit(asked.bottleneck)
        return _nearest_mean(z, means, root) - _nearest_mean(z, centre, root_all)

    return score


def virtual_logit(train: EmbeddingConfig, head: Any, dimensions: int = 50) -> Score:
    """ViM: length outside the first principal directions, scaled, plus the energy, unit pooled (Wang et al. 2022)."""
    x, cold = _unit(train.pooled), energy(train, head)
    outside = np.linalg.eigh(np.cov(x.T))[1][:, :-dimensions]
    mean, top = x.mean(axis=0), head.decision_function(train.pooled).max(axis=1)
    scale = top.mean() / np.linalg.norm((x - mean) @ outside, axis=1).mean()
    return lambda asked: scale * np.linalg.norm((_unit(asked.pooled) - mean) @ outside, axis=1) + cold(asked)


METHODS: dict[str, Callable[[EmbeddingConfig, Any], Score]] = {
    "**Winnow** familiarity": winnow,
    "max softmax": softmax,
    "energy": energy,
    "k-NN, pooled": nearest,
    "Mahalanobis, pooled": mahalanobis,
    "relative Mahalanobis, bottleneck": relative_mahalanobis,
    "ViM, pooled": virtual_logit,
}


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _class_means(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (C, D), and what is left of each row less the mean of its class (N, D)."""
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

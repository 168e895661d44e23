"""Membership inference: whether an example can be told from one that was never seen."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from mcu_lite.metrics.registry import Outputs, metric


@metric("mia_auc", "membership inference (AUC)", "oracle", ("forget",))
def mia_auc(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of telling forget from test images by their loss (Yeom et al., 2018).

    0.5 means indistinguishable, as a random forget set is to the retrained model. A whole class
    is not: that model never saw it, its loss there is the higher one, and the AUC close to 0.
    """
    return auc(outputs.loss("forget"), outputs.loss("test", "nonmember"))


def auc(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """AUC of telling members by their lower losses, shapes (M, n) and (M, m) to (M,)."""
    n, m = members.shape[-1], others.shape[-1]
    ranks = rankdata(np.concatenate([-members, -others], -1), axis=-1)[:, :n]
    return (ranks.sum(-1) - n * (n + 1) / 2) / (n * m)


@metric("mia_fitted", "membership inference (fitted attack, AUC)", "oracle", ("forget",), slow=True)
def mia_fitted(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of an attack fitted on retain against test images (Shokri et al., 2017).

    A logistic regression on loss, entropy and margin learns from the retain images and one
    half of the test images; it is judged on the forget images and the other half.
    """
    half = len(outputs.loss("test")[0]) // 2
    known_in, asked = _features(outputs, "retain"), _features(outputs, "forget")
    outside = _features(outputs, "test", "nonmember")
    return np.array(
        [_attack(*part) for part in zip(known_in, outside[:, :half], asked, outside[:, half:])]
    )


def _features(outputs: Outputs, split: str, labels: str | None = None) -> np.ndarray:
    p = np.sort(np.exp(outputs.log_p[split]), -1)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1)
    spread = [outputs.by_example(own, split) for own in (entropy, p[..., -1] - p[..., -2])]
    return np.stack([outputs.loss(split, labels), *spread], -1)


def _attack(inside: np.ndarray, outside: np.ndarray, asked: np.ndarray, rest: np.ndarray) -> float:
    # Imported here, where few come by: it takes longer than the rest of the module together.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    x, judged = np.concatenate([inside, outside]), np.concatenate([asked, rest])
    if not (np.isfinite(x).all() and np.isfinite(judged).all()):
        return float("nan")
    centre, scale = x.mean(0), x.std(0) + 1e-12
    member = np.arange(len(x)) < len(inside)
    attack = LogisticRegression(class_weight="balanced").fit((x - centre) / scale, member)
    return roc_auc_score(
        np.arange(len(judged)) < len(asked), attack.decision_function((judged - centre) / scale)
    )

"""Metrics of predictions: loss, membership inference, and distances from other models."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from mcu_lite.metrics.registry import Outputs, metric


@metric("loss", "loss (nats)", "lower")
def loss(outputs: Outputs, split: str) -> np.ndarray:
    """Mean cross-entropy."""
    return outputs.loss(split).mean(-1)


@metric("accuracy", "accuracy", "higher")
def accuracy(outputs: Outputs, split: str) -> np.ndarray:
    """Share of examples (of texts: tokens) whose label is the most probable one."""
    return outputs.by_example(outputs.hits(split).astype(float), split).mean(-1)


@metric("mia_auc", "membership inference (AUC)", "oracle", ("forget",))
def mia_auc(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of telling forget from test images by their loss (Yeom et al., 2018).

    0.5 means indistinguishable, as a random forget set is to the retrained model. A whole class
    is not: that model never saw it, its loss there is the higher one, and the AUC close to 0.
    """
    return membership_scores(outputs.loss("forget"), outputs.loss("test", "nonmember")).mean(-1)


def membership_scores(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of other examples with a higher loss, ties counted half, shape (..., n).

    The score that an attack by loss gives to a single example: 1 means that the model is
    surer of it than of any example that it never saw, 0.5 that it cannot be told from those.
    Its mean is the AUC. `members` (..., n) and `others` (..., m) are losses of the same models.
    """
    if members.shape[:-1] != others.shape[:-1] or not others.shape[-1]:
        raise ValueError(
            f"members and others must be losses of the same models, got shapes {members.shape} "
            f"and {others.shape}"
        )
    among_all = rankdata(np.concatenate([members, others], -1), axis=-1)[..., : members.shape[-1]]
    return 1 - (among_all - rankdata(members, axis=-1)) / others.shape[-1]


@metric("mia_fitted", "membership inference (fitted attack, AUC)", "oracle", ("forget",), slow=True)
def mia_fitted(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of an attack fitted on retain against test images (Shokri et al., 2017).

    A logistic regression on loss, entropy and margin learns from the retain images and one
    half of the test images; it is judged on the forget images and the other half.
    """
    half = outputs.loss("test").shape[-1] // 2
    retain, forget = _features(outputs, "retain"), _features(outputs, "forget")
    test = _features(outputs, "test", "nonmember")
    sets = zip(retain, test[:, :half], forget, test[:, half:])
    return np.array([np.nan if d else _attack(*own) for d, own in zip(outputs.diverged, sets)])


def _features(outputs: Outputs, split: str, labels: str | None = None) -> np.ndarray:
    p = np.sort(np.exp(outputs.log_p[split]), -1)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1)
    spread = [outputs.by_example(own, split) for own in (entropy, p[..., -1] - p[..., -2])]
    return np.stack([outputs.loss(split, labels), *spread], -1)


def _attack(
    members: np.ndarray, others: np.ndarray, forget: np.ndarray, unseen: np.ndarray
) -> float:
    # Imported here, because it takes longer than the rest of the package together.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    x, judged = np.concatenate([members, others]), np.concatenate([forget, unseen])
    centre, scale = x.mean(0), x.std(0) + 1e-12
    attack = LogisticRegression(class_weight="balanced")
    attack.fit((x - centre) / scale, np.arange(len(x)) < len(members))
    scores = attack.decision_function((judged - centre) / scale)
    return roc_auc_score(np.arange(len(judged)) < len(forget), scores)


@metric("zrf", "zero-retrain forgetting", "oracle", ("forget",), needs_incompetent=True)
def zrf(outputs: Outputs, split: str) -> np.ndarray:
    """1 - mean JS to an incompetent model, in bits (Chundawat et al., 2023)."""
    apart = js(outputs.log_p[split], outputs.incompetent.log_p[split])
    return 1 - outputs.by_example(apart, split).mean(-1) / np.log(2)


@metric("kl_to_oracle", "KL from the oracle (nats)", "lower", needs_oracle=True)
def kl_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean KL(oracle ‖ model)."""
    apart = kl(outputs.oracle.log_p[split], outputs.log_p[split])
    return outputs.by_example(apart, split).mean(-1)


@metric("js_to_oracle", "JS to the oracle (nats)", "lower", needs_oracle=True)
def js_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean Jensen-Shannon divergence to the oracle, at most log 2."""
    apart = js(outputs.oracle.log_p[split], outputs.log_p[split])
    return outputs.by_example(apart, split).mean(-1)


def kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) in nats of distributions given by log-probabilities, shape (..., classes)."""
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def js(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats of distributions given by log-probabilities.

    As the entropy of the mean minus the mean of the entropies.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    middle = 0.5 * (p + q)
    mixed = -(middle * np.log(np.maximum(middle, np.finfo(middle.dtype).tiny))).sum(-1)
    return mixed + 0.5 * ((p * log_p).sum(-1) + (q * log_q).sum(-1))

"""Distances of predictions from those of the oracle, and of models that know nothing."""

from __future__ import annotations

import numpy as np

from mcu_lite.metrics.registry import Outputs, metric


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

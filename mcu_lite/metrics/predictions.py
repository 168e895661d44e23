"""What is read off the predictions of models."""

from __future__ import annotations

import numpy as np

from mcu_lite.metrics.registry import Outputs, metric


@metric("loss", "loss (nats)", "lower")
def loss(outputs: Outputs, split: str) -> np.ndarray:
    """Mean cross-entropy."""
    return outputs.loss(split).mean(-1)


@metric("accuracy", "accuracy", "higher")
def accuracy(outputs: Outputs, split: str) -> np.ndarray:
    """Share of examples (of texts: tokens) whose label is the most probable one."""
    right = outputs.logits[split].argmax(-1) == outputs.labels[split]
    return outputs.by_example(right.astype(float), split).mean(-1)

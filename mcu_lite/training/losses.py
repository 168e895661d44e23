"""Cross-entropy of each example."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from mcu_lite.tasks.texts import IGNORED


def per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example in nats, shape (..., n), for logits (..., n, classes).

    Of texts, with logits (B, n, L, classes), it is the mean over the tokens not labelled -100.
    """
    if labels.ndim < 3:
        # Over few classes the log-softmax is several times faster when they are not innermost.
        return cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    flat = cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return token_mean(flat.view(labels.shape), labels)


def token_mean(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled tokens of each text, (B, n, L) to (B, n); others stay as they are."""
    if labels.ndim < 3:
        return values
    given = labels != IGNORED
    return values.where(given, 0.0).sum(-1) / given.sum(-1).clamp(min=1)

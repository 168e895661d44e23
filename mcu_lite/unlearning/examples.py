"""A batch as a method sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import log_softmax

from mcu_lite.checks import checked
from mcu_lite.tasks.texts import IGNORED
from mcu_lite.training.losses import per_example, token_mean


@checked
@dataclass(frozen=True)
class Examples:
    """A batch of one split as a method sees it.

    Parameters
    ----------
    logits : Tensor, shape (B, n, classes), or (B, n, L, classes) of texts of L tokens
        Of the models that are being changed.
    labels, wrong : Tensor of int64, shape (B, n), or (B, n, L)
        As observed; and another class, drawn once for each example (or token) and seed.
    teacher : function of "original" or "incompetent"
        Logits of the original models θo, or of freshly initialised ones, on the same examples.
        They are computed only when used.

    Notes
    -----
    Losses and divergences are per example, shape (B, n): of a text, means over the tokens that
    have a label. A log ratio is a sum over these tokens.
    """

    logits: Tensor
    labels: Tensor
    wrong: Tensor
    teacher: Callable[[str], Tensor]

    @property
    def original(self) -> Tensor:
        """Logits of the original models θo, shaped as `logits`."""
        return self.teacher("original")

    @property
    def incompetent(self) -> Tensor:
        """Logits of freshly initialised models, shaped as `logits`."""
        return self.teacher("incompetent")

    @property
    def loss(self) -> Tensor:
        """Cross-entropy in nats, shape (B, n)."""
        return per_example(self.logits, self.labels)

    @property
    def log_ratio(self) -> Tensor:
        """Log p(label) under the changed minus under the original model, shape (B, n).

        Of a text, log p of all its labelled tokens: a sum over them, as NPO wants it.
        """
        tokens = (self.labels != IGNORED).sum(-1) if self.labels.ndim > 2 else 1
        return tokens * (per_example(self.original, self.labels) - self.loss)

    def kl_from(self, teacher: Tensor) -> Tensor:
        """KL(teacher ‖ model) in nats of two sets of logits, shape (B, n)."""
        wanted, given = log_softmax(teacher, -1), log_softmax(self.logits, -1)
        return token_mean((wanted.exp() * (wanted - given)).sum(-1), self.labels)

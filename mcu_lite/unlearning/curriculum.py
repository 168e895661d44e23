"""Curricula from the losses themselves: the weights of SuperLoss, and examples in an order."""

from __future__ import annotations

import math

import torch
from scipy.special import lambertw
from torch import Tensor

from mcu_lite.checks import check_choice

# Losses that lie closer together than this (nats) do not differ: their weights tend to 1.
SMALLEST_SCALE = 1e-6
# W begins at -1/e, but the floating-point number of that name lies outside, where SciPy says NaN.
EASIEST = -2.0 / math.e + 1e-15
MOMENTUM = 0.9
"""Weight of the past in the running means."""
FIRST = 0.2
"""Share of a batch that counts in the first step of a curriculum that is an order."""
ORDERS = ("easy_to_hard", "hard_to_easy")


def superloss_weights(losses: Tensor, threshold: Tensor, lam: Tensor | float) -> Tensor:
    """Confidence σ* that SuperLoss gives each example, above 1 for easy ones and below for hard.

    Of losses (B, n) of any sign; `threshold` (B,) or () is τ, the loss of an example of weight 1;
    `lam` > 0, a number or (B,), is λ in the unit of the losses: the larger, the closer all weights
    are to 1. They lie between 0 and e and carry no gradient. NaN where an argument is NaN.

    σ* = exp(-W(½ max(-2/e, (l-τ)/λ))) minimises (l-τ)σ + λ(log σ)² over 0 < σ <= e
    (Castells et al. 2020, "SuperLoss", eq. 1 and 2; W is Lambert's function). Since it is a
    minimum, its derivative with respect to l is σ* itself (envelope theorem). So losses that are
    weighted by the detached σ* have the gradient of SuperLoss; W is never differentiated.
    """
    lam, threshold = (_double(v).reshape(-1, 1) for v in (lam, threshold))
    if (lam <= 0).any():
        raise ValueError(f"lam must be > 0, got {lam.min().item()}")
    excess = (_double(losses) - threshold) / lam
    w = lambertw(0.5 * excess.clamp(min=EASIEST).numpy()).real
    return torch.from_numpy(w).neg().exp().to(losses)


def _double(values: Tensor | float) -> Tensor:
    """Detached float64 values on the processor, where SciPy computes."""
    return torch.as_tensor(values).detach().to("cpu", torch.float64)


def in_order(losses: Tensor, done: float, order: str) -> Tensor:
    """Weights (B, n) by which a growing share of each batch counts, from its easy or hard end.

    Easy are the lowest of the losses (B, n), as in self-paced learning (Kumar et al. 2010). The
    share grows evenly from ``FIRST`` to 1 while `done`, the share of the steps, goes from 0 to 1.
    What counts counts alike, and the weights of a batch have the mean 1.
    """
    up = check_choice("order", order, ORDERS) == "easy_to_hard"
    n = losses.shape[1]
    count = max(1, round(n * (FIRST + (1 - FIRST) * done)))
    chosen = losses.detach().topk(count, dim=1, largest=not up).indices
    return torch.zeros_like(losses).scatter(1, chosen, n / count)


class Curriculum:
    """Weights of the examples of each batch, for one run of B models.

    `kind` is λ > 0 of SuperLoss, or one of ``ORDERS``, see `in_order`.

    SuperLoss compares with running means. Each split and each row has its own; they begin with the
    first batch. λ is relative to the losses' scale, the running mean of ``|l - τ|``. With an
    absolute λ of 10 (the authors' code), cross-entropies between 0 and 3 get weights between 0.91
    and 1.12: a curriculum that does nothing.

    A batch with a non-finite loss in row b leaves the means of that row as they were and gets
    weights 1, so that the row diverges by its loss, visibly, and the other rows do not notice.
    """

    def __init__(self, kind: float | str, models: int) -> None:
        self.kind = kind
        self._means: dict[str, tuple[Tensor, Tensor]] = {}
        self._spread, self._steps = torch.zeros(models, 2), torch.zeros(models)

    def weights(self, losses: Tensor, split: str, done: float) -> Tensor:
        """Weights (B, n) of a batch of `split`, when the share `done` of all steps was taken."""
        values = _double(losses)
        usable = values.isfinite().all(1)
        if isinstance(self.kind, str):
            weights = in_order(values, done, self.kind)
        else:
            mean, scale = self._scale(values, split, usable)
            weights = superloss_weights(values, mean, self.kind * scale.clamp(min=SMALLEST_SCALE))
        weights = weights.where(usable.unsqueeze(1), 1.0)
        ends = torch.stack([weights.quantile(q, dim=1) for q in (0.05, 0.95)], 1)
        self._spread += ends.where(usable.unsqueeze(1), 0.0).float()
        self._steps += usable
        return weights.to(losses)

    def _scale(self, values: Tensor, split: str, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Update the running means of a split, (B,) each: the losses, and how far they lie off."""
        unknown = torch.full((len(values),), torch.nan).double()
        mean, scale = self._means.get(split, (unknown, unknown))
        mean = _blend(mean, values.mean(1), usable)
        scale = _blend(scale, (values - mean.unsqueeze(1)).abs().mean(1), usable)
        self._means[split] = mean, scale
        return mean, scale

    @property
    def spread(self) -> Tensor:
        """5% and 95% quantile of a batch's weights, averaged over all batches, shape (B, 2).

        Both near 1 say that the curriculum does nothing. NaN for a row without a finite batch.
        """
        return self._spread / self._steps.unsqueeze(1)


def _blend(past: Tensor, now: Tensor, usable: Tensor) -> Tensor:
    mixed = (MOMENTUM * past + (1.0 - MOMENTUM) * now).where(past.isfinite(), now)
    return mixed.where(usable, past)

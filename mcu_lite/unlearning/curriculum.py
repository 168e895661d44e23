"""A curriculum from the losses themselves: easy examples first, by the weights of SuperLoss."""

from __future__ import annotations

import math

import torch
from scipy.special import lambertw
from torch import Tensor

# Losses that lie closer together than this (nats) do not differ: their weights tend to 1.
SMALLEST_SCALE = 1e-6
# W begins at -1/e, but the floating-point number of that name lies outside, where SciPy says NaN.
EASIEST = -2.0 / math.e + 1e-15
MOMENTUM = 0.9
"""Weight of the past in the running means."""


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


class Curriculum:
    """SuperLoss weights around running means, for one run of B models.

    Each split and each row has its own means; they begin with the first batch. A batch with a
    non-finite loss in row b leaves the means of that row as they were and gets weights 1, so
    that the row diverges by its loss, visibly, and the other rows do not notice.

    `lam` > 0 is λ relative to the losses' scale, the running mean of ``|l - τ|``. With an absolute
    λ of 10 (the authors' code), cross-entropies between 0 and 3 get weights between 0.91 and 1.12:
    a curriculum that does nothing.
    """

    def __init__(self, lam: float, models: int) -> None:
        self.lam = lam
        self._means: dict[str, tuple[Tensor, Tensor]] = {}
        self._spread, self._steps = torch.zeros(models, 2), torch.zeros(models)

    def weights(self, losses: Tensor, split: str) -> Tensor:
        """Update the means of `split` with a batch (B, n), and return its weights (B, n)."""
        values, unknown = _double(losses), torch.full((len(losses),), torch.nan).double()
        mean, scale = self._means.get(split, (unknown, unknown))
        usable = values.isfinite().all(1)
        mean = _blend(mean, values.mean(1), usable)
        scale = _blend(scale, (values - mean.unsqueeze(1)).abs().mean(1), usable)
        self._means[split] = mean, scale
        weights = superloss_weights(values, mean, self.lam * scale.clamp(min=SMALLEST_SCALE))
        weights = weights.where(usable.unsqueeze(1), 1.0)
        ends = torch.stack([weights.quantile(q, dim=1) for q in (0.05, 0.95)], 1)
        self._spread += ends.where(usable.unsqueeze(1), 0.0).float()
        self._steps += usable
        return weights.to(losses)

    @property
    def spread(self) -> Tensor:
        """5% and 95% quantile of a batch's weights, averaged over all batches, shape (B, 2).

        Both near 1 say that the curriculum does nothing. NaN for a row without a finite batch.
        """
        return self._spread / self._steps.unsqueeze(1)


def _blend(past: Tensor, now: Tensor, usable: Tensor) -> Tensor:
    mixed = (MOMENTUM * past + (1.0 - MOMENTUM) * now).where(past.isfinite(), now)
    return mixed.where(usable, past)

"""AdamW and Sophia for stacks of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import adamw as functional

from mcu_lite.tasks.texts import IGNORED

CURVATURE_EVERY = 5
BETAS, RHO, EPS = (0.9, 0.95), 0.04, 1e-15
Update = Callable[[Tensor, float], None]
"""Changes the rows in place, given their gradient and the learning rate."""
Callback = Callable[[Tensor, Tensor], None]
"""What watches a run of Sophia, see `sophia`."""


def adamw(rows: Tensor, weight_decay: float) -> Update:
    """Descend by AdamW (Loshchilov and Hutter, 2019), with PyTorch's own function.

    The class around that function imports the compiler: a second and 170 MB for each process.
    """
    mean, square, steps = torch.zeros_like(rows), torch.zeros_like(rows), rows.new_zeros(())
    settings = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay}
    settings |= {"fused": True, "amsgrad": False, "maximize": False}

    @torch.no_grad()
    def update(gradient: Tensor, lr: float) -> None:
        functional.adamw([rows], [gradient], [mean], [square], [], [steps], lr=lr, **settings)

    return update


def sophia(
    rows: Tensor,
    curvature: Callable[[Tensor], Tensor],
    weight_decay: float = 0.01,
    callback: Callback | None = None,
) -> Update:
    """Descend by clipped steps of momentum over curvature (Liu et al. 2023, algorithm 3).

    `curvature` maps `rows`, (B, ...), to an estimate of the Hessian's diagonal, of that shape; it
    is called every five steps, the first included. `callback` is called after each step with the
    running means of the gradient and of the curvature. A NaN stays in its row.

    m = β₁m + (1-β₁)g, then θ = (1 - lr·wd)θ, then θ = θ - lr·clip(m / max(ρh, eps), ±1), so that
    lr bounds the change of a parameter in one step. Where the curvature is negative or unknown the
    step is ±lr. As in the paper, neither mean is corrected for its start at 0: for the first
    1/(1-β₂) estimates h is too small, and more coordinates are clipped.
    """
    m, h, steps = torch.zeros_like(rows), torch.zeros_like(rows), count()

    def update(gradient: Tensor, lr: float) -> None:
        if next(steps) % CURVATURE_EVERY == 0:
            h.lerp_(curvature(rows), 1.0 - BETAS[1])
        m.lerp_(gradient, 1.0 - BETAS[0])
        ratio = m / (RHO * h).clamp_(min=EPS)
        with torch.no_grad():
            rows.mul_(1.0 - lr * weight_decay).sub_(ratio.clamp_(-1.0, 1.0), alpha=lr)
        if callback is not None:
            callback(m, h)

    return update


def gauss_newton_bartlett(
    logits: Tensor,
    rows: Tensor,
    generators: Sequence[torch.Generator],
    labels: Tensor | None = None,
) -> Tensor:
    """Estimate the Gauss-Newton diagonal of the mean cross-entropy, shape (B, P).

    It is g∘g, where g is the gradient of Σ √w·loss with labels that the model itself draws, and w
    the weight of a loss in the mean: never negative, and exact in the mean (Liu et al. 2023,
    algorithm 2, in which all weights are 1/n).

    `logits`, (B, n, classes), are attached to the graph of `rows`, (B, P), which is kept; each row
    has its own generator. Of texts, with logits (B, n, L, classes), `labels` (B, n, L) are needed:
    tokens labelled -100 are left out, the others share their text's 1/n.
    """
    chances = logits.detach().softmax(-1)
    # An exponential race draws from the softmax; torch.multinomial would raise at a NaN row.
    each = [torch.empty(chances.shape[1:]).exponential_(generator=rng) for rng in generators]
    draws = torch.stack(each)
    drawn = (chances / draws.to(chances)).argmax(-1)
    losses = cross_entropy(logits.flatten(0, -2), drawn.flatten(), reduction="none")
    weights = torch.ones_like(drawn, dtype=losses.dtype)
    if drawn.ndim > 2:
        weights = (labels != IGNORED).to(losses)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    total = (losses.view(drawn.shape) * (weights / drawn.shape[1]).sqrt()).sum()
    (gradient,) = torch.autograd.grad(total, rows, retain_graph=True)
    return gradient.square()

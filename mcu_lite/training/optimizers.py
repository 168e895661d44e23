"""How rows of models descend: by AdamW, or by Sophia, which knows the Hessian's diagonal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> Update:
    """Descend as `Sophia` does by default, the Hessian's diagonal estimated every five steps.

    After each step `watch` is shown the means of the gradient and of the curvature.
    """
    m, h, steps = torch.zeros_like(rows), torch.zeros_like(rows), count()

    def update(gradient: Tensor, lr: float) -> None:
        if next(steps) % CURVATURE_EVERY == 0:
            h.lerp_(curvature(rows), 1.0 - BETAS[1])
        _step(rows, gradient, m, h, lr=lr, weight_decay=weight_decay)
        if watch is not None:
            watch(m, h)

    return update


@torch.no_grad()
def _step(
    p: Tensor,
    gradient: Tensor,
    m: Tensor,
    h: Tensor,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = BETAS,
    rho: float = RHO,
    eps: float = EPS,
) -> None:
    """Move the mean of the gradient, and then the parameters, in place."""
    m.lerp_(gradient, 1.0 - betas[0])
    ratio = m / (rho * h).clamp_(min=eps)
    p.mul_(1.0 - lr * weight_decay).sub_(ratio.clamp_(-1.0, 1.0), alpha=lr)


class Sophia(torch.optim.Optimizer):
    """Clipped steps of momentum over curvature (Liu et al. 2023, algorithm 3).

    Everything is element-wise, so one optimizer serves all rows of a tensor (B, P) without
    mixing them, and a NaN stays in its row.

    Parameters
    ----------
    params : iterable of Tensor, or of parameter groups
    lr : float
        The largest change of a parameter in one step, apart from weight decay.
    betas : (float, float)
        Weight of the past in the means of the gradient and of the curvature.
    rho : float
        The larger, the fewer coordinates are clipped.
    weight_decay : float
        Decoupled, as in AdamW.
    eps : float
        Lower bound of ρh. Where the curvature is negative or unknown the step is ±lr.

    Notes
    -----
    m = β₁m + (1-β₁)g, then θ = (1 - lr·wd)θ, then θ = θ - lr·clip(m / max(ρh, eps), ±1).
    As in the paper, neither mean is corrected for its start at 0: for the first 1/(1-β₂)
    estimates h is too small, and more coordinates are clipped.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = BETAS,
        rho: float = RHO,
        weight_decay: float = 0.01,
        eps: float = EPS,
    ) -> None:
        for name, value in (("lr", lr), ("rho", rho), ("eps", eps)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas}")
        own = dict(lr=lr, betas=betas, rho=rho, weight_decay=weight_decay, eps=eps)
        super().__init__(params, own)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step from the gradients in ``.grad``."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            own = {name: group[name] for name in ("lr", "weight_decay", "betas", "rho", "eps")}
            for p in group["params"]:
                if p.grad is not None:
                    _step(p, p.grad, *self._moments(p), **own)
        return loss

    @torch.no_grad()
    def observe(self, estimates: Sequence[Tensor]) -> None:
        """Move the curvature h = β₂h + (1-β₂)ĥ; one estimate ĥ for each parameter, in order."""
        params = [(p, group["betas"][1]) for group in self.param_groups for p in group["params"]]
        given = [tuple(estimate.shape) for estimate in estimates]
        wanted = [tuple(p.shape) for p, _ in params]
        if given != wanted:
            raise ValueError(f"estimates must have shapes {wanted}, got {given}")
        for estimate, (p, beta) in zip(estimates, params):
            self._moments(p)[1].lerp_(estimate.to(p), 1.0 - beta)

    def _moments(self, p: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[p]
        if not state:
            state["momentum"], state["curvature"] = torch.zeros_like(p), torch.zeros_like(p)
        return state["momentum"], state["curvature"]


def gauss_newton_bartlett(
    logits: Tensor,
    rows: Tensor,
    generators: Sequence[torch.Generator],
    labels: Tensor | None = None,
) -> Tensor:
    """Estimate the Gauss-Newton diagonal of the mean cross-entropy, shape (B, P).

    It is g∘g, where g is the gradient of Σ √w·loss with labels that the model itself draws, and w
    the weight of a loss in the mean: never negative, and exact in the mean (Liu et al. 2023,
    algorithm 2, in which all weights are 1/n). The graph is kept.

    Parameters
    ----------
    logits : Tensor, shape (B, n, classes), or (B, n, L, classes) of texts of L tokens
        Attached to the graph of `rows`.
    rows : Tensor, shape (B, P)
    generators : sequence of torch.Generator
        One a row, so that a row's estimate does not depend on how many others there are.
    labels : Tensor of int64, shape (B, n, L), optional
        Needed for texts: tokens labelled -100 are left out, the others share their text's 1/n.
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


def hutchinson(loss: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Estimate the diagonal of each row's Hessian by u∘(Hu) with random signs u, shape (B, P).

    Exact in the mean, and at once where the Hessian is diagonal; may be negative (Liu et al.
    2023, algorithm 1). It differentiates twice. The graph is kept.

    Parameters
    ----------
    loss : Tensor, shape (B,)
        Row b depends on ``rows[b]`` only.
    rows : Tensor, shape (B, P)
    generator : torch.Generator
    """
    draws = torch.empty_like(rows, requires_grad=False, device=generator.device)
    signs = draws.bernoulli_(generator=generator).to(rows) * 2 - 1
    (gradient,) = torch.autograd.grad(loss.sum(), rows, create_graph=True)
    (product,) = torch.autograd.grad(gradient, rows, signs, retain_graph=True)
    return signs * product

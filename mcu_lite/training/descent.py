"""One loop descends: training, unlearning and curve fitting differ only in their loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm import trange

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.seeding import generators, seeded
from mcu_lite.tasks.task import check_range
from mcu_lite.training.optimizers import Callback, adamw, sophia

RowLoss = Callable[[Tensor], Tensor]


def descend(
    start: Tensor,
    loss: RowLoss,
    *,
    steps: int,
    lr: float,
    decay: Callable[[float], float] = lambda progress: 1.0 - progress,
    weight_decay: float = 0.01,
    mask: Tensor | None = None,
    curvature: Callable[[Tensor], Tensor] | None = None,
    callback: Callback | None = None,
    draws: bool = True,
    seed: int = 0,
    label: str = "descending",
) -> tuple[Tensor, Tensor]:
    """Minimise one loss per row, all rows at once.

    Row b of `start`, (B, ...), is one parametrisation: a model, or the free control points of a
    curve. `loss` maps (B, ...) to (B,) and draws its own batch at each call; row b of the result
    depends on row b only. `lr` is the rate at the start, `decay` maps the progress in [0, 1) to a
    factor. Entries where `mask` is False keep their start value. With a `curvature` Sophia descends
    (see `mcu_lite.training.optimizers.sophia`, also for `callback`), else AdamW.

    With `draws` the loss may draw from PyTorch's global random state, as dropout does: each step
    has its own seed, made of `seed` and `label`, and takes turns with those of other threads.

    Returns the rows, NaN where one diverged, and which did (B,): those whose loss or gradient left
    the finite numbers. Gradients are clipped to norm 1, row by row. Everything else an optimizer
    does is element-wise, so one optimizer serves all rows without mixing them.

    Raises
    ------
    ValueError
        If `steps` is negative, `lr` is not positive and finite, or the loss is not one number a
        row or does not depend on the rows.
    """
    if steps < 0 or not 0 < lr < math.inf:
        raise ValueError(f"steps must be >= 0 and lr > 0 and finite, got steps={steps}, lr={lr}")
    rows = start.detach().clone().requires_grad_()
    if curvature is None:
        update = adamw(rows, weight_decay)
    else:
        update = sophia(rows, curvature, weight_decay, callback)
    diverged = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)

    for step in trange(steps, desc=label, delay=1, leave=False, disable=None):
        of_loss, of_curvature = (
            stream(f"drawn by the {part} of {label} at step {step}", seed) if draws else None
            for part in ("loss", "curvature")
        )
        with seeded(of_loss, rows.device):
            value = loss(rows)
        if value.shape != diverged.shape:
            raise ValueError(f"loss must give {len(rows)} numbers, got {tuple(value.shape)}")
        gradient = _gradient(value, rows, label)
        norm = gradient.flatten(1).norm(dim=1)
        diverged |= ~(value.detach().isfinite() & norm.isfinite())
        each = (-1,) + (1,) * (rows.ndim - 1)
        gradient *= (1.0 / norm.clamp(min=1.0)).view(each)
        if diverged.any():  # a factor of 0 would leave NaN
            gradient = gradient.where(~diverged.view(each), 0.0)
        with seeded(of_curvature, rows.device):
            update(gradient, lr * decay(step / steps))
        if mask is not None:
            torch.where(mask, rows.detach(), start.detach(), out=rows.detach())
    rows = rows.detach()
    rows[diverged] = torch.nan
    return rows, diverged


def stream(purpose: str, seed: int) -> int:
    """Seed of what is drawn for one purpose, so that no fit sees the batches of another."""
    return generators(purpose, seed, [0])[0].initial_seed()


def may_draw(architecture: Architecture) -> bool:
    """Whether a module may draw while it is trained; chains of dense layers do not."""
    return architecture.module.training and not architecture.chain


def _gradient(value: Tensor, rows: Tensor, label: str) -> Tensor:
    """Gradient of each row's own loss, shape (B, ...)."""
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), rows, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"loss must depend on the parameters that it is given, but {label} it does not: it is "
            "constant, or computed from other parameters, such as those of a module of one's own"
        )
    return gradient


def cosine(progress: float) -> float:
    """Cosine decay from 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def batches(index: Tensor, size: int, rngs: list[torch.Generator]) -> Iterator[Tensor]:
    """Endless batches (B, size) of splits `index` (B, n), each row in its own random order.

    The last batch of an epoch may be smaller. Batches hold positions in 0..n-1, not pool indices,
    so that anything stored a split can be looked up; they are on the device of `index`.
    """
    check_range("batch", size, 1)
    n = index.shape[1]
    while True:
        order = torch.stack([torch.randperm(n, generator=rng) for rng in rngs])
        yield from order.to(index.device).split(size, dim=1)

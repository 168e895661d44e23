"""The way a method went: models along its descent, their detours, and walks of pure noise."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path
from mcu_lite.tasks.task import Task, check_rows
from mcu_lite.training.descent import RowLoss, descend
from mcu_lite.unlearning.objectives import recipe_for
from mcu_lite.unlearning.unlearn import descend_arguments


def trajectory(
    theta: Stack, task: Task, method: str, *, seed: int = 0, every: int = 1, **recipe: float
) -> Tensor:
    """Unlearn as `mcu_lite.unlearn` does and keep the models on the way, shape (S, B, P).

    The first is the original, then comes a model every so many steps, and in any case the last
    one. Fewer steps would not do: the rate decays over all of them, so a shorter run goes
    elsewhere. Models that diverged on the way are NaN throughout.
    """
    how = descend_arguments(theta, task, recipe_for(method, task, **recipe), seed)
    return _recorded(every, **how)


def noise_walk(theta: Stack, task: Task, *, steps: int, lr: float, seed: int = 0) -> Tensor:
    """Give the optimizer random gradients in place of a loss; models kept, shape (S, B, P).

    What it shows of a trajectory's shape is due to steps, rate, decay and momentum alone.
    """
    check_rows(theta, task)
    rngs = generators("noise in place of a gradient", seed, task.seeds)

    def loss(rows: Tensor) -> Tensor:
        noise = torch.stack([torch.randn(rows.shape[1], generator=rng) for rng in rngs]).to(rows)
        return (noise * rows).sum(1)

    return _recorded(1, theta.rows, loss, steps=steps, lr=lr, draws=False)


def _recorded(every: int, start: Tensor, loss: RowLoss, **how) -> Tensor:
    """Descend and keep the rows at every so many calls of the loss, and the last ones."""
    if every < 1:
        raise ValueError(f"every must be at least 1 step, got {every}")
    kept, clock = [], count()

    def recorded(rows: Tensor) -> Tensor:
        if next(clock) % every == 0:
            kept.append(rows.detach().clone())
        return loss(rows)

    last, diverged = descend(start, recorded, **how)
    rows = torch.stack([*kept, last])
    rows[:, diverged] = torch.nan
    return rows


def as_path(rows: Tensor, theta: Stack) -> Path:
    """Make a trajectory (S, B, P) a polygonal chain, which can be measured at S values of t."""
    return Path("chain", rows, theta.architecture, rows.isnan().any(-1).any(0))


# The shape of a way through weight space. Rows have the shape (S, B, P).


def length_over_chord(rows: Tensor) -> Tensor:
    """Length of the way through the rows over the distance of its ends, shape (B,); at least 1."""
    return rows.diff(dim=0).norm(dim=-1).sum(0) / (rows[-1] - rows[0]).norm(dim=-1)


def progress(rows: Tensor) -> Tensor:
    """Where each row stands above the chord: 0 at its start, 1 at its end, shape (S, B)."""
    chord = rows[-1] - rows[0]
    return torch.einsum("sbp,bp->sb", rows - rows[0], chord) / chord.square().sum(-1)


def feet(rows: Tensor) -> Tensor:
    """Points of the line through the two ends that are nearest to the rows, shape (S, B, P)."""
    return torch.lerp(rows[0], rows[-1], progress(rows).unsqueeze(-1))


def beside(rows: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """The rows, their `feet`, and as far from the feet in random directions, each (S, B, P)."""
    foot = feet(rows)
    aside = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed)).to(rows)
    aside *= ((rows - foot).norm(dim=-1) / aside.norm(dim=-1)).unsqueeze(-1)
    return {"trajectory": rows, "foot": foot, "random": foot + aside}

"""Which share of the steps of a second-order run is clipped, and so of first order."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from mcu_lite.models.seeding import seeded
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task
from mcu_lite.training.optimizers import EPS, RHO, sophia
from mcu_lite.unlearning.objectives import recipe_for, unlearning_objective
from mcu_lite.unlearning.unlearn import curvature_of


def share_at_bound(m: Tensor, h: Tensor) -> Tensor:
    """Share of each row's coordinates that are clipped, shape (B,), from Sophia's two means.

    Coordinates whose gradient has been 0 throughout, such as those of blank pixels, do not count.
    """
    moving = m != 0
    return (moving & (m.abs() >= (RHO * h).clamp(min=EPS))).sum(1) / moving.sum(1)


def clipped_share(
    theta: Stack, task: Task, method: str, seed: int = 0, lr: float | None = None
) -> tuple[pd.DataFrame, Tensor]:
    """Unlearn with Sophia as `mcu_lite.unlearn` does with ``order=2``, and watch the clipping.

    A clipped coordinate changes by the rate, whatever the curvature: a step by the sign.

    Parameters
    ----------
    theta : Stack
    task : Task
    method : str
        One that changes all weights and starts from θo.
    seed, lr
        As for `mcu_lite.unlearn`.

    Returns
    -------
    table : pandas.DataFrame
        One line a step and seed: step, seed, share.
    rows : Tensor, shape (B, P)
        Where the run ended.
    """
    recipe = recipe_for(method, task)
    if recipe.begins != "original" or recipe.saliency < 1:
        raise ValueError(f"method must change all weights of θo, {method!r} does not")
    lr = recipe.lr if lr is None else lr
    objective = unlearning_objective(recipe, theta, task)
    loss, rows = objective.start(seed, recipe.steps), theta.rows.clone().requires_grad_()
    shares: list[Tensor] = []

    def watch(m: Tensor, h: Tensor) -> None:
        shares.append(share_at_bound(m, h))

    update = sophia(rows, curvature_of(objective, seed, task.seeds), watch=watch)
    with seeded(seed, rows.device):
        for step in range(recipe.steps):
            (gradient,) = torch.autograd.grad(loss(rows).sum(), rows)
            clipped = gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1.0)
            update(clipped, lr * (1 - step / recipe.steps))
    share = torch.stack(shares).flatten().tolist()
    pairs = [(step, seed) for step in range(recipe.steps) for seed in task.seeds]
    return pd.DataFrame(pairs, columns=["step", "seed"]).assign(share=share), rows.detach()

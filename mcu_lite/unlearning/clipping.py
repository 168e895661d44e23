"""Which share of the steps of a second-order run is clipped, and so of first order."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task
from mcu_lite.training.descent import descend
from mcu_lite.training.optimizers import EPS, RHO
from mcu_lite.unlearning.objectives import recipe_for
from mcu_lite.unlearning.unlearn import descent


def share_at_bound(m: Tensor, h: Tensor) -> Tensor:
    """Share of each row's coordinates that are clipped, shape (B,), from Sophia's two means.

    Coordinates whose gradient has been 0 throughout, such as those of blank pixels, do not count.
    """
    moving = m != 0
    return (moving & (m.abs() >= (RHO * h).clamp(min=EPS))).sum(1) / moving.sum(1)


def clipped_share(
    theta: Stack, task: Task, method: str, seed: int = 0, **recipe: float
) -> tuple[pd.DataFrame, Tensor]:
    """Unlearn as `mcu_lite.unlearn` does with ``order=2``, and watch the clipping.

    A clipped coordinate changes by the rate, whatever the curvature: a step by the sign.

    Returns
    -------
    table : pandas.DataFrame
        One line a step and seed: step, seed, share.
    rows : Tensor, shape (B, P)
        Where the run ended.
    """
    shares: list[Tensor] = []
    how = descent(theta, task, recipe_for(method, task, **recipe), seed, order=2)
    rows, _ = descend(**how, watch=lambda m, h: shares.append(share_at_bound(m, h)))
    pairs = [(step, seed) for step in range(len(shares)) for seed in task.seeds]
    table = pd.DataFrame(pairs, columns=["step", "seed"])
    return table.assign(share=torch.cat(shares).tolist()), rows

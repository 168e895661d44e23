"""Unlearning: the descent from the original models on the objective of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task, check_range, check_rows
from mcu_lite.training.descent import descend, stream
from mcu_lite.training.optimizers import EPS, RHO, gauss_newton_bartlett
from mcu_lite.training.train import train
from mcu_lite.unlearning.curriculum import Curriculum
from mcu_lite.unlearning.methods import Method, check_switches
from mcu_lite.unlearning.objectives import examples_of, recipe_for, unlearning_objective


def unlearn(
    theta: Stack,
    task: Task,
    method: str,
    *,
    seed: int = 0,
    curriculum: float | str = 0.0,
    order: int = 1,
    epochs: int = 100,
    **recipe: float,
) -> Stack:
    """Unlearn the forget set of each split, all rows at once.

    Parameters
    ----------
    theta : Stack
        The original models θo, row b trained on split b.
    task : Task
    method : str
        A name in ``METHODS``.
    seed : int
        Fixes the order of the data, and the initialisation where the method retrains.
    curriculum : float or {"easy_to_hard", "hard_to_easy"}
        SuperLoss with this λ, relative to the scale of the losses: a small λ is a strong
        curriculum; 0 switches it off. Or an order in which the examples of each batch are
        admitted, by their losses.
    order : {1, 2}
        AdamW, or Sophia with the Gauss-Newton-Bartlett estimate every five steps. That is the
        curvature of the mean cross-entropy on the batches, whatever the method's objective.
    epochs : int
        Of the methods that retrain: those of θo. If θo was trained with another batch size, use
        ``mcu.train(task, split="retain", batch=…)`` instead.
    **recipe
        ``lr``, ``steps`` or ``forget_weight``, in place of the task's or the method's own; for
        the methods that retrain ``lr`` alone.

    Returns
    -------
    Stack
        Its ``origin`` is `theta`; its ``spread`` the weights that the curriculum gave.

    Raises
    ------
    ValueError
        For an unknown name, a negative curriculum, another number of models than the task has
        splits, what a method that retrains does not take, or an initialisation that is not known.

    Examples
    --------
    >>> a = unlearn(theta, task, "npo", seed=0, steps=5)
    >>> print(a.report())
    npo: 2 models, none diverged
    >>> a.origin is theta
    True
    """
    check_range("seed", seed, 0)
    chosen = recipe_for(method, task, **recipe)
    check_switches(chosen, curriculum, order, recipe)
    if chosen.begins != "original":
        return _retrained(theta, task, chosen, seed, epochs, recipe.get("lr"))
    weights = Curriculum(curriculum, len(theta)) if curriculum else None
    rows, diverged = descend(**descend_arguments(theta, task, chosen, seed, weights, order))
    spread = weights.spread if weights else None
    return Stack(theta.architecture, rows, method, origin=theta, diverged=diverged, spread=spread)


def descend_arguments(
    theta: Stack,
    task: Task,
    recipe: Method,
    seed: int = 0,
    curriculum: Curriculum | None = None,
    order: int = 1,
) -> dict:
    """Arguments with which `descend` unlearns by a method."""
    if recipe.begins != "original":
        raise ValueError(f"{recipe.name!r} retrains: it does not descend from the original")
    objective = unlearning_objective(recipe, theta, task)
    return {
        "start": theta.rows,
        "loss": objective.start(seed, recipe.steps, curriculum),
        "steps": recipe.steps,
        "lr": recipe.lr,
        "mask": objective.mask,
        "curvature": _curvature(theta, task, seed) if order == 2 else None,
        "draws": objective.draws,
        "seed": seed,
        "label": f"unlearning by {recipe.name}",
    }


def _curvature(theta: Stack, task: Task, seed: int) -> Callable[[Tensor], Tensor]:
    """Estimate of the Hessian's diagonal on batches and sampled labels of its own.

    Of the mean cross-entropy on forget and retain batches, whatever the objective: Gauss-Newton-
    Bartlett needs a likelihood, which the forget terms are not. It only scales the steps.
    """
    draw = examples_of(theta, task)(stream("curvature", seed))
    sampled = generators("sampled labels", seed, task.seeds)

    def estimate(rows: Tensor) -> Tensor:
        both = draw(rows)
        logits, labels = (torch.cat([getattr(e, n) for e in both], 1) for n in ("logits", "labels"))
        return gauss_newton_bartlett(logits, rows, sampled, labels)

    return estimate


def _retrained(
    theta: Stack, task: Task, recipe: Method, seed: int, epochs: int, lr: float | None
) -> Stack:
    check_rows(theta, task)
    start = theta.initial if recipe.begins == "initial" else None
    if recipe.begins == "initial" and start is None:
        raise ValueError("theta does not know its initialisation, which retrain_same starts from")
    # The original was trained with seed 0, 1, ...; its oracle must not share that initialisation.
    how = {"seed": seed + 10_000, "epochs": epochs, "lr": lr, "start": start}
    oracle = train(task, theta.architecture, split="retain", **how)
    return replace(oracle, label=recipe.name, origin=theta)


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

    A clipped coordinate changes by the rate, whatever the curvature: a step by the sign. The table
    has one line a step and seed: step, seed, share. The rows (B, P) are where the run ended.
    """
    shares: list[Tensor] = []
    how = descend_arguments(theta, task, recipe_for(method, task, **recipe), seed, order=2)
    rows, _ = descend(**how, callback=lambda m, h: shares.append(share_at_bound(m, h)))
    pairs = [(step, seed) for step in range(len(shares)) for seed in task.seeds]
    table = pd.DataFrame(pairs, columns=["step", "seed"])
    return table.assign(share=torch.cat(shares).tolist()), rows

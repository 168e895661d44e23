"""Unlearning: the descent from the original models on the objective of a method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from mcu_lite.checks import known
from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task, check_rows
from mcu_lite.training.descent import descend, stream
from mcu_lite.training.optimizers import Watch, gauss_newton_bartlett
from mcu_lite.training.train import train
from mcu_lite.unlearning.curriculum import Curriculum
from mcu_lite.unlearning.methods import RECIPE, Method, check_switches
from mcu_lite.unlearning.objectives import Objective, recipe_for, unlearning_objective


def unlearn(
    theta: Stack,
    task: Task,
    method: str,
    *,
    seed: int = 0,
    curriculum: float = 0.0,
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
    curriculum : float
        SuperLoss with this λ, relative to the scale of the losses; 0 for none, True for 1.
    order : {1, 2}
        AdamW, or Sophia with the Gauss-Newton-Bartlett estimate every five steps. That is the
        curvature of the mean cross-entropy on the batches, whatever the method's objective.
    epochs : int
        Of the methods that retrain, to which curriculum and order do not apply. They train as
        `mcu_lite.train` does by default, from `Architecture.fresh`; call that function, on the
        split "retain", where θo was trained otherwise than by the rate alone.
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
        For an unknown method, order or part of a recipe, a negative curriculum, a stack of another
        size than the task, a switch or a recipe for a method that retrains, or ``retrain_same`` of
        models whose initialisation is not known.

    Examples
    --------
    >>> a = unlearn(theta, task, "npo", seed=0, steps=5)
    >>> print(a.report())
    npo: 2 models, none diverged
    >>> a.origin is theta
    True
    >>> second_order = unlearn(theta, task, "npo", order=2, steps=5)
    """
    for part in recipe:
        known("part of the recipe", part, RECIPE)
    chosen = replace(recipe_for(method, task), **recipe)
    check_switches(chosen, curriculum, order, recipe)
    check_rows(theta, task)
    if chosen.begins != "original":
        result = _retrain(theta, task, chosen, seed, epochs, recipe.get("lr"))
    else:
        result = descend_from(theta, task, chosen, seed, curriculum, order)
    return result.with_rows(result.rows, label=method, origin=theta)


def descend_from(
    theta: Stack,
    task: Task,
    recipe: Method,
    seed: int = 0,
    lam: float = 0.0,
    order: int = 1,
    watch: Watch | None = None,
) -> Stack:
    """Descend from θo on a method's objective; `watch` is called after each step of Sophia."""
    curriculum = Curriculum(float(lam)) if lam else None
    begin = None if curriculum is None else lambda: curriculum
    objective = unlearning_objective(recipe, theta, task, curriculum=begin)
    rows, diverged = descend(
        theta.rows,
        objective.start(seed, recipe.steps),
        steps=recipe.steps,
        lr=recipe.lr,
        mask=objective.mask,
        curvature=curvature_of(objective, seed, task.seeds) if order == 2 else None,
        watch=watch,
        draws=objective.draws,
        seed=seed,
        label=f"unlearning by {recipe.name}",
    )
    spread = curriculum.spread if curriculum else None
    return Stack(theta.architecture, rows, diverged=diverged, spread=spread)


def curvature_of(
    objective: Objective, seed: int, seeds: Sequence[int]
) -> Callable[[Tensor], Tensor]:
    """Estimate of the Hessian's diagonal on batches and sampled labels of its own.

    Of the mean cross-entropy on forget and retain batches, whatever the objective: Gauss-Newton-
    Bartlett needs a likelihood, which the forget terms are not. It only scales the steps.
    """
    logits = objective.logits(stream("curvature", seed))
    sampled = generators("sampled labels", seed, seeds)

    def estimate(rows: Tensor) -> Tensor:
        batch, labels = logits(rows)
        return gauss_newton_bartlett(batch, rows, sampled, labels)

    return estimate


def _retrain(
    theta: Stack, task: Task, recipe: Method, seed: int, epochs: int, lr: float | None
) -> Stack:
    start = theta.initial if recipe.begins == "initial" else None
    if recipe.begins == "initial" and start is None:
        raise ValueError("theta does not know its initialisation, which retrain_same starts from")
    # The original was trained with seed 0, 1, ...; its oracle must not share that initialisation.
    how = {"seed": seed + 10_000, "epochs": epochs, "lr": lr, "start": start}
    return train(task, theta.architecture, split="retain", **how)

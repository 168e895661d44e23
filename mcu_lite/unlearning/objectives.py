"""Objectives: losses per model that draw their own batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count
from types import MappingProxyType

import torch
from torch import Tensor

from mcu_lite.checks import check_choice, checked
from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack, incompetent_rows
from mcu_lite.tasks.task import Task, check_rows, pick
from mcu_lite.tasks.texts import IGNORED
from mcu_lite.training.descent import RowLoss, batches, may_draw
from mcu_lite.training.losses import per_example
from mcu_lite.unlearning.curriculum import Curriculum
from mcu_lite.unlearning.examples import Examples
from mcu_lite.unlearning.methods import METHODS, RECIPE, Method

NO_OTHERS: Mapping[str, Tensor] = MappingProxyType({})
TEACHER_NUMBERS = 50_000_000
"""Largest number of teacher logits per split that is cached."""


@checked
@dataclass(frozen=True)
class Objective:
    """A loss per row that draws its own batches: what descends, and what curves are fitted on.

    Parameters
    ----------
    name : str
    start : function of (seed, steps)
        Returns a function from rows (B, P) to losses (B,), with its own stream of batches;
        `steps` is how often it will be called, for what changes on the way.
    mask : Tensor of bool, shape (B, P), optional
        Weights that its gradient moves; while a model is unlearned, the others stay those of θo.
    models : int, optional
        How many it is for, if it knows their data.
    draws : bool
        Whether its losses may draw from PyTorch's global random state, as dropout does.
    along : bool
        Whether its losses take t, shape (B,), after the rows: for curves only.
    """

    name: str
    start: Callable[[int, int], RowLoss]
    mask: Tensor | None = None
    models: int | None = None
    draws: bool = True
    along: bool = False


def recipe_for(method: str, task: Task, **changes: float) -> Method:
    """Return a registered method with the task's own recipe, and what a caller changes in it."""
    for part in changes:
        check_choice("part of the recipe", part, RECIPE)
    own = task.recipes.get(check_choice("method", method, METHODS), {})
    return replace(METHODS[method], **own | changes)


def unlearning_objective(method: str | Method, theta: Stack, task: Task) -> Objective:
    """Build the weighted forget and retain terms of a method, by name or with another recipe.

    A curriculum, as a third argument of `start`, weights the losses of both terms.
    """
    recipe = recipe_for(method, task) if isinstance(method, str) else method
    batches_of, mask = examples_of(theta, task), salient(theta, task, recipe.saliency)

    def start(seed: int, steps: int, curriculum: Curriculum | None = None) -> RowLoss:
        draw, clock = batches_of(seed), count()

        def loss(rows: Tensor) -> Tensor:
            # Along a curve the other weights need not be those of θo: they are left as they are.
            rows = rows if mask is None else torch.where(mask, rows, rows.detach())
            (lost, kept), step = recipe.terms_on(*draw(rows)), next(clock)
            if step % recipe.forget_every or step >= recipe.forget_until * steps:
                lost = None
            # A step may have no term at all, and still needs a gradient.
            total = (0.0 * rows).sum(1) if lost is kept is None else rows.new_zeros(len(rows))
            terms = (recipe.forget_weight, "forget", lost), (1.0, "retain", kept)
            for weight, split, term in terms:
                if term is not None:
                    own = curriculum.weights(term, split, step / steps) if curriculum else 1.0
                    total = total + weight * (own * term).mean(1)
            if recipe.l1:
                total = total + recipe.l1 * (1 - step / steps) * rows.abs().sum(1)
            return total

        return loss

    # A method of the user's own may draw as well.
    draws = may_draw(theta.architecture) or recipe.losses.__module__ != Method.__module__
    return Objective(recipe.name, start, mask, len(theta), draws)


def retain_objective(theta: Stack, task: Task) -> Objective:
    """Build the retain loss alone, which says nothing about forgetting."""
    part = task.retain, sum(sizes_of(task).values())
    return _mean(theta, task, {"retain": part}, lambda retain: retain.loss)


def oracle_objective(oracle: Stack, task: Task, size: int = 96) -> Objective:
    """Build KL(oracle ‖ model) in nats on retain and forget examples together.

    Parameters
    ----------
    oracle : Stack
        Retrained models, one for each split of the task.
    task : Task
    size : int
        Examples a batch.

    Examples
    --------
    >>> oracle = unlearn(theta, task, "retrain", epochs=1)
    >>> connect(a, b, task, objective=oracle_objective(oracle, task), steps=2).objective
    'oracle'
    """
    part = task.train, size
    return _mean(oracle, task, {"oracle": part}, lambda own: own.kl_from(own.original))


def _mean(models: Stack, task: Task, part: dict, loss: Callable[[Examples], Tensor]) -> Objective:
    """Mean of a loss (B, n) of the examples of one part, after which it is named."""
    batches_of, (name,) = examples_of(models, task, part), part

    def start(seed: int, steps: int) -> RowLoss:
        draw = batches_of(seed)
        return lambda rows: loss(*draw(rows)).mean(1)

    return Objective(name, start, None, len(models), may_draw(models.architecture))


def sizes_of(task: Task) -> dict[str, int]:
    """How many examples of each split a step of unlearning takes."""
    return {"forget": 32, "retain": 64} | task.recipes.get("batch", {})


def examples_of(
    theta: Stack,
    task: Task,
    parts: dict[str, tuple[Tensor, int]] | None = None,
    others: Mapping[str, Tensor] = NO_OTHERS,
) -> Callable[[int], Callable[[Tensor], list[Examples]]]:
    """Build a function of a seed that returns a function of rows (B, P), which draws a batch.

    The latter returns the `Examples` of each part. A part is named after what it is drawn for; it
    is the indices (B, n) from which it is drawn, and how many at a time. By default there are two,
    the forget and the retain set. Their teachers are θo and untrained models, and the rows of
    `others` by name.
    """
    check_rows(theta, task)
    parts = parts or {name: (getattr(task, name), n) for name, n in sizes_of(task).items()}
    seen = [_examples(theta, task, name, index, others) for name, (index, _) in parts.items()]

    def start(seed: int) -> Callable[[Tensor], list[Examples]]:
        draws = [
            batches(index, size, generators(f"{name} order", seed, task.seeds))
            for name, (index, size) in parts.items()
        ]

        def draw(rows: Tensor) -> list[Examples]:
            places = [next(own) for own in draws]
            index = [pick(own, place) for (own, _), place in zip(parts.values(), places)]
            logits = theta.architecture.logits(rows, task.inputs[torch.cat(index, 1)])
            # A gradient through `split` lies otherwise in memory, and is rounded otherwise.
            shares = logits.split([own.shape[1] for own in index], 1) if index[1:] else [logits]
            return [examples(*own) for examples, *own in zip(seen, places, shares)]

        return draw

    return start


def _examples(
    theta: Stack, task: Task, name: str, index: Tensor, others: Mapping[str, Tensor] = NO_OTHERS
) -> Callable[[Tensor, Tensor], Examples]:
    """Examples by their places (B, n) in `index` and the changing models' logits on them."""
    labels = pick(task.labels, index)
    rngs = generators(f"wrong labels of {name}", 0, task.seeds)
    shift = [torch.randint(1, task.classes, labels.shape[1:], generator=g) for g in rngs]
    wrong = (labels + torch.stack(shift).to(labels.device)) % task.classes
    wrong = wrong.where(labels != IGNORED, IGNORED)
    teacher = _teacher(theta, task, index, labels.numel() * task.classes, others)
    return lambda place, logits: Examples(
        logits, pick(labels, place), pick(wrong, place), partial(teacher, place=place)
    )


def _teacher(
    theta: Stack, task: Task, index: Tensor, numbers: int, others: Mapping[str, Tensor] = NO_OTHERS
) -> Callable[[str, Tensor], Tensor]:
    """Logits of fixed models by name and places (B, n) in `index`."""
    architecture = theta.architecture.evaluating()

    @cache
    def model(name: str) -> Callable[[Tensor], Tensor]:
        rows = others.get(name, theta.rows)
        teachers = ("original", "incompetent", *others)
        if check_choice("teacher", name, teachers) == "incompetent":
            rows = incompetent_rows(theta.architecture, task.seeds).to(rows)
        statistics = architecture.statistics(rows, task.inputs[task.retain])
        return torch.no_grad()(partial(architecture.logits, rows, statistics=statistics))

    whole = cache(lambda name: model(name)(task.inputs[index]))
    if numbers <= TEACHER_NUMBERS:
        return lambda name, place: pick(whole(name), place)
    return lambda name, place: model(name)(task.inputs[pick(index, place)])


def salient(theta: Stack, task: Task, share: float) -> Tensor | None:
    """Mask (B, P) of the share of weights with the largest gradient of the forget loss (SalUn).

    None if all weights are meant.
    """
    if share == 1:
        return None
    inputs, labels = task.split("forget")
    architecture = theta.architecture.evaluating()
    rows = theta.rows.detach().clone().requires_grad_()
    statistics = architecture.statistics(theta.rows, task.split("retain")[0])
    logits = architecture.logits(rows, inputs, statistics=statistics)
    loss = per_example(logits, labels).mean(1)
    (gradient,) = torch.autograd.grad(loss.sum(), rows)
    top = gradient.abs().topk(round(share * rows.shape[1]), dim=1).indices
    return torch.zeros_like(rows, dtype=torch.bool).scatter(1, top, True)

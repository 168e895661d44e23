"""What descends: the terms of a method, or another loss, on batches that it draws itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from mcu_lite.checks import checked, known
from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack, incompetent_rows
from mcu_lite.tasks.task import Task, check_rows, pick
from mcu_lite.tasks.texts import IGNORED
from mcu_lite.training.descent import RowLoss, batches, may_draw
from mcu_lite.training.losses import per_example, token_mean
from mcu_lite.unlearning.curriculum import Curriculum
from mcu_lite.unlearning.methods import METHODS, Examples, Method

SPLITS_SEEN = ("forget", "retain")
BATCH = {"forget": 32, "retain": 64}
TEACHER_NUMBERS = 50_000_000
"""Logits of a fixed model on one split that are kept; of more, each batch's are computed anew."""


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
    logits : function of seed, optional
        Returns a function from rows to the logits (B, n, classes) and the labels of a batch,
        from which second-order methods estimate the curvature.
    mask : Tensor of bool, shape (B, P), optional
        Weights that its gradient moves; while a model is unlearned, the others stay those of θo.
    models : int, optional
        How many it is for, if it knows their data.
    draws : bool
        Whether its losses may draw from PyTorch's global random state, as dropout does.
    """

    name: str
    start: Callable[[int, int], RowLoss]
    logits: Callable[[int], Callable[[Tensor], tuple[Tensor, Tensor]]] | None = None
    mask: Tensor | None = None
    models: int | None = None
    draws: bool = True


def unlearning_objective(
    method: str | Method,
    theta: Stack,
    task: Task,
    *,
    curriculum: Callable[[], Curriculum] | None = None,
) -> Objective:
    """Build the weighted forget and retain terms of a method.

    From 32 + 64 examples a step, if the task's recipes have no other "batch".

    Parameters
    ----------
    method : str or Method
        A name in ``METHODS``, or a method with another recipe.
    theta : Stack
        The original models θo.
    task : Task
    curriculum : function, optional
        Called at each start; what it returns weights the losses of both terms, example by example.
    """
    recipe = recipe_for(method, task) if isinstance(method, str) else method
    check_rows(theta, task)
    known_of = {s: _known(theta, task, s) for s in SPLITS_SEEN}
    mask = salient(theta, task, recipe.saliency)

    def batches_of(seed: int) -> Callable[[], list[Tensor]]:
        sizes = BATCH | task.recipes.get("batch", {})
        rngs = {s: generators(f"{s} order", seed, task.seeds) for s in SPLITS_SEEN}
        draw = [batches(getattr(task, s), sizes[s], rngs[s]) for s in SPLITS_SEEN]
        return lambda: [next(d) for d in draw]

    def moving(rows: Tensor) -> Tensor:
        # Along a curve the other weights need not be those of θo: they are left as they are.
        return rows if mask is None else torch.where(mask, rows, rows.detach())

    def forward(rows: Tensor, places: list[Tensor]) -> Tensor:
        x = [pick(known_of[s]["inputs"], place) for s, place in zip(SPLITS_SEEN, places)]
        return theta.architecture.logits(rows, torch.cat(x, 1))

    def start(seed: int, steps: int) -> RowLoss:
        draw, clock = batches_of(seed), count()
        weigh = None if curriculum is None else curriculum().weights

        def loss(rows: Tensor) -> Tensor:
            rows, places, step = moving(rows), draw(), next(clock)
            parts = forward(rows, places).split([p.shape[1] for p in places], 1)
            forget, retain = (
                _examples(known_of[s], place, logits)
                for s, place, logits in zip(SPLITS_SEEN, places, parts)
            )
            return _total(recipe, *recipe.terms_on(forget, retain), rows, step, steps, weigh)

        return loss

    def logits(seed: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        draw = batches_of(seed)

        def batch(rows: Tensor) -> tuple[Tensor, Tensor]:
            places = draw()
            labels = [pick(known_of[s]["labels"], place) for s, place in zip(SPLITS_SEEN, places)]
            return forward(moving(rows), places), torch.cat(labels, 1)

        return batch

    # A method of the user's own may draw as well.
    draws = may_draw(theta.architecture) or recipe.losses.__module__ != Method.__module__
    return Objective(recipe.name, start, logits, mask, len(theta), draws)


def _known(theta: Stack, task: Task, split: str) -> dict[str, Tensor | Callable]:
    """What stays the same about a split while a method runs: data (B, n, ...) and teachers."""
    inputs, labels = task.split(split)
    rngs = generators(f"wrong labels of {split}", 0, task.seeds)
    shift = [torch.randint(1, task.classes, labels.shape[1:], generator=g) for g in rngs]
    wrong = (labels + torch.stack(shift).to(labels.device)) % task.classes
    return {
        "inputs": inputs,
        "labels": labels,
        "wrong": wrong.where(labels != IGNORED, IGNORED),
        "teacher": _teachers(theta, task, inputs, labels.numel() * task.classes),
    }


def _teachers(
    theta: Stack, task: Task, inputs: Tensor, numbers: int
) -> Callable[[str, Tensor], Tensor]:
    """Logits of fixed models by name and places (B, n); computed when first asked for."""
    architecture, retain = theta.architecture.evaluating(), task.split("retain")[0]

    @cache
    def model(name: str) -> tuple[Tensor, dict]:
        if name == "original":
            rows = theta.rows
        else:
            rows = incompetent_rows(theta.architecture, task.seeds).to(theta.rows)
        return rows, architecture.statistics(rows, retain)

    @torch.no_grad()
    def logits(name: str, inputs: Tensor) -> Tensor:
        rows, statistics = model(name)
        return architecture.logits(rows, inputs, statistics=statistics)

    whole = cache(lambda name: logits(name, inputs))
    if numbers <= TEACHER_NUMBERS:
        return lambda name, place: pick(whole(name), place)
    return lambda name, place: logits(name, pick(inputs, place))


def _examples(known_of: dict, place: Tensor, logits: Tensor) -> Examples:
    labels, wrong = (pick(known_of[k], place) for k in ("labels", "wrong"))
    return Examples(logits, labels, wrong, lambda name: known_of["teacher"](name, place))


def _total(
    recipe: Method,
    lost: Tensor | None,
    kept: Tensor | None,
    rows: Tensor,
    step: int,
    steps: int,
    weigh: Callable[[Tensor, str], Tensor] | None,
) -> Tensor:
    """Sum of the terms that enter at this step, shape (B,)."""
    if step % recipe.forget_every or step >= recipe.forget_until * steps:
        lost = None
    # A step may have no term at all, and still needs a gradient.
    total = (0.0 * rows).sum(1) if lost is kept is None else rows.new_zeros(len(rows))
    for weight, name, term in ((recipe.forget_weight, "forget", lost), (1.0, "retain", kept)):
        if term is not None:
            weighted = term if weigh is None else weigh(term, name) * term
            total = total + weight * weighted.mean(1)
    if recipe.l1:
        total = total + recipe.l1 * (1 - step / steps) * rows.abs().sum(1)
    return total


def recipe_for(method: str, task: Task) -> Method:
    """Return a registered method, with what the task's own recipe says."""
    return replace(METHODS[known("method", method, METHODS)], **task.recipes.get(method, {}))


def salient(theta: Stack, task: Task, share: float) -> Tensor | None:
    """Mask of the weights with the largest gradient of the whole forget loss (SalUn).

    Parameters
    ----------
    share : float in (0, 1]

    Returns
    -------
    Tensor of bool, shape (B, P)
        None if all weights are meant.
    """
    if not 0 < share <= 1:
        raise ValueError(f"saliency must lie in (0, 1], got {share}")
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


def retain_objective(theta: Stack, task: Task) -> Objective:
    """Build the retain loss alone, which says nothing about forgetting."""
    check_rows(theta, task)
    size = sum((BATCH | task.recipes.get("batch", {})).values())
    inputs, labels = task.split("retain")

    def start(seed: int, steps: int) -> RowLoss:
        draw = batches(task.retain, size, generators("retain order", seed, task.seeds))

        def loss(rows: Tensor) -> Tensor:
            place = next(draw)
            logits = theta.architecture.logits(rows, pick(inputs, place))
            return per_example(logits, pick(labels, place)).mean(1)

        return loss

    return Objective("retain", start, None, None, len(theta), may_draw(theta.architecture))


def oracle_objective(oracle: Stack, task: Task, size: int = 96) -> Objective:
    """Build KL(oracle ‖ model) in nats on retain and forget examples together.

    Examples
    --------
    >>> oracle = unlearn(theta, task, "retrain", epochs=1)
    >>> connect(a, b, task, objective=oracle_objective(oracle, task), steps=2).objective
    'oracle'
    """
    check_rows(oracle, task)
    inputs, labels = task.inputs[task.train], pick(task.labels, task.train)
    retain = task.inputs[task.retain]
    target = log_softmax(oracle.architecture.predict(oracle.rows, inputs, retain), -1)

    def start(seed: int, steps: int) -> RowLoss:
        draw = batches(task.train, size, generators("oracle order", seed, task.seeds))

        def loss(rows: Tensor) -> Tensor:
            place = next(draw)
            wanted = pick(target, place)
            given = log_softmax(oracle.architecture.logits(rows, pick(inputs, place)), -1)
            apart = (wanted.exp() * (wanted - given)).sum(-1)
            return token_mean(apart, pick(labels, place)).mean(1)

        return loss

    return Objective("oracle", start, None, None, len(oracle), may_draw(oracle.architecture))

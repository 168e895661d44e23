"""An unlearning method is two per-example losses, kept in one registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from mcu_lite.stacks import Stack, generators
from mcu_lite.tasks import Task, known
from mcu_lite.training import batches, descend, per_example, train


@dataclass(frozen=True)
class Examples:
    """A batch of one split as a method sees it.

    Parameters
    ----------
    logits : Tensor, shape (B, n, classes)
        Of the models that are being changed.
    original : Tensor, shape (B, n, classes)
        Of the original models θo on the same examples.
    labels : Tensor of int64, shape (B, n)
    """

    logits: Tensor
    original: Tensor
    labels: Tensor

    @property
    def loss(self) -> Tensor:
        """Cross-entropy in nats, shape (B, n)."""
        return per_example(self.logits, self.labels)

    @property
    def log_ratio(self) -> Tensor:
        """Log p(label) under the changed minus under the original model, shape (B, n)."""
        return per_example(self.original, self.labels) - self.loss


@dataclass(frozen=True)
class Method:
    """A registered method: its two losses and the recipe that was tuned for it.

    Parameters
    ----------
    name : str
    losses : function of (forget, retain), both `Examples`
        Returns the two per-example losses; None for an absent term.
    forget_weight : float
        Weight of the forget term; the retain term has weight 1.
    lr, steps
        AdamW with linear decay, 32 forget and 64 retain examples a step.
    begins : {"original", "initial", "fresh"}
        Where it starts. The last two retrain from scratch on the retain set: from the
        initialisation of the original model, or from another one.
    source : str
    """

    name: str
    losses: Callable[[Examples, Examples], tuple[Tensor | None, Tensor | None]]
    forget_weight: float = 1.0
    lr: float = 1e-3
    steps: int = 90
    begins: str = "original"
    source: str = ""
    description: str = ""


METHODS: dict[str, Method] = {}
RECIPE = ("lr", "steps", "forget_weight")


def method(name: str, **recipe) -> Callable:
    """Register a function of (forget, retain) as an unlearning method.

    Examples
    --------
    >>> @method("hinge", forget_weight=0.1, source="an example")
    ... def hinge(forget, retain):
    ...     '''Raise the forget loss up to 2 nats.'''
    ...     return (2 - forget.loss).relu(), retain.loss
    >>> METHODS.pop("hinge").forget_weight
    0.1
    """

    def register(losses: Callable) -> Callable:
        summary = (losses.__doc__ or "").strip().split("\n")[0]
        METHODS[name] = Method(name, losses, description=summary, **recipe)
        return losses

    return register


@method("retrain", begins="fresh", source="the oracle; Bourtoule et al. 2021")
def retrain(forget: Examples, retain: Examples) -> tuple[None, Tensor]:
    """Train from another initialisation on the retain set alone."""
    return None, retain.loss


@method("retrain_same", begins="initial", source="the oracle, initialised as the original")
def retrain_same(forget: Examples, retain: Examples) -> tuple[None, Tensor]:
    """Train from the original model's own initialisation on the retain set alone."""
    return None, retain.loss


@method("finetune", lr=1.5e-2, steps=90, source="Golatkar et al. 2020")
def finetune(forget: Examples, retain: Examples) -> tuple[None, Tensor]:
    """Go on training on the retain set and hope that the rest fades."""
    return None, retain.loss


@method("gradient_ascent", lr=5e-4, steps=15, source="Thudi et al. 2022")
def gradient_ascent(forget: Examples, retain: Examples) -> tuple[Tensor, None]:
    """Maximise the forget loss; it knows nothing of the retain set and must stop early."""
    return -forget.loss, None


@method("graddiff", forget_weight=0.1, source="Liu et al. 2022; Kurmanji et al. 2023 (NegGrad+)")
def graddiff(forget: Examples, retain: Examples, cap: float = 4.0) -> tuple[Tensor, Tensor]:
    """Maximise the forget loss up to a cap in nats while the retain loss is minimised."""
    return -forget.loss.clamp(max=cap), retain.loss


@method("npo", forget_weight=0.1, source="Zhang et al. 2024, eq. 3, with retain term")
def npo(forget: Examples, retain: Examples, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Negative preference optimisation with a retain term."""
    return npo_forget(forget, retain, beta)[0], retain.loss


@method("npo_forget", lr=5e-4, steps=15, source="Zhang et al. 2024, eq. 3")
def npo_forget(forget: Examples, retain: Examples, beta: float = 1.0) -> tuple[Tensor, None]:
    """Negative preference optimisation on the forget set alone: 2/β · log(1 + ratio^β)."""
    return -2.0 / beta * logsigmoid(-beta * forget.log_ratio), None


@dataclass(frozen=True)
class Objective:
    """A loss per row that draws its own batches: what descends, and what curves are fitted on.

    Parameters
    ----------
    name : str
    start : function of a seed
        Returns a function from rows (B, P) to losses (B,), with its own stream of batches.
    """

    name: str
    start: Callable[[int], Callable[[Tensor], Tensor]]


def unlearning_objective(
    method: str | Method, theta: Stack, task: Task, forget_size: int = 32, retain_size: int = 64
) -> Objective:
    """Build the weighted forget and retain terms of a method, from 32 + 64 examples a step.

    Parameters
    ----------
    method : str or Method
        A name in ``METHODS``, or a method with another recipe.
    theta : Stack
        The original models θo.
    task : Task
    """
    recipe = METHODS[known("method", method, METHODS)] if isinstance(method, str) else method
    check_rows(theta, task)
    arch = theta.architecture
    split = {s: task.split(s) for s in ("forget", "retain")}
    with torch.no_grad():
        original = {s: arch.logits(theta.rows, x) for s, (x, _) in split.items()}

    def examples(rows: Tensor, places: list[Tensor]) -> list[Examples]:
        row = torch.arange(len(rows)).unsqueeze(1)
        parts = list(zip(("forget", "retain"), places))
        x = torch.cat([split[s][0][row, place] for s, place in parts], 1)
        logits = arch.logits(rows, x).split([p.shape[1] for p in places], 1)
        return [
            Examples(z, original[s][row, p], split[s][1][row, p])
            for z, (s, p) in zip(logits, parts)
        ]

    def start(seed: int) -> Callable[[Tensor], Tensor]:
        draw = {
            s: batches(getattr(task, s), size, generators(f"{s} order", seed, task.seeds))
            for s, size in (("forget", forget_size), ("retain", retain_size))
        }

        def loss(rows: Tensor) -> Tensor:
            forget, retain = examples(rows, [next(draw[s]) for s in ("forget", "retain")])
            lost, kept = recipe.losses(forget, retain)
            total = 0.0 if lost is None else recipe.forget_weight * lost.mean(1)
            return total if kept is None else total + kept.mean(1)

        return loss

    return Objective(recipe.name, start)


def retain_objective(theta: Stack, task: Task) -> Objective:
    """Build the retain loss alone, which says nothing about forgetting."""
    objective = unlearning_objective("finetune", theta, task)
    return Objective("retain", objective.start)


def oracle_objective(oracle: Stack, task: Task, size: int = 96) -> Objective:
    """Build KL(oracle ‖ model) in nats on retain and forget examples together."""
    check_rows(oracle, task)
    inputs = task.inputs[task.train]
    with torch.no_grad():
        target = log_softmax(oracle.architecture.logits(oracle.rows, inputs), -1)

    def start(seed: int) -> Callable[[Tensor], Tensor]:
        draw = batches(task.train, size, generators("oracle order", seed, task.seeds))

        def loss(rows: Tensor) -> Tensor:
            place = next(draw)
            row = torch.arange(len(place)).unsqueeze(1)
            wanted = target[row, place]
            given = log_softmax(oracle.architecture.logits(rows, inputs[row, place]), -1)
            return (wanted.exp() * (wanted - given)).sum(-1).mean(1)

        return loss

    return Objective("oracle", start)


def unlearn(
    theta: Stack, task: Task, method: str, *, seed: int = 0, epochs: int = 100, **recipe: float
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
    epochs : int
        Of the methods that retrain.
    **recipe
        ``lr``, ``steps`` or ``forget_weight``, in place of the method's own.

    Returns
    -------
    Stack
        Its ``origin`` is `theta`.

    Raises
    ------
    ValueError
        For an unknown method or part of a recipe, a stack of another size than the task, or
        ``retrain_same`` of models whose initialisation is not known.
    """
    chosen = METHODS[known("method", method, METHODS)]
    for part in recipe:
        known("part of the recipe", part, RECIPE)
    chosen = replace(chosen, **recipe)
    check_rows(theta, task)
    if chosen.begins == "original":
        objective = unlearning_objective(chosen, theta, task)
        rows, diverged = descend(
            theta.rows,
            objective.start(seed),
            steps=chosen.steps,
            lr=chosen.lr,
            seed=seed,
            label=f"unlearning by {method}",
        )
        result = Stack(theta.architecture, rows, diverged=diverged)
    else:
        result = _retrain(theta, task, chosen, seed, epochs)
    return result.with_rows(result.rows, label=method, origin=theta)


def _retrain(theta: Stack, task: Task, recipe: Method, seed: int, epochs: int) -> Stack:
    start = theta.initial if recipe.begins == "initial" else None
    if recipe.begins == "initial" and start is None:
        raise ValueError("theta does not know its initialisation, which retrain_same starts from")
    # The original was trained with seed 0, 1, ...; its oracle must not share that initialisation.
    build, other = theta.architecture.fresh, seed + 10_000
    return train(task, build, seed=other, split="retain", epochs=epochs, start=start)


def check_rows(stack: Stack, task: Task) -> None:
    """Raise a `ValueError` unless `stack` has one row for each split of `task`."""
    if len(stack) != len(task):
        raise ValueError(f"stack has {len(stack)} models but task has {len(task)} splits")

"""Training from scratch, all rows at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mcu_lite.checks import check_choice
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.seeding import generators, seeded
from mcu_lite.models.stack import Stack, architecture_of, initial_rows
from mcu_lite.models.zoo import MODELS
from mcu_lite.tasks.task import Task, check_rows, pick
from mcu_lite.training.descent import batches, cosine, descend, may_draw
from mcu_lite.training.losses import per_example


def train(
    task: Task,
    model: str | Callable[[], nn.Module] | Architecture = "mlp",
    *,
    seed: int = 0,
    epochs: int = 100,
    split: str = "train",
    start: Tensor | None = None,
    batch: int | None = None,
    lr: float | None = None,
) -> Stack:
    """Train one model on each split of a task, all at once.

    Parameters
    ----------
    task : Task
        Where its tensors are, on the CPU or a GPU, the models are trained.
    model : str, function or Architecture
        A name in ``MODELS``, or a function without arguments that returns a fresh module, or an
        architecture, whose frozen parameters are then those of the models.
    seed : int
        Together with the split's own seed it fixes initialisation and data order.
    epochs, batch, lr
        AdamW with cosine decay; by default in batches of 64 and from a rate of 3e-3, if the task
        has no recipe of its own.
    split : {"train", "retain"}
        Everything, or only what is retained (that is the retrained oracle).
    start : Tensor, shape (B, P), optional
        Rows to start from instead of a fresh initialisation.

    Returns
    -------
    Stack

    Raises
    ------
    ValueError
        For an unknown name or split, a number out of its range, or a module that does not turn n
        inputs of the task into logits of the shape (n, classes), or more classes. With batch norm
        a single example is no batch, not even the last one.

    Examples
    --------
    >>> train(task, epochs=1).rows.shape
    torch.Size([2, 26122])
    >>> def small():
    ...     return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
    >>> len(train(task, small, epochs=1))
    2
    """
    recipe = {"batch": 64, "lr": 3e-3} | task.recipes.get("train", {})
    batch, lr = (recipe[k] if v is None else v for k, v in (("batch", batch), ("lr", lr)))
    if epochs < 0 or batch < 1:
        raise ValueError(f"epochs must be >= 0 and batch >= 1, got {epochs} and {batch}")
    if isinstance(model, str):
        model = MODELS[check_choice("model", model, MODELS)]
    if not isinstance(model, Architecture):
        model = architecture_of(model)
    index = getattr(task, check_choice("split", split, ("train", "retain")))
    architecture = model.to(task.device)
    start = (initial_rows(model, seed, task.seeds) if start is None else start).to(task.device)
    check_rows(Stack(architecture, start), task, "start")
    _check_output(architecture, start, task, last=index.shape[1] % batch or batch)
    draw = batches(index, batch, generators("order", seed, task.seeds))
    changed = generators("augmentation", seed, task.seeds)

    def loss(rows: Tensor) -> Tensor:
        chosen = index.gather(1, next(draw))
        inputs = task.inputs[chosen]
        if task.augment is not None:
            inputs = task.augment(inputs, changed)
        logits = architecture.logits(rows, inputs)
        return per_example(logits, pick(task.labels, chosen)).mean(1)

    steps = epochs * math.ceil(index.shape[1] / batch)
    rows, diverged = descend(
        start,
        loss,
        steps=steps,
        lr=lr,
        decay=cosine,
        draws=may_draw(architecture) or task.augment is not None,
        seed=seed,
        label=f"training on {split}",
    )
    label = "original" if split == "train" else "retrained"
    return Stack(architecture, rows, label, initial=start, diverged=diverged)


def _check_output(architecture: Architecture, rows: Tensor, task: Task, last: int) -> None:
    """Try a module before it is trained: on two examples, or on one if the `last` batch is one."""
    inputs, tokens = task.inputs[: min(last, 2)], tuple(task.labels.shape[2:])
    try:
        with torch.enable_grad(), seeded(0, rows.device):
            shape = architecture.logits(rows[:1], inputs[None]).shape[1:]
    except ValueError as error:
        if last > 1:
            raise
        raise ValueError(f"{error}, in a last batch of 1") from error
    if shape[:-1] != (len(inputs), *tokens) or shape[-1] < task.classes:
        wanted = ", ".join(map(str, ("n", *tokens, task.classes)))
        raise ValueError(
            f"model must return logits of shape ({wanted}) for n inputs, got {tuple(shape)} "
            f"for {len(inputs)}"
        )

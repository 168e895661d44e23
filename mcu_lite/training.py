"""One loop descends: training, unlearning and curve fitting differ only in their loss."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import torch
from IPython import get_ipython
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import trange

from mcu_lite.models import MODELS
from mcu_lite.optimizers import adamw, sophia
from mcu_lite.randomness import generators, seeded
from mcu_lite.stacks import Architecture, Stack, architecture_of, initial_rows
from mcu_lite.tasks import Task, known, pick
from mcu_lite.texts import IGNORED

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
    seed: int = 0,
    label: str = "descending",
) -> tuple[Tensor, Tensor]:
    """Minimise one loss per row, all rows at once.

    Parameters
    ----------
    start : Tensor, shape (B, ...)
        Row b is one parametrisation: a model, or the free control points of a curve.
    loss : function from (B, ...) to (B,)
        Draws its own batch at each call. Row b of the result depends on row b only.
    steps : int
    lr : float
        Rate at the start; `decay` maps the progress in [0, 1) to a factor.
    weight_decay : float
    mask : Tensor of bool, shape (B, ...), optional
        What moves; the rest stays where it starts, though weights decay.
    curvature : function from (B, ...) to (B, ...), optional
        Estimates the diagonal of the Hessian. With it Sophia descends, without it AdamW.
    seed : int
        Seeds what the modules themselves draw (dropout).
    label : str
        Shown on the progress bar, which appears only for runs longer than a second.

    Returns
    -------
    rows : Tensor, shape (B, ...)
        NaN where a row diverged.
    diverged : Tensor of bool, shape (B,)
        Rows whose loss or gradient left the finite numbers.

    Notes
    -----
    Gradients are clipped to norm 1, row by row. Everything else an optimizer does is
    element-wise, so one optimizer serves all rows without mixing them.
    """
    if steps < 0 or not lr > 0:
        raise ValueError(f"steps must be >= 0 and lr > 0, got steps={steps}, lr={lr}")
    rows = start.detach().clone().requires_grad_()
    if curvature is None:
        update = adamw(rows, weight_decay)
    else:
        update = sophia(rows, curvature, weight_decay)
    diverged = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    with seeded(seed, rows.device):
        for step in trange(steps, desc=label, delay=1, leave=False, disable=not watched()):
            value = loss(rows)
            if value.shape != diverged.shape:
                raise ValueError(f"loss must give {len(rows)} numbers, got {tuple(value.shape)}")
            (gradient,) = torch.autograd.grad(value.sum(), rows)
            norm = gradient.flatten(1).norm(dim=1)
            diverged |= ~(value.detach().isfinite() & norm.isfinite())
            update(_per_row(~diverged, gradient, norm), lr * decay(step / steps))
            if mask is not None:
                torch.where(mask, rows.detach(), start.detach(), out=rows.detach())
    rows = rows.detach()
    rows[diverged] = torch.nan
    return rows, diverged


def watched() -> bool:
    """Whether somebody looks at the progress: a terminal, or a notebook that can be asked.

    A chapter that is executed headlessly would keep the bar among its outputs.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return sys.stderr.isatty() if kernel is None else bool(getattr(kernel, "_allow_stdin", False))


def _per_row(alive: Tensor, gradient: Tensor, norm: Tensor) -> Tensor:
    """Clip each row to norm 1, in place; a dead row gets 0, since NaN times 0 would spread."""
    shape = (-1,) + (1,) * (gradient.ndim - 1)
    gradient *= (1.0 / norm.clamp(min=1.0)).view(shape)
    return gradient if alive.all() else gradient.where(alive.view(shape), 0.0)


def cosine(progress: float) -> float:
    """Cosine decay from 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def batches(index: Tensor, size: int, rngs: list[torch.Generator]) -> Iterator[Tensor]:
    """Endless batches of a split, each row in its own random order.

    Parameters
    ----------
    index : Tensor of int64, shape (B, n)
    size : int
        Examples a batch; the last one of an epoch may be smaller.
    rngs : list of B generators

    Yields
    ------
    Tensor of int64, shape (B, size)
        Positions in 0..n-1 (not pool indices), so that anything stored a split can be looked up;
        on the device of `index`.
    """
    n = index.shape[1]
    while True:
        order = torch.stack([torch.randperm(n, generator=rng) for rng in rngs])
        yield from order.to(index.device).split(size, dim=1)


def per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example in nats, shape (..., n); of a text, the mean over its tokens.

    Parameters
    ----------
    logits : Tensor, shape (..., n, classes), or (B, n, L, classes) of texts
    labels : Tensor of int64, shape (..., n), or (B, n, L), in which -100 is left out
    """
    if labels.ndim < 3:
        # Over few classes the log-softmax is several times faster when they are not innermost.
        return cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    flat = cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return token_mean(flat.view(labels.shape), labels)


def token_mean(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled tokens of each text, (B, n, L) to (B, n); others stay as they are."""
    if labels.ndim < 3:
        return values
    given = labels != IGNORED
    return values.where(given, 0.0).sum(-1) / given.sum(-1).clamp(min=1)


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
        model = MODELS[known("model", model, MODELS)]
    if not isinstance(model, Architecture):
        model = architecture_of(model)
    index = getattr(task, known("split", split, ("train", "retain")))
    architecture = model.to(task.device)
    start = (initial_rows(model, seed, task.seeds) if start is None else start).to(task.device)
    if start.shape != (len(task), architecture.size):
        wanted = (len(task), architecture.size)
        raise ValueError(f"start must have shape {wanted}, got {tuple(start.shape)}")
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
        start, loss, steps=steps, lr=lr, decay=cosine, seed=seed, label=f"training on {split}"
    )
    label = "original" if split == "train" else "retrained"
    return Stack(architecture, rows, label, initial=start, diverged=diverged)


def _check_output(architecture: Architecture, rows: Tensor, task: Task, last: int) -> None:
    """A module of one's own is tried before it is trained: on two examples, or a `last` batch of 1.

    Whatever it raises is passed on; a tuple in place of logits shows as an AttributeError.
    """
    inputs, labels = task.inputs[: min(last, 2)], tuple(task.labels.shape[2:])
    wanted = ", ".join(map(str, ("n", *labels, task.classes)))
    asked = f"model must return logits of shape ({wanted}) for n inputs"
    try:
        with torch.enable_grad(), seeded(0, rows.device):
            shape = architecture.logits(rows[:1], inputs[None])[0].shape
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        hint = "; vectorised = False lets it run row by row" if "vmap" in str(error).lower() else ""
        raise ValueError(
            f"{asked}, but on inputs of {inputs.dtype} and shape {tuple(inputs.shape)}, from a "
            f"last batch of {last}, with parameters of {rows.dtype}, it fails "
            f"with {type(error).__name__}: {error}{hint}"
        ) from error
    if shape[:-1] != (len(inputs), *labels) or shape[-1] < task.classes:
        raise ValueError(f"{asked}, got {tuple(shape)} for {len(inputs)}")

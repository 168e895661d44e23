"""What lies around a path: single layers, points beyond its ends, and weights of few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from mcu_lite.metrics.evaluation import evaluate
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path, connect, spaced
from mcu_lite.tasks.task import Task, check_range
from mcu_lite.training.losses import per_example


def layers_of(stack: Stack) -> dict[str, torch.Tensor]:
    """Which numbers of a row belong to each layer that has parameters: masks (P,) by name."""
    place = stack.architecture.named(torch.arange(stack.architecture.size))
    masks: dict[str, torch.Tensor] = {}
    for name, at in place.items():
        layer = name.rpartition(".")[0] or name
        own = masks.setdefault(layer, torch.zeros(stack.architecture.size, dtype=torch.bool))
        own[at.flatten()] = True
    return masks


def layer_by_layer(a: Stack, b: Stack, task: Task, ts: int | Sequence[float] = 21) -> pd.DataFrame:
    """Move one layer at a time on the straight path between two stacks, the others staying at a.

    After Adilova et al. (2024). The table is that of `mcu_lite.evaluate`, losses only, with a
    column ``layer``: first, second and so on as they are applied, and "all".
    """
    masks = list(layers_of(a).values())
    names = [*(f"layer {i + 1}" for i in range(len(masks))), "all"]
    tables = []
    for name, mask in zip(names, [*masks, torch.ones_like(masks[0])]):
        end = b.with_rows(torch.where(mask.to(a.rows.device), b.rows, a.rows))
        path = connect(a, end, curve="linear")
        tables.append(evaluate(path, task, ts, metrics=["loss"]).assign(layer=name))
    return pd.concat(tables, ignore_index=True)


def beyond(a: Stack, b: Stack, by: float) -> tuple[Stack, Stack]:
    """Move both ends of a straight path outwards, each by the share `by` of its length."""
    if not 0 < by < np.inf:
        raise ValueError(f"by must be > 0 and finite, got {by}")
    step = by * (b.rows - a.rows)
    return a.with_rows(a.rows - step), b.with_rows(b.rows + step)


def rounded(stack: Stack, bits: int) -> Stack:
    """Round each parameter tensor of each model to 2^bits - 1 evenly spaced values around 0.

    The simplest of the roundings in Zhang et al. (2025): the largest size of a tensor's numbers
    decides its step.

    Parameters
    ----------
    stack : Stack
    bits : int
        From 2 to 16.
    """
    check_range("bits", bits, 2, 16)
    parts = stack.architecture.named(stack.rows)
    most, found = 2 ** (bits - 1) - 1, []
    for part in parts.values():
        flat = part.reshape(len(stack), -1)
        step = (flat.abs().amax(1, keepdim=True) / most).clamp(min=torch.finfo(flat.dtype).tiny)
        found.append((flat / step).round() * step)
    return stack.with_rows(torch.cat(found, dim=1))


def changed_by_rounding(
    stacks: Mapping[str, Stack], task: Task, bits: int, metric: str = "loss", split: str = "forget"
) -> pd.DataFrame:
    """How much a metric grows when weights are `rounded`: a line a seed, a column a stack."""

    def measured(stack: Stack) -> pd.Series:
        table = evaluate(stack, task, metrics=[metric])
        return table[table.split == split].set_index("seed").value

    return pd.DataFrame({k: measured(rounded(s, bits)) - measured(s) for k, s in stacks.items()})


def after_a_step(
    path: Path,
    task: Task,
    length: float,
    worst: bool,
    ts: int | Sequence[float] = 21,
    seed: int = 0,
) -> pd.DataFrame:
    """Losses a step of one length beside each point of a path, as `mcu_lite.evaluate` gives them.

    The step goes up the gradient of the mean retain loss if it is to be the `worst`, to first order
    (Foret et al., 2021), and in a random direction otherwise, the same at every t.
    """
    if not 0 <= length < np.inf:
        raise ValueError(f"length must be >= 0 and finite, got {length}")
    inputs, labels = task.split("retain")
    noise = torch.randn(path.control[0].shape, generator=torch.Generator().manual_seed(seed))
    tables = []
    for t in spaced(ts):
        rows, way = path.rows([t])[0], noise.to(path.control)
        if worst:
            free = rows.detach().clone().requires_grad_()
            loss = per_example(path.architecture.logits(free, inputs), labels).mean(1)
            (way,) = torch.autograd.grad(loss.sum(), free)
        moved = rows + length * way / way.norm(dim=1, keepdim=True).clamp(min=1e-12)
        tables.append(evaluate(Stack(path.architecture, moved), task, metrics=["loss"]).assign(t=t))
    return pd.concat(tables, ignore_index=True)

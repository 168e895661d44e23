"""The way a method went: models along its descent, their detours, and walks of pure noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.curves import Path, spaced
from mcu_lite.methods import RECIPE
from mcu_lite.metrics import METRICS, Outputs
from mcu_lite.objectives import check_rows, recipe_for, unlearning_objective
from mcu_lite.randomness import generators
from mcu_lite.stacks import Stack
from mcu_lite.tasks import SPLITS, Task, known
from mcu_lite.training import RowLoss, descend


def trajectory(
    theta: Stack, task: Task, method: str, *, seed: int = 0, every: int = 1, **recipe: float
) -> Tensor:
    """Unlearn as `mcu_lite.unlearn` does and keep the models on the way, shape (S, B, P).

    Fewer steps would not do: the rate decays over all of them, so a shorter run goes elsewhere.

    Parameters
    ----------
    theta : Stack
        The original models, with which the trajectory begins.
    task : Task
    method : str
        A name in ``METHODS`` that starts from the original; first order, without curriculum.
    seed : int
        Of the order of the data.
    every : int
        A model is kept every so many steps, and the last one in any case.
    **recipe
        ``lr``, ``steps`` or ``forget_weight``, in place of the task's or the method's own.

    Returns
    -------
    Tensor
        NaN throughout for models that diverged on the way.
    """
    for part in recipe:
        known("part of the recipe", part, RECIPE)
    chosen = replace(recipe_for(method, task), **recipe)
    if chosen.begins != "original":
        raise ValueError(f"method {method!r} retrains: its way does not begin at the original")
    check_rows(theta, task)
    objective = unlearning_objective(chosen, theta, task)
    how = {"steps": chosen.steps, "lr": chosen.lr, "mask": objective.mask, "seed": seed}
    return _record(theta.rows, objective.start(seed, chosen.steps), every, **how)


def noise_walk(theta: Stack, task: Task, *, steps: int, lr: float, seed: int = 0) -> Tensor:
    """Give the optimizer random gradients in place of a loss; models kept, shape (S, B, P).

    What it shows of a trajectory's shape is due to steps, rate, decay and momentum alone.
    """
    check_rows(theta, task)
    rngs = generators("noise in place of a gradient", seed, task.seeds)

    def loss(rows: Tensor) -> Tensor:
        noise = torch.stack([torch.randn(rows.shape[1], generator=rng) for rng in rngs]).to(rows)
        return (noise * rows).sum(1)

    return _record(theta.rows, loss, 1, steps=steps, lr=lr, seed=seed)


def _record(start: Tensor, loss: RowLoss, every: int, *, steps: int, **descent) -> Tensor:
    """Descend and keep the rows at every so many calls of the loss, and the last ones."""
    if every < 1:
        raise ValueError(f"every must be at least 1 step, got {every}")
    kept, clock = [], count()

    def watched(rows: Tensor) -> Tensor:
        if next(clock) % every == 0:
            kept.append(rows.detach().clone())
        return loss(rows)

    last, diverged = descend(start, watched, steps=steps, label="recording", **descent)
    rows = torch.stack([*kept, last])
    rows[:, diverged] = torch.nan
    return rows


def as_path(rows: Tensor, theta: Stack) -> Path:
    """Make a trajectory (S, B, P) a polygonal chain, which can be measured at S values of t."""
    return Path("chain", rows, theta.architecture, rows.isnan().any(-1).any(0))


# The shape of a way through weight space. Rows have the shape (S, B, P).


def random_walk(rows: Tensor, seed: int = 0) -> Tensor:
    """Take steps as long as those of the rows, each in a random direction, shape (S, B, P)."""
    rng = torch.Generator().manual_seed(seed)
    lengths = rows.diff(dim=0).norm(dim=-1, keepdim=True)
    walk = torch.randn(rows.shape, generator=rng).to(rows)
    walk[1:] *= lengths / walk[1:].norm(dim=-1, keepdim=True)
    walk[0] = rows[0]
    return walk.cumsum_(0)


def length_over_chord(rows: Tensor) -> Tensor:
    """Length of the way through the rows over the distance of its ends, shape (B,); at least 1."""
    return rows.diff(dim=0).norm(dim=-1).sum(0) / (rows[-1] - rows[0]).norm(dim=-1)


def progress(rows: Tensor) -> Tensor:
    """Where each row stands above the chord: 0 at its start, 1 at its end, shape (S, B)."""
    chord = rows[-1] - rows[0]
    return torch.einsum("sbp,bp->sb", rows - rows[0], chord) / chord.square().sum(-1)


def feet(rows: Tensor) -> Tensor:
    """Points of the line through the two ends that are nearest to the rows, shape (S, B, P)."""
    return torch.lerp(rows[0], rows[-1], progress(rows).unsqueeze(-1))


def off_chord(rows: Tensor) -> Tensor:
    """Distance of each row from the chord, as a share of the chord's length, shape (S, B)."""
    return feet(rows).sub_(rows).norm(dim=-1) / (rows[-1] - rows[0]).norm(dim=-1)


def logit_line(
    a: Stack,
    b: Stack,
    task: Task,
    ts: int | Sequence[float] = 41,
    metrics: Iterable[str] = ("loss", "accuracy"),
) -> pd.DataFrame:
    """Measure (1-t)·logits(a) + t·logits(b): the straight line, were the network linear.

    A metric bends along t even then, because it is no linear function of the logits. What a
    straight line in weight space bends more or less than this is due to the network.

    Parameters
    ----------
    a, b : Stack
    task : Task
        Not of texts: one label an example.
    ts : int or sequence of float in [0, 1]
    metrics : iterable of str
        Names in ``METRICS`` that need nothing but logits and labels.

    Returns
    -------
    pandas.DataFrame
        Tidy, as from `mcu_lite.evaluate`: t, seed, split, metric, value. NaN for seeds of which
        a model diverged.
    """
    chosen = [METRICS[known("metric", name, METRICS)] for name in metrics]
    for m in chosen:
        if m.needs_oracle or m.needs_incompetent or m.needs_texts:
            raise ValueError(f"metric {m.name!r} needs more than the logits of two models")
    if task.texts is not None:
        raise ValueError(f"task must have one label an example, {task.name!r} is of texts")
    for stack in (a, b):
        check_rows(stack, task)
    lost = (a.diverged | b.diverged).tolist()
    ts = spaced(ts)
    ends, labels, retain = {}, {}, task.split("retain")[0]
    for split in SPLITS:
        x, y = task.split(split)
        both = (s.architecture.predict(s.rows, x, retain) for s in (a, b))
        ends[split] = [logits.cpu().numpy() for logits in both]
        labels[split] = y.cpu().numpy()
    observed = task.labels.gather(1, task.test).cpu().numpy()
    t, frames = ts[:, None, None].astype(np.float32), []
    for i, seed in enumerate(task.seeds):
        mixed = {s: (1 - t) * p[i] + t * q[i] for s, (p, q) in ends.items()}
        known_of = {s: y[i] for s, y in labels.items()} | {"nonmember": observed[i]}
        outputs = Outputs(mixed, known_of)
        for m in chosen:
            for split in m.splits:
                own = {"seed": seed, "split": split, "metric": m.name}
                value = np.nan if lost[i] else m.function(outputs, split)
                frames.append(pd.DataFrame({"t": ts, **own, "value": value}))
    return pd.concat(frames, ignore_index=True)


def gain_between(table: pd.DataFrame, better: str) -> pd.DataFrame:
    """Ask whether some t between the ends beats both ends, and whether one could have known it.

    The best of many t on the very numbers that judge it is better than the ends by chance
    alone. So t, and the better end, are chosen on the mean of all *other* seeds as well.

    Parameters
    ----------
    table : pandas.DataFrame
        One curve, metric and split, for two or more seeds.
    better : {"higher", "lower"}

    Returns
    -------
    pandas.DataFrame
        One line a seed: t, as chosen on the others; gain over the better end there, positive
        if better; and hindsight, the gain at the seed's own best t over its own better end.
        Seeds that diverged are left out.
    """
    sign = {"higher": 1.0, "lower": -1.0}[known("direction", better, ("higher", "lower"))]
    if table.duplicated(["seed", "t"]).any():
        raise ValueError("table must hold one curve, metric and split, it holds several values")
    wide = sign * table.pivot(index="seed", columns="t", values="value").dropna()
    if len(wide) < 2 or wide.shape[1] < 3:
        raise ValueError("table must hold two seeds, and a t between the ends")
    ends, inner = wide.iloc[:, [0, -1]], wide.iloc[:, 1:-1]
    lines = []
    for seed in wide.index:
        t, end = (part.drop(index=seed).mean().idxmax() for part in (inner, ends))
        own = {"gain": wide.loc[seed, t] - wide.loc[seed, end]}
        own["hindsight"] = inner.loc[seed].max() - ends.loc[seed].max()
        lines.append({"seed": seed, "t": t} | own)
    return pd.DataFrame(lines)

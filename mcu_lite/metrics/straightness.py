"""How a model would change along t, were its network linear, and what lies between two ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mcu_lite.checks import SPLITS, known
from mcu_lite.metrics.registry import METRICS, Outputs
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import spaced
from mcu_lite.tasks.task import Task, check_rows


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
                value = np.where(outputs.diverged | lost[i], np.nan, m.function(outputs, split))
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

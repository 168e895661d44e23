"""How a model would change along t, were its network linear, and what lies between two ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mcu_lite.checks import check_choice
from mcu_lite.metrics.connectivity import wide_curves
from mcu_lite.metrics.evaluation import read, split_outputs, tidy
from mcu_lite.metrics.registry import METRICS
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

    `metrics` need nothing but logits and labels. The table is that of `mcu_lite.evaluate`; NaN for
    seeds of which a model diverged.
    """
    chosen = [METRICS[check_choice("metric", name, METRICS)] for name in metrics]
    for m in chosen:
        if m.needs_oracle or m.needs_incompetent or m.needs_texts:
            raise ValueError(f"metric {m.name!r} needs more than the logits of two models")
    for stack in (a, b):
        check_rows(stack, task)
    ts, values, cells = spaced(ts), [], [(m, split) for m in chosen for split in m.splits]
    t = ts[:, None, None].astype(np.float32)
    for i in range(len(task)):
        start, end = (split_outputs(s.architecture, s.rows[[i]], task, i) for s in (a, b))
        line = {s: (1 - t) * z + t * end.logits[s] for s, z in start.logits.items()}
        mixed = replace(start, logits=line)
        values.append([read(m, mixed, split) for m, split in cells])
    return tidy(np.array(values), ts, task, cells)


def gain_between(table: pd.DataFrame, better: str) -> pd.DataFrame:
    """Ask whether some t between the ends beats both ends, and whether one could have known it.

    The best of many t on the very numbers that judge it is better than the ends by chance
    alone. So t, and the better end, are chosen on the mean of all *other* seeds as well.

    `table` holds one curve, metric and split of two or more seeds, of which "higher" or "lower"
    values are `better`. Returned is one line a seed: t, as chosen on the others; gain over the
    better end there, positive if better; and hindsight, the gain at the seed's own best t over
    its own better end. Seeds that diverged are left out.
    """
    sign = {"higher": 1.0, "lower": -1.0}[check_choice("direction", better, ("higher", "lower"))]
    wide = sign * wide_curves(table, ["seed"]).dropna()
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

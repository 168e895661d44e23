"""How a model would change along t, were its network linear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mcu_lite.checks import check_choice
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

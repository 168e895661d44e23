"""Many models of one plane, measured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from torch import Tensor

from mcu_lite.metrics.connectivity import check_tolerance
from mcu_lite.metrics.evaluation import evaluator
from mcu_lite.models.stack import Stack
from mcu_lite.paths.planes import Plane
from mcu_lite.paths.trajectories import as_path
from mcu_lite.tasks.task import Task

AT_ONCE = 64
"""Points of a plane that are held as weights at a time."""


def evaluate_plane(
    plane: Plane,
    points: Tensor,
    task: Task,
    like: Stack,
    metrics: Iterable[str] = ("loss", "accuracy"),
    oracle: Stack | None = None,
) -> pd.DataFrame:
    """Measure the models at many points of the plane, some dozens at once.

    `points` (..., B, 2) are coordinates, such as of `grid`, and `like` holds models of the same
    architecture; `metrics` and `oracle` as of `mcu_lite.evaluate`. The table is tidy: point (its
    place in the flattened grid), x, y (coordinates in chords of the seed), seed, split, metric,
    value.
    """
    flat, tables = points.reshape(-1, *points.shape[-2:]), []
    if flat.shape[1] != len(task):
        raise ValueError(f"points are of {flat.shape[1]} seeds but task has {len(task)} splits")
    measure = evaluator(task, metrics=metrics, oracle=oracle)
    for start in range(0, len(flat), AT_ONCE):
        rows = plane.rows(flat[start : start + AT_ONCE])
        table = measure(as_path(rows, like), len(rows))
        point = start + (table.t * (len(rows) - 1)).round().astype(int)
        tables.append(table.assign(point=point))
    table = pd.concat(tables, ignore_index=True)
    where = (flat / plane.chord.unsqueeze(-1)).numpy()
    seed = table.seed.map({s: b for b, s in enumerate(task.seeds)}).to_numpy()
    x, y = where[table.point.to_numpy(), seed].T
    return table.assign(x=x, y=y)[["point", "x", "y", "seed", "split", "metric", "value"]]


def plane_values(table: pd.DataFrame, metric: str, split: str, seed: int) -> np.ndarray:
    """One seed's values on a square grid, shape (points, points), y first."""
    own = table[(table.metric == metric) & (table.split == split) & (table.seed == seed)]
    side = round(len(own) ** 0.5)
    if not len(own) or side * side != len(own):
        raise ValueError(f"table must hold a square grid of {metric} on {split}, got {len(own)}")
    return own.sort_values("point").value.to_numpy().reshape(side, side)


def connected_points(
    table: pd.DataFrame, ends: pd.DataFrame, tolerance: float = 0.1
) -> pd.DataFrame:
    """Judge every point of a plane by the two inequalities of `mcu_lite.is_connected`.

    A point is compared with the straight line between the two end values at its foot on the
    chord from the first to the second model. `table` is one of `evaluate_plane`, with the loss;
    `ends` one of `mcu_lite.evaluate` along the chord, with the loss at t=0 and t=1; `tolerance` is
    ε in nats. One line a point and seed: point, x, y, seed, retain, forget (which inequality
    holds), both.
    """
    check_tolerance(tolerance)
    point = ["point", "x", "y", "seed"]
    losses = table[table.metric == "loss"].pivot(index=point, columns="split", values="value")
    losses = losses.reset_index()
    at = ends[ends.metric == "loss"].pivot(index="seed", columns=["split", "t"], values="value")
    foot, at = losses.x.clip(0, 1), at.loc[losses.seed].reset_index(drop=True)
    line = {s: (1 - foot) * at[s, 0.0] + foot * at[s, 1.0] for s in ("retain", "forget")}
    retain = losses.retain <= line["retain"] + tolerance
    forget = losses.forget >= line["forget"] - tolerance
    return losses[point].assign(retain=retain, forget=forget, both=retain & forget)

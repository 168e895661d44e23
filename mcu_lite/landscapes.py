"""The plane through three models: coordinates of any model in it, and what its points measure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.evaluation import evaluate
from mcu_lite.stacks import Stack
from mcu_lite.tasks import Task
from mcu_lite.trajectories import as_path

AT_ONCE = 64
"""Points of a plane that are held as weights at a time."""


@dataclass(frozen=True)
class Plane:
    """B planes in weight space, one a seed, with right-angled axes of length 1.

    Parameters
    ----------
    origin : Tensor, shape (B, P)
        The first model.
    basis : Tensor, shape (2, B, P)
        Orthonormal: towards the second model, and from the line through both to the third.
    corners : Tensor, shape (3, B, 2)
        Coordinates of the three models.
    """

    origin: Tensor
    basis: Tensor
    corners: Tensor

    @property
    def chord(self) -> Tensor:
        """Distance of the second model from the first, shape (B,)."""
        return self.corners[1, :, 0]

    def coordinates(self, rows: Tensor) -> Tensor:
        """Nearest points of the plane to rows (..., B, P): coordinates, shape (..., B, 2)."""
        apart = rows.double() - self.origin
        return torch.stack([(apart * axis).sum(-1) for axis in self.basis], dim=-1)

    def rows(self, points: Tensor) -> Tensor:
        """Models at coordinates (..., B, 2), shape (..., B, P)."""
        points = points.double()
        rows = self.origin + sum(points[..., k, None] * self.basis[k] for k in (0, 1))
        return rows.float()

    def distance(self, rows: Tensor) -> Tensor:
        """How far rows (..., B, P) lie off the plane, shape (..., B)."""
        apart, at = rows.double() - self.origin, self.coordinates(rows)
        inside = sum(at[..., k, None] * self.basis[k] for k in (0, 1))
        return (apart - inside).norm(dim=-1)


def plane(a: Tensor | Stack, b: Tensor | Stack, c: Tensor | Stack) -> Plane:
    """Lay a plane through three models of each seed, as Garipov et al. (2018) draw it.

    Parameters
    ----------
    a, b, c : Tensor, shape (B, P), or Stack
        At the origin, on the first axis, and on the side of the second axis.

    Returns
    -------
    Plane

    Raises
    ------
    ValueError
        If their shapes differ, or if the three models of a seed lie on one line.
    """
    a, b, c = (m.rows if isinstance(m, Stack) else m for m in (a, b, c))
    if a.ndim != 2 or not a.shape == b.shape == c.shape:
        shapes = [tuple(m.shape) for m in (a, b, c)]
        raise ValueError(f"a, b and c must have one shape (B, P), got {shapes}")
    origin, along, aside = a.double(), b.double() - a.double(), c.double() - a.double()
    chord = along.norm(dim=-1)
    first = along / chord.unsqueeze(-1)
    off = aside - (aside * first).sum(-1, keepdim=True) * first
    height = off.norm(dim=-1)
    # Rounding in single precision leaves about a millionth of the length.
    flat = ~(torch.minimum(chord, height) > 1e-5 * torch.maximum(chord, aside.norm(dim=-1)))
    if flat.any():
        where = flat.nonzero().flatten().tolist()
        raise ValueError(f"a, b and c lie on one line, or are not finite, for seeds {where}")
    basis = torch.stack([first, off / height.unsqueeze(-1)])
    zero = torch.zeros_like(chord)
    foot = (aside * first).sum(-1)
    corners = torch.stack([zero, zero, chord, zero, foot, height], -1).view(-1, 3, 2)
    return Plane(origin, basis, corners.movedim(1, 0))


def grid(plane: Plane, points: int = 25, margin: tuple[float, float] = (0.2, 0.2)) -> Tensor:
    """Even grid around the corners, the same for all seeds in units of each seed's chord.

    Parameters
    ----------
    plane : Plane
    points : int
        On either side, at least 2.
    margin : pair of float
        Space around the corners of all seeds, as a share of what they span along x and y.

    Returns
    -------
    Tensor, shape (points, points, B, 2)
        Coordinates; the first axis goes along y.
    """
    if points < 2 or not min(margin) >= 0:
        raise ValueError(f"points must be >= 2 and margin >= 0, got {points} and {margin}")
    scaled = plane.corners / plane.chord.unsqueeze(-1)
    low, high = scaled.amin((0, 1)), scaled.amax((0, 1))
    space = torch.tensor(margin) * (high - low)
    low, high = low - space, high + space
    x, y = (torch.linspace(*ends, points, dtype=torch.float64) for ends in zip(low, high))
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return cells.unsqueeze(2) * plane.chord.unsqueeze(-1)


def survey(
    plane: Plane,
    points: Tensor,
    task: Task,
    like: Stack,
    metrics: Iterable[str] = ("loss", "accuracy"),
    oracle: Stack | None = None,
) -> pd.DataFrame:
    """Measure the models at many points of the plane, some dozens at once.

    Parameters
    ----------
    plane : Plane
    points : Tensor, shape (..., B, 2)
        Coordinates, such as of `grid`.
    task : Task
    like : Stack
        Models of the same architecture.
    metrics : iterable of str
        Names in ``METRICS``.
    oracle : Stack, optional
        For the distances to the oracle.

    Returns
    -------
    pandas.DataFrame
        Tidy: point (its place in the flattened grid), x, y (coordinates in chords of the seed),
        seed, split, metric, value.
    """
    flat, chosen = points.reshape(-1, *points.shape[-2:]), list(metrics)
    if flat.shape[1] != len(task):
        raise ValueError(f"points are of {flat.shape[1]} seeds but task has {len(task)} splits")
    tables = []
    for start in range(0, len(flat), AT_ONCE):
        part = flat[start : start + AT_ONCE]
        # A chain through two or more models meets each of them.
        padded = torch.cat([part, part[-1:]])
        path = as_path(plane.rows(padded), like)
        table = evaluate(path, task, len(padded), metrics=chosen, oracle=oracle)
        point = start + (table.t * len(part)).round().astype(int)
        tables.append(table.assign(point=point)[point < start + len(part)])
    table = pd.concat(tables, ignore_index=True).drop(columns="t")
    where = (flat / plane.chord.unsqueeze(-1)).numpy()
    seed = table.seed.map({s: b for b, s in enumerate(task.seeds)}).to_numpy()
    x, y = where[table.point.to_numpy(), seed].T
    return table.assign(x=x, y=y)[["point", "x", "y", "seed", "split", "metric", "value"]]


def as_field(table: pd.DataFrame, metric: str, split: str, seed: int) -> np.ndarray:
    """One seed's values on a square grid, shape (points, points), y first."""
    own = table[(table.metric == metric) & (table.split == split) & (table.seed == seed)]
    side = round(len(own) ** 0.5)
    if not len(own) or side * side != len(own):
        raise ValueError(f"table must hold a square grid of {metric} on {split}, got {len(own)}")
    return own.sort_values("point").value.to_numpy().reshape(side, side)


def both_hold(table: pd.DataFrame, ends: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Judge every point of a plane by the two inequalities of `mcu_lite.is_connected`.

    A point is compared with the straight line between the two end values at its foot on the
    chord from the first to the second model.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `survey`, with the loss.
    ends : pandas.DataFrame
        Of `mcu_lite.evaluate` along the chord, with the loss at t=0 and t=1.
    tolerance : float
        ε in nats.

    Returns
    -------
    pandas.DataFrame
        One line a point and seed: point, x, y, seed, retain, forget (which inequality holds),
        both.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0 nats, got {tolerance}")
    losses = table[table.metric == "loss"]
    wide = losses.pivot(index=["point", "x", "y", "seed"], columns="split", values="value")
    at = ends[ends.metric == "loss"].pivot(index="seed", columns=["split", "t"], values="value")
    wide = wide.reset_index("x")
    foot, seeds = wide.x.clip(0, 1), wide.index.get_level_values("seed")
    line = {
        split: (1 - foot) * at[split, 0.0].loc[seeds].to_numpy()
        + foot * at[split, 1.0].loc[seeds].to_numpy()
        for split in ("retain", "forget")
    }
    wide["retain"] = wide.retain <= line["retain"] + tolerance
    wide["forget"] = wide.forget >= line["forget"] - tolerance
    wide["both"] = wide.retain & wide.forget
    return wide.reset_index()[["point", "x", "y", "seed", "retain", "forget", "both"]]

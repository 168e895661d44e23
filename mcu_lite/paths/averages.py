"""Ensembles and weight averages along a path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mcu_lite.checks import check_choice
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path

PLACES = {"even": (0.0, 1.0), "middle": (0.4, 0.6), "ends": (0.0, 0.1)}


def ts_at(number: int, place: str = "even") -> list[float]:
    """Return `number` >= 2 values of t: "even" in [0, 1], in its "middle" or near the "ends"."""
    low, high = PLACES[check_choice("place", place, PLACES)]
    if number < 2:
        raise ValueError(f"number must be at least 2, got {number}")
    ts = np.linspace(low, high, number if place != "ends" else (number + 1) // 2).tolist()
    return ts if place != "ends" else ts + [1 - t for t in ts[: number // 2][::-1]]


def members(path: Path, ts: Sequence[float]) -> Stack:
    """Return the models at all ts under one another: an ensemble for `relearn`."""
    return Stack.cat([path.stack_at(t) for t in ts])


def average_weights(path: Path, ts: Sequence[float]) -> Stack:
    """Return one model for each curve, whose weights are the mean of those at the ts."""
    rows = path.rows(ts).mean(0)
    rows[path.diverged] = torch.nan
    return Stack(path.architecture, rows, "averaged", diverged=path.diverged)

"""Runs that moved equally far."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from mcu_lite.checks import check_choice, seeds_of
from mcu_lite.metrics.distances import displacement, distance
from mcu_lite.studies.conditions import Condition, Endpoint, Setting
from mcu_lite.studies.results import task_for
from mcu_lite.studies.study import endpoints
from mcu_lite.unlearning.methods import METHODS
from mcu_lite.unlearning.objectives import recipe_for


def end_distances(
    conditions: Iterable[Condition],
    setting: Setting | None = None,
    *,
    cache: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """Measure how far apart the two ends of each condition are, and how far each of them moved.

    One line a pair of ends and seed: a, b (as in the table of `mcu_lite.run`), seed, distance,
    and the displacements from θo, moved_a and moved_b.
    """
    setting = setting or Setting()
    pairs, seeds = dict.fromkeys((c.a, c.b) for c in conditions), seeds_of(setting.seeds)
    if not pairs:
        raise ValueError("conditions must hold at least one Condition, got none")
    stacks = endpoints(dict.fromkeys(end for pair in pairs for end in pair), setting, cache=cache)
    # The original itself, which has no origin, did not move.
    moved = {end: distance(s, s.origin or s) for end, s in stacks.items()}
    frames = []
    for a, b in pairs:
        own = {"distance": distance(stacks[a], stacks[b]), "moved_a": moved[a], "moved_b": moved[b]}
        frames.append(pd.DataFrame({"a": str(a), "b": str(b), "seed": seeds} | own))
    return pd.concat(frames, ignore_index=True)


def matched(
    end: Endpoint,
    target: Endpoint | float,
    setting: Setting | None = None,
    *,
    by: str = "lr",
    within: float = 0.03,
    tries: int = 8,
    cache: str | os.PathLike | None = None,
) -> Endpoint:
    """Change the rate or the number of steps until the models move as far as wanted.

    The search starts from the recipe of `end`, which must be of a method that starts from θo. The
    displacement wanted is a mean over the seeds that did not diverge: a number, or that of another
    endpoint. What is changed is `by`: "lr", with three digits, or "steps". The search ends `within`
    a relative difference, or after as many `tries`, each a run that the cache then holds.

    The closest endpoint of those is returned. Measure it again: it need not lie `within`.

    The displacement grows with the rate (and the steps) about as a power; its exponent is taken
    from the last two tries, and between 1/3 and 3.
    """
    check_choice("part of the recipe", by, ("lr", "steps"))
    if end.method == "original" or METHODS[end.method].begins != "original":
        raise ValueError(f"end must be of a method that starts from θo, got {end.method!r}")
    if tries < 1 or not within > 0:
        raise ValueError(f"tries must be >= 1 and within > 0, got {tries} and {within}")

    def moved(e: Endpoint) -> float:
        found = displacement(endpoints([e], setting, cache=cache)[e])
        return float(np.nanmean(found)) if np.isfinite(found).any() else math.inf

    goal = moved(target) if isinstance(target, Endpoint) else float(target)
    if not 0 < goal < math.inf:
        raise ValueError(f"target must have moved by a finite distance > 0, got {goal}")
    recipe, tried = recipe_for(end.method, task_for(setting or Setting())), {}
    value = end.recipe.get(by, getattr(recipe, by))
    while len(tried) < tries:
        value = max(1, round(value)) if by == "steps" else float(f"{value:.3g}")
        if value in tried:
            break
        tried[value] = moved(replace(end, **{by: value})) / goal
        if abs(tried[value] - 1) <= within:
            break
        value = _next(tried)
    best = min(tried, key=lambda v: abs(math.log(tried[v] or 1e-300)))
    return replace(end, **{by: best})


def _next(tried: dict[float, float]) -> float:
    """Where the power law through the last two tries reaches 1; a tenth if the last diverged."""
    (value, ratio), exponent = list(tried.items())[-1], 1.0
    if not 0 < ratio < math.inf:
        return value / 10 if ratio else value * 10
    if len(tried) > 1:
        before, then = list(tried.items())[-2]
        if 0 < then < math.inf:
            exponent = math.log(ratio / then) / math.log(value / before)
    return value * ratio ** (-1.0 / min(max(exponent, 1 / 3), 3.0))

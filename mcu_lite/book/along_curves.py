"""Which metrics move together along a curve, and where it is better than both ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pandas as pd
from torch import Tensor

from mcu_lite.book.contrasts import from_zero
from mcu_lite.checks import check_choice
from mcu_lite.metrics.connectivity import excess, wide_curves
from mcu_lite.models.stack import Stack
from mcu_lite.paths.trajectories import length_over_chord, noise_walk, trajectory
from mcu_lite.tasks.task import Task
from mcu_lite.unlearning.methods import METHODS


def wiggle_correlations(
    table: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Correlate, along t, what two metrics have above their straight lines between the ends.

    The table is that of `mcu_lite.run`, with the column ``name`` in place of split and metric: what
    the lines are of, such as "forget loss"; `pairs` of names are by default all.

    One line a pair and seed: one, two, seed, correlation, strength, curves. Spearman's rank
    correlation along t, curve by curve, then its mean over curves, so that differences between
    curves are no relation; `strength` is the mean over curves of its absolute value, in which
    curves of opposite signs do not cancel. A curve on which one of the two does not wiggle is
    left out.
    """
    check_choice("column", "name", list(table))
    keys = [c for c in table if c not in ("t", "name", "value", "split", "metric")]
    wide = wide_curves(table, ["name", *keys])
    above = pd.DataFrame(excess(wide, wide.columns), wide.index).iloc[:, 1:-1]
    # The ends are 0 by definition. What is equal but for rounding must tie.
    ranks = above.round(9).rank(axis=1).where(above.notna().all(axis=1), axis=0)
    names = list(table["name"].unique())
    own = {name: ranks.loc[name] for name in names}
    if any(not own[name].index.equals(own[names[0]].index) for name in names):
        raise ValueError("table must hold every name for every curve and seed")
    lines = []
    for one, two in combinations(names, 2) if pairs is None else pairs:
        x, y = (own[check_choice("name", name, names)] for name in (one, two))
        rho = x.corrwith(y, axis=1)
        found = pd.DataFrame({"rho": rho, "size": rho.abs()}).groupby("seed")
        found = found.agg(
            correlation=("rho", "mean"), strength=("size", "mean"), curves=("rho", "count")
        )
        lines.append(found.reset_index().assign(one=one, two=two))
    columns = ["one", "two", "seed", "correlation", "strength", "curves"]
    return pd.concat(lines, ignore_index=True)[columns]


def gain_between(table: pd.DataFrame, better: str) -> pd.DataFrame:
    """Ask whether some t between the ends beats both ends, with t chosen on the other seeds.

    The best of many t on the very numbers that judge it is better than the ends by chance
    alone. So t, and the better end, are chosen on the mean of all *other* seeds as well.

    `table` holds one curve, metric and split of two or more seeds, of which "higher" or "lower"
    values are `better`. Returned is one line a seed: t, as chosen on the others, and the value
    there; gain over the better end, positive if better; and hindsight, the gain at the seed's own
    best t over its own better end. Seeds that diverged are left out.
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
        lines.append({"seed": seed, "t": t} | own | {"value": sign * wide.loc[seed, t]})
    return pd.DataFrame(lines)


def gains(table: pd.DataFrame, better: str) -> pd.DataFrame:
    """`gain_between` method by method, compared with none: what `mcu_lite.compare` returns."""
    each = table.groupby("method", sort=False)
    found = {m: gain_between(own, better).set_index("seed").gain for m, own in each}
    return from_zero(pd.DataFrame(found))


def detours(
    theta: Stack, task: Task, methods: Sequence[str], few: int = 15
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """How long the trajectory of each method is, and a walk of noise of its steps and rate.

    Returns
    -------
    pandas.DataFrame
        method, seed, kind ("trajectory" or "noise"), and the length over that of the
        chord, "through every step" and "through few points", about so many as `few`.
    dict of Tensor by method
        These few models of each trajectory, shape (S, B, P).
    """
    lines, thinned = [], {}
    for m in methods:
        recipe = {"steps": METHODS[m].steps, "lr": METHODS[m].lr}
        walks = {
            "trajectory": trajectory(theta, task, m),
            "noise": noise_walk(theta, task, **recipe),
        }
        for kind, rows in walks.items():
            some = rows[:: max(1, len(rows) // few)]
            lengths = {"through every step": rows, "through few points": some}
            found = {k: length_over_chord(own).tolist() for k, own in lengths.items()}
            keys = {"method": m, "seed": list(task.seeds), "kind": kind}
            lines.append(pd.DataFrame(keys | found))
            if kind == "trajectory":
                thinned[m] = some.clone()
    return pd.concat(lines, ignore_index=True), thinned

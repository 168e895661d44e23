"""How metrics fluctuate along one curve: when they turn, and which of them move together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mcu_lite.checks import known
from mcu_lite.metrics.connectivity import curves, excess


def turns(values: np.ndarray, ignore: float = 0.05) -> np.ndarray:
    """Count how often each curve, shape (..., T), changes its direction: floats of shape (...).

    0 for a monotone curve, 1 for one hump; NaN where a value is missing. Movements smaller than
    the share `ignore` of the curve's range are no change of direction.
    """
    if not 0 <= ignore < 1:
        raise ValueError(f"ignore must lie in [0, 1), got {ignore}")
    values = np.asarray(values, dtype=float)
    flat = values.reshape(-1, values.shape[-1])
    return np.array([_turns(v, ignore) for v in flat]).reshape(values.shape[:-1])


def _turns(values: np.ndarray, ignore: float) -> float:
    """Follow one curve; `high` and `low` are its extremes since it last changed direction."""
    if np.isnan(values).any():
        return float("nan")
    least, direction, count = ignore * np.ptp(values), 0, 0
    high = low = values[0]
    for v in values[1:]:
        high, low = max(high, v), min(low, v)
        if direction >= 0 and high - v > least:
            count, direction, low = count + (direction != 0), -1, v
        elif direction <= 0 and v - low > least:
            count, direction, high = count + (direction != 0), 1, v
    return float(count)


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
    known("column", "name", list(table))
    keys = [c for c in table if c not in ("t", "name", "value", "split", "metric")]
    wide = curves(table, ["name", *keys])
    above = pd.DataFrame(excess(wide, wide.columns), wide.index).iloc[:, 1:-1]
    # The ends are 0 by definition. What is equal but for rounding must tie.
    ranks = above.round(9).rank(axis=1).where(above.notna().all(axis=1), axis=0)
    names = list(table["name"].unique())
    own = {name: ranks.loc[name] for name in names}
    if any(not own[name].index.equals(own[names[0]].index) for name in names):
        raise ValueError("table must hold every name for every curve and seed")
    lines = []
    for one, two in combinations(names, 2) if pairs is None else pairs:
        x, y = (own[known("name", name, names)] for name in (one, two))
        rho = x.corrwith(y, axis=1)
        found = pd.DataFrame({"rho": rho, "size": rho.abs()}).groupby("seed")
        found = found.agg(
            correlation=("rho", "mean"), strength=("size", "mean"), curves=("rho", "count")
        )
        lines.append(found.reset_index().assign(one=one, two=two))
    columns = ["one", "two", "seed", "correlation", "strength", "curves"]
    return pd.concat(lines, ignore_index=True)[columns]

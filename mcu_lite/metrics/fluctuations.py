"""How metrics fluctuate along one curve: when they turn, and which of them move together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mcu_lite.checks import known
from mcu_lite.metrics.connectivity import excess


def turns(values: np.ndarray, ignore: float = 0.05) -> np.ndarray:
    """Count how often each curve, shape (..., T), changes its direction.

    Parameters
    ----------
    values : array, shape (..., T)
    ignore : float in [0, 1)
        Movements smaller than this share of the curve's range are no change of direction.

    Returns
    -------
    array of float, shape (...)
        0 for a monotone curve, 1 for one hump; NaN where a value is missing.
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

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.run`, with the column ``name`` in place of split and metric: what the lines
        are of, such as "forget loss".
    pairs : sequence of pairs of names, optional
        By default all.

    Returns
    -------
    pandas.DataFrame
        One line a pair and seed: one, two, seed, correlation, strength, curves. Spearman's rank
        correlation along t, curve by curve, then its mean over curves, so that differences between
        curves are no relation; `strength` is the mean over curves of its absolute value, in which
        curves of opposite signs do not cancel. A curve on which one of the two does not wiggle is
        left out.
    """
    known("column", "name", list(table))
    keys = [c for c in table if c not in ("t", "name", "value", "split", "metric")]
    wide = table.pivot(index=["name", *keys], columns="t", values="value").sort_index(axis=1)
    above = excess(wide.to_numpy(), wide.columns.to_numpy())
    # The ends are 0 by definition. What is equal but for rounding must tie.
    inner = np.round(above[:, 1:-1], 9)
    names = list(table["name"].unique())
    ranks = {n: _ranks(inner[wide.index.get_level_values("name") == n]) for n in names}
    curves = wide.loc[names[0]].index
    if any(not wide.loc[n].index.equals(curves) for n in names):
        raise ValueError("table must hold every name for every curve and seed")
    lines = []
    for a, b in combinations(names, 2) if pairs is None else pairs:
        x, y = (ranks[known("name", n, names)] for n in (a, b))
        with np.errstate(invalid="ignore", divide="ignore"):
            each = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
        found = pd.DataFrame({"rho": each, "size": np.abs(each)})
        own = found.groupby(curves.get_level_values("seed").to_numpy()).agg(
            correlation=("rho", "mean"), strength=("size", "mean"), curves=("rho", "count")
        )
        lines.append(own.rename_axis("seed").reset_index().assign(one=a, two=b))
    columns = ["one", "two", "seed", "correlation", "strength", "curves"]
    return pd.concat(lines, ignore_index=True)[columns]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Centred ranks of each line, shape (n, T)."""
    ranks = rankdata(values, axis=-1)
    return ranks - ranks.mean(-1, keepdims=True)

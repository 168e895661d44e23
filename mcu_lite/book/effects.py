"""What the claims of the paper compare: numbers by seed, read off the tables of evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcu_lite.metrics.connectivity import excess, is_connected, measures


def of(table: pd.DataFrame, *conditions: str) -> pd.DataFrame:
    """The lines of some conditions."""
    return table[table.condition.isin(conditions)]


def approximate(table: pd.DataFrame) -> pd.DataFrame:
    """The paths of which no end was retrained."""
    return table[~(table.a.str.startswith("retrain") | table.b.str.startswith("retrain"))]


def connected(*tables: pd.DataFrame) -> pd.Series:
    """Whether any of several paths connects a pair: by a, b and seed; diverged ones left out."""
    judged = pd.concat([is_connected(table) for table in tables])
    return judged.groupby(["a", "b", "seed"]).connected.max().astype(float)


def by_method(pairs: pd.Series) -> pd.DataFrame:
    """Mean over the pairs that a method is part of: seeds by methods."""
    wide = pairs.rename("value").reset_index()
    ends = pd.concat([wide.assign(method=wide[side].str.split().str[0]) for side in "ab"])
    return ends.groupby(["seed", "method"]).value.mean().unstack()


def best_less_worst(values: pd.DataFrame) -> pd.Series:
    """Best less worst column on the second half of the rows, both chosen on the first half.

    The largest and the smallest of many numbers differ by chance alone; chosen on other seeds,
    they do not, and the seeds that judge are independent.
    """
    first, rest = halves(values)
    mean = first.mean()
    return rest[mean.idxmax()] - rest[mean.idxmin()]


def halves(values: pd.DataFrame | pd.Series) -> tuple:
    """The first and the second half of the rows; the second is the larger one."""
    middle = len(values) // 2
    return values.iloc[:middle], values.iloc[middle:]


def barriers(table: pd.DataFrame, split: str = "retain") -> pd.Series:
    """Barrier of the loss on each path: by a, b and seed."""
    own = table[(table.metric == "loss") & (table.split == split)]
    return measures(own).set_index(["a", "b", "seed"]).barrier


def needed_tolerance(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest ε at which paths connect, at least 0: seeds by methods of their first ends."""
    own = is_connected(table, tolerance=0)
    own = own.assign(by=own.by.clip(lower=0), method=own.a.str.split().str[0])
    return own.groupby(["seed", "method"]).by.mean().unstack()


def correlations(table: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """Spearman's ρ along t of pairs of forget metrics, mean over curves: by seed, NaN-free."""
    own = table[table.split == "forget"]
    keys = ["condition", "a", "b", "curve", "seed"]
    wide = own.pivot(index=[*keys, "t"], columns="metric", values="value")
    ranks = wide.groupby(level=keys).rank()
    ranks -= ranks.groupby(level=keys).mean()
    size = np.sqrt((ranks**2).groupby(level=keys).sum())
    found = {}
    for one, other in pairs:
        product = (ranks[one] * ranks[other]).groupby(level=keys).sum()
        found[one, other] = product / (size[one] * size[other]).replace(0, np.nan)
    return pd.DataFrame(found).dropna().groupby("seed").mean()


def departure(table: pd.DataFrame) -> pd.Series:
    """Departures of forget accuracy from straight lines in t, over its changes: by seed.

    Means over t, each summed over paths before they are divided: a small change does not count
    for more than a large one.
    """
    own = table[(table.metric == "accuracy") & (table.split == "forget")]
    wide = own.pivot(index=["b", "seed"], columns="t", values="value").sort_index(axis=1)
    values = wide.to_numpy()
    away = np.abs(excess(values, wide.columns.to_numpy())).mean(1)
    change = np.abs(values[:, -1] - values[:, 0])
    sums = pd.DataFrame({"away": away, "change": change}, wide.index).groupby("seed").sum()
    return sums.away / sums.change


def gain_over_best(values: pd.DataFrame) -> pd.DataFrame:
    """Averages along paths less single models, columns by name: gain, over_best; by seed.

    `over_best` compares with the best single model of equal budget, chosen on the first half of
    the seeds, `gain` with all single models on average; larger values are better.
    """
    budget = values.columns.str.startswith("budget")
    averages, single = values.loc[:, ~budget].mean(axis=1), values.loc[:, budget]
    best = halves(single)[0].mean().idxmax()
    gains = {"gain": averages - single.mean(axis=1), "over_best": averages - single[best]}
    return halves(pd.DataFrame(gains))[1]

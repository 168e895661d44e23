"""What the claims of the paper compare: numbers by seed, read off the tables of evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcu_lite.book.evidence import Evidence
from mcu_lite.metrics.connectivity import is_connected, measures
from mcu_lite.metrics.statistics import interval


def of(table: pd.DataFrame, *conditions: str) -> pd.DataFrame:
    """The lines of some conditions."""
    return table[table.condition.isin(conditions)]


def pair_barriers(
    table: pd.DataFrame, curve: str = "linear", split: str = "retain"
) -> pd.DataFrame:
    """Barrier of the loss on one kind of path: condition, a, b, seed, barrier."""
    own = table[(table.curve == curve) & (table.metric == "loss") & (table.split == split)]
    return measures(own)[["condition", "a", "b", "seed", "barrier"]]


def approximate(table: pd.DataFrame) -> pd.DataFrame:
    """The paths that begin at no retrained model."""
    return table[~table.a.str.startswith("retrain")]


def best_less_worst(share: pd.DataFrame) -> np.ndarray:
    """Of each seed; the largest and the smallest of many numbers differ by chance alone."""
    others = {seed: share.drop(index=seed).mean() for seed in share.index}
    return np.array(
        [share.at[s, mean.idxmax()] - share.at[s, mean.idxmin()] for s, mean in others.items()]
    )


def disagreement(table: pd.DataFrame, curve: str) -> tuple[pd.Series, int]:
    """1 + ρ of forget loss and membership on paths of a kind, by seed; how many are connected."""
    verdicts = is_connected(table[table.curve == curve])
    yes = verdicts[verdicts.connected.fillna(False).astype(bool)]
    if yes.empty:
        return pd.Series(np.nan, verdicts.seed.unique()), 0
    keys = ["condition", "a", "b", "curve", "seed"]
    own = table[table.split == "forget"].merge(yes[keys], on=keys)
    wide = own.pivot(index=[*keys, "t"], columns="metric", values="value")
    ranked = wide[["loss", "mia_auc"]].groupby(level=keys).rank()
    rho = ranked.groupby(level=keys).apply(lambda c: c.loss.corr(c.mia_auc)).dropna()
    # Membership inference falls where the loss rises: agreement is a correlation of -1.
    return 1 + rho.groupby("seed").mean(), yes.groupby(["a", "b"]).ngroups


def needed_tolerance(table: pd.DataFrame) -> pd.Series:
    """Smallest ε at which straight lines connect: mean by condition, method and seed."""
    own = is_connected(table[table.curve == "linear"], tolerance=0)
    method = own.a.str.split().str[0].rename("method")
    return own.groupby(["condition", method, "seed"]).by.mean()


def largest_bend(table: pd.DataFrame) -> pd.Series:
    """Largest departure of forget accuracy from its straight line in t, over its change."""
    own = table[(table.metric == "accuracy") & (table.split == "forget")]
    lines = measures(own[["b", "seed", "t", "split", "metric", "value"]])
    change = (lines.start - lines.end).abs().clip(lower=0.02)
    return (lines[["barrier", "dip"]].max(axis=1) / change).groupby(lines.seed).mean()


def average_gains(
    evidence: Evidence, column: str, sign: int, threshold: float
) -> tuple[np.ndarray, str, float]:
    """What averages have over the better of the single models with the same budget, by seed.

    Beside it what to say of the control, and the floor: to be no better than the better one of
    several models is no contradiction, unless averages are worse than all of them.
    """
    values = sign * evidence.averages.set_index(["model", "seed"])[column].unstack("model")
    single = values.columns.str.startswith("budget")
    averages = values.loc[:, ~single].mean(axis=1)
    gains = {c: averages - values[c] for c in values.loc[:, single].mean().sort_values().index}
    worse = all(interval(gain.to_numpy())[1] < -threshold for gain in gains.values())
    *others, best = (
        f"`{c.removeprefix('budget ')}` {gain.mean():+z.3f}" for c, gain in gains.items()
    )
    said = f"the better of the models with the same budget counts: {best}; {', '.join(others)}"
    return gains[list(gains)[-1]].to_numpy(), said, -threshold if worse else -np.inf

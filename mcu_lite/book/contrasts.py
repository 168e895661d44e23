"""What several chapters ask of their paths: how much ε they need, against which control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from mcu_lite.checks import check_choice
from mcu_lite.metrics.connectivity import is_connected
from mcu_lite.metrics.statistics import compare


def needed(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest ε at which each curve and seed is connected: of `is_connected`, with ``eps``."""
    return is_connected(table, tolerance=0).rename(columns={"by": "eps"})


def against(
    table: pd.DataFrame,
    names: Sequence[str],
    baseline: str,
    values: str = "eps",
    by: str = "condition",
) -> dict[str, pd.DataFrame]:
    """Compare conditions with a baseline, method by method, over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        One line a method, seed and name in the column `by`.
    names : sequence of str
        What is compared with the `baseline`, all in the column `by`.
    values : str
        Column of what is compared.

    Returns
    -------
    dict of pandas.DataFrame
        Of `mcu_lite.compare` by name: one family each. The first word of ``a`` is the method.
    """
    kinds = list(table[by].unique())
    own = table[table[values].notna()]
    own = own.assign(run=own.method + " " + own[by].astype(str))
    found = {}
    for name in names:
        its = own[own[by] == check_choice(by, name, kinds)].method.unique()
        pairs = [(f"{m} {name}", f"{m} {check_choice(by, baseline, kinds)}") for m in its]
        found[name] = compare(own, "run", values, pairs)
    return found


def to_lower_end(table: pd.DataFrame) -> pd.DataFrame:
    """Ask less of the forget loss: not to fall below the *lower* of its two ends.

    Inside one basin a loss is roughly convex along a line, so it sags between unequal ends. The
    definition counts that as a break. Cut off at the lower end, the loss is flat but for what falls
    deeper, and `is_connected` applies as it is.
    """
    keys = [table[c] for c in table if c not in ("t", "value")]
    ends = table.value.where(table.t.isin([0.0, 1.0]))
    lower = ends.groupby(keys, dropna=False).transform("min")
    forget = (table.metric == "loss") & (table.split == "forget")
    return table.assign(value=table.value.mask(forget, np.minimum(table.value, lower)))


def partial_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rank correlation of x and y, each of shape (n,), with the ranks of `given` held.

    NaN where one of them is constant, or follows from `given` alone.
    """
    ranks = np.corrcoef([stats.rankdata(v) for v in (x, y, given)])
    (xy, xz, yz) = ranks[0, 1], ranks[0, 2], ranks[1, 2]
    left = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(left)) if left > 1e-12 else float("nan")


def from_zero(table: pd.DataFrame) -> pd.DataFrame:
    """Compare each column of a table, one line a seed, with zero: of `compare`, with ``label``."""
    own = table.rename_axis(index="seed", columns="name").assign(zero=0.0)
    long = own.melt(ignore_index=False).reset_index()
    return compare(long, "name", pairs=[(name, "zero") for name in table]).assign(label=list(table))

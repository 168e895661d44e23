"""What several chapters ask of their paths: how much ε they need, against which control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from mcu_lite.book.effects import correlations
from mcu_lite.checks import check_choice
from mcu_lite.figures.heatmaps import COLOUR
from mcu_lite.figures.look import INK, PAGE, blank
from mcu_lite.metrics.connectivity import is_connected
from mcu_lite.metrics.statistics import compare, correlation
from mcu_lite.models.stack import Stack
from mcu_lite.studies.conditions import Endpoint


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


def ends_apart(table: pd.DataFrame, stacks: Mapping[Endpoint, Stack]) -> pd.DataFrame:
    """How far the two ends of each path are apart, in weights and in what they forgot.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.run`, on one kind of curve.
    stacks : mapping of Endpoint to Stack
        Models at all ends, of `mcu_lite.endpoints`, with the seeds of the table in its order.

    Returns
    -------
    pandas.DataFrame
        Of `needed`, with distance, between the weights, and gap, between the forget losses (nats).
    """
    rows = {str(end): stack.rows.cpu() for end, stack in stacks.items()}
    found = needed(table).join(_gaps(table).rename("gap"), on=["a", "b", "seed"])
    at = pd.factorize(found.seed)[0]
    apart = [(rows[a][i] - rows[b][i]).norm().item() for a, b, i in zip(found.a, found.b, at)]
    return found.assign(distance=apart)


def _gaps(table: pd.DataFrame) -> pd.Series:
    """How far the forget losses of the two ends of each path differ: by a, b and seed."""
    own = table[(table.metric == "loss") & (table.split == "forget") & table.t.isin([0.0, 1.0])]
    ends = own.pivot(index=["a", "b", "seed"], columns="t", values="value")
    return (ends[0.0] - ends[1.0]).abs()


@matplotlib.rc_context(PAGE)
def plot_pairs(points: pd.DataFrame, x: str, y: str, names: tuple[str, str]) -> Axes:
    """Draw two columns against each other: a dot a pair of a and b, a line of one deviation of y.

    `names` are those of the axes. The label of the axes says the rank correlation within seeds.
    """
    pairs = points.groupby(["a", "b"])
    mean, sd = pairs[[x, y]].mean(), pairs[y].std()
    ax = blank(3.7, 2.75)
    ax.errorbar(mean[x], mean[y], sd, fmt=".", color=INK, alpha=0.6, lw=0.6)
    ax.set(xlabel=names[0], ylabel=names[1])
    r = correlation(points[x], points[y], points.seed)["correlation"]
    ax.set_label(f"{names[1]} against {names[0]}, {len(mean)} pairs: rank correlation {r:z.2f}")
    return ax


@matplotlib.rc_context(PAGE)
def plot_shares(shares: pd.DataFrame, along: str = "") -> Axes:
    """Draw shares as discs, rows by columns: full for all, empty for none, by area in between.

    `along` is what the columns are. The label of the axes says every share.
    """
    filled = shares.stack().dropna()
    y, x = (
        axis.get_indexer(filled.index.get_level_values(i)) for i, axis in enumerate(shares.axes)
    )
    ax = blank(5.6, 0.9 + 0.36 * len(shares))
    ax.scatter(x, y, 200, facecolors="none", edgecolors=INK, linewidths=0.6, alpha=0.6)
    ax.scatter(x, y, 200 * filled, color=COLOUR, linewidths=0)
    ax.set_xticks(range(shares.shape[1]), shares.columns)
    ax.set_yticks(range(len(shares)), shares.index)
    ax.set(xlabel=along, xlim=(-0.5, shares.shape[1] - 0.5), ylim=(len(shares) - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    words = (
        f"{row}: {', '.join(f'{v:.0%} at {k}' for k, v in own.dropna().items())}"
        for row, own in shares.iterrows()
    )
    ax.set_label(f"Shares by {along}. {'; '.join(words)}")
    return ax


def from_zero(table: pd.DataFrame) -> pd.DataFrame:
    """Compare each column of a table, one line a seed, with zero: of `compare`, with ``label``."""
    own = table.rename_axis(index="seed", columns="name").assign(zero=0.0)
    long = own.melt(ignore_index=False).reset_index()
    return compare(long, "name", pairs=[(name, "zero") for name in table]).assign(label=list(table))


def switches_of(table: pd.DataFrame) -> pd.DataFrame:
    """Name the settings of both ends, columns ``one`` and ``two``: neither, CL, SO or both."""
    names = {(False, False): "neither", (True, False): "CL", (False, True): "SO"}
    found = {
        name: [names.get(("curriculum" in end, "order" in end), "both") for end in table[side]]
        for name, side in (("one", "a"), ("two", "b"))
    }
    return table.assign(**found)


def effects(table: pd.DataFrame, values: str = "eps", against: str | None = None) -> pd.DataFrame:
    """What each switch does alone, their sum, and what both do: method, seed, effect, value.

    The table is of `switches_of`; values are those of ends that are reached from neither switch,
    less the value of `against` where that is named.
    """
    own = table[(table.one == "neither") & table[values].notna()]
    wide = own.pivot(index=["method", "seed"], columns="two", values=values)
    wide = wide.reindex(own.method.unique(), level="method")  # in the table's order
    wide = wide if against is None else wide.sub(wide[against], axis=0)
    wide = wide.assign(sum=wide.CL + wide.SO)[["CL", "SO", "sum", "both"]]
    return wide.rename_axis(columns="effect").stack().rename("value").reset_index()


def both_minus_sum(added: pd.DataFrame) -> pd.DataFrame:
    """Compare both switches of `effects` with the sum of the two, method by method."""
    return against(added, ["both"], "sum", "value", by="effect")["both"]


def related(
    table: pd.DataFrame, x: str, others: Sequence[str], given: str | None = None
) -> pd.DataFrame:
    """Rank correlation of a column with others within each seed, against 0; `given` is held equal.

    Returns what `mcu_lite.compare` does, one line for each of `others`, with its ``label``.
    """
    zero, lines = "no relation", []
    for seed, own in table.dropna(subset=[x, *others]).groupby("seed"):
        for name in others:
            rho = (
                own[x].corr(own[name], "spearman")
                if given is None
                else partial_correlation(own[x], own[name], own[given])
            )
            lines.append({"seed": seed, "name": name, "value": rho})
        lines.append({"seed": seed, "name": zero, "value": 0.0})
    found = compare(pd.DataFrame(lines), "name", pairs=[(name, zero) for name in others])
    return found.assign(label=found.a)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """How well forget loss and membership inference agree along t: with themselves, and together.

    Both are measured on two halves of the forget set, see `mcu_lite.book.evidence.HALVES`. Returns
    method, seed, of ("one metric" or "two metrics") and value: Spearman's ρ along t, mean over all
    curves that the method is an end of. Noise alone lowers both alike (Spearman, 1904).
    """
    pairs = [("loss_even", "loss_odd"), ("auc_even", "auc_odd")]
    crossed = [("loss_even", "auc_odd"), ("loss_odd", "auc_even")]
    lines = []
    for method in pd.unique(table[["method", "other"]].to_numpy().ravel()):
        its = table[(table.method == method) | (table.other == method)]
        rho = correlations(its, pairs + crossed)
        # Membership inference falls where the loss rises: agreement is a correlation of -1.
        found = {
            "one metric": np.sqrt(rho[pairs].clip(lower=0).prod(axis=1)),
            "two metrics": -rho[crossed].mean(axis=1),
        }
        for of, own in found.items():
            lines.append(own.rename("value").reset_index().assign(method=method, of=of))
    return pd.concat(lines, ignore_index=True)[["method", "seed", "of", "value"]]


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    """How much ε each path needs, at least 0, and how far the forget losses of its ends differ.

    One line a pair of methods and seed: a, b, seed, eps, forget.
    """
    found = needed(table)
    unequal = _gaps(table).rename("forget")
    found = found.assign(eps=found.eps.clip(lower=0)).join(unequal, on=["a", "b", "seed"])
    return found.assign(a=found.method, b=found.other)[["a", "b", "seed", "eps", "forget"]]

"""What a few seeds can show: intervals, paired tests and effect sizes over seeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from mcu_lite.checks import check_choice
from mcu_lite.tasks.task import check_share

FLIPS = 9999
"""The most sign flips that a test enumerates, beyond which it draws them."""


LEVEL = 0.05
"""Of the share of false ones among the differences of a family that are called visible."""


class Comparison(NamedTuple):
    """Mean of a - b over n seeds, its interval, d_z (Lakens, 2013) and p of the sign-flip test."""

    difference: float
    low: float
    high: float
    effect: float
    p: float
    n: int


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean over seeds: mean ± t·s/√n.

    Parameters
    ----------
    values : sequence of float, shape (n,)
        One a seed; NaN is left out. Fewer than two values give (nan, nan).
    level : float in (0, 1)
        Of normal values it covers the mean in so many cases, for any n >= 2. It may leave the
        range of the values, and that of a measure.

    Examples
    --------
    >>> [round(end, 3) for end in interval([0.8, 0.9, 1.0, 1.1, 1.2])]
    [0.804, 1.196]
    """
    check_share("level", level)
    values = _vector("values", values)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    if _constant(values):
        return float(values[0]), float(values[0])
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or np.isinf(values).any():
        raise ValueError(f"{name} must be one number a seed, finite or NaN, got {values}")
    return values


def _constant(values: np.ndarray) -> bool:
    """Whether values are equal but for rounding."""
    return np.allclose(values, values[0], rtol=1e-10, atol=0)


def paired(
    a: Sequence[float], b: Sequence[float], level: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare a with b by a sign-flip test over seeds (Fisher, 1935).

    If neither is better, every difference might as well have had the other sign: p is the
    share of the 2^n sign flips whose mean is as far from 0.

    Parameters
    ----------
    a, b : sequence of float, shape (n,)
        In the same order of seeds; two Series must have equal indices. Pairs with a NaN are left
        out; fewer than two pairs have neither p, effect nor interval.
    level : float in (0, 1)
        Of the interval.
    seed : int
        Of the sign flips that are drawn beyond n = 13; up to there all are counted.

    Examples
    --------
    >>> paired([3, 4, 5, 6, 7], [1, 2, 2, 4, 4]).p
    0.0625
    """
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise ValueError(f"a and b must have one index, got {list(a.index)} and {list(b.index)}")
    a, b = _vector("a", a), _vector("b", b)
    if a.shape != b.shape:
        raise ValueError(f"a and b must hold the same seeds, got {len(a)} and {len(b)} values")
    both = ~np.isnan(a - b)
    # What is equal but for rounding is equal: otherwise its effect size would be arbitrary.
    d = np.where(np.isclose(a, b, rtol=1e-10, atol=0), 0.0, a - b)[both]
    if len(d) < 2:
        difference = float(d[0]) if len(d) else float("nan")
        return Comparison(difference, *[float("nan")] * 4, len(d))
    # SciPy 1.15 renames random_state to rng, but we support 1.13.
    draws = {"n_resamples": FLIPS, "random_state": np.random.default_rng(seed)}
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", **draws)
    mean, sd = d.mean(), 0.0 if _constant(d) else d.std(ddof=1)
    effect = mean / sd if sd else np.copysign(np.inf, mean) if mean else 0.0
    low, high = interval(d, level)
    return Comparison(float(mean), low, high, float(effect), float(test.pvalue), len(d))


def correct(p: ArrayLike) -> np.ndarray:
    """Adjust p, shape (m,), for m tests (Benjamini and Hochberg, 1995); NaN is no test."""
    p = np.array(p, dtype=float)
    tested = ~np.isnan(p)
    if p.ndim != 1 or not ((p[tested] >= 0) & (p[tested] <= 1)).all():
        raise ValueError(f"p must be a list of probabilities or NaN, got {p}")
    if tested.any():
        p[tested] = stats.false_discovery_control(p[tested])
    return p


def compare(
    table: pd.DataFrame,
    by: str,
    values: str = "value",
    pairs: Iterable[tuple[Hashable, Hashable]] | None = None,
    seed: str = "seed",
) -> pd.DataFrame:
    """Compare what is named in a column of a table pairwise, with `paired` over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        One line for each name and seed: choose one metric, split and t first.
    by, values, seed : str
        Columns: the names to compare, what is measured, and the seed.
    pairs : iterable of pairs of names, optional
        By default all, in the order in which the names appear.

    Returns
    -------
    pandas.DataFrame
        One line a pair: a, b, difference, low, high, effect, p, p_corrected, n; and visible,
        whether the difference is too clear to be chance among so many: a t test, corrected for the
        number of pairs at the level 0.05 (Benjamini and Hochberg, 1995), which takes differences
        for normal. The sign-flip test of p takes them for nothing, but with 5 seeds cannot fall
        below 0.0625.

    Examples
    --------
    >>> scores = pd.DataFrame({"method": ["npo", "scrub"] * 3, "seed": [0, 0, 1, 1, 2, 2]})
    >>> scores["value"] = [0.9, 0.5, 0.8, 0.5, 1.0, 0.5]
    >>> compare(scores, by="method").round(2)[["a", "b", "difference", "n"]].values.tolist()
    [['npo', 'scrub', 0.4, 3]]
    """
    for column in (by, values, seed):
        check_choice("column", column, list(table))
    if table.duplicated([by, seed]).any():
        raise ValueError(f"table must hold one value for each {by} and seed, it holds several")
    wide = table.pivot(index=seed, columns=by, values=values)
    names = list(table[by].dropna().unique())
    pairs = list(combinations(names, 2) if pairs is None else pairs)
    if not pairs:
        raise ValueError(f"pairs must hold at least one pair of {by}; the table has {names}")
    lines = []
    for a, b in pairs:
        left, right = (wide[check_choice(by, name, names)] for name in (a, b))
        if table[table[by] == a][seed].isin(table[table[by] == b][seed]).sum() == 0:
            raise ValueError(
                f"table must hold {a!r} and {b!r} for one {seed} at least, it has none"
            )
        lines.append({"a": a, "b": b} | paired(left, right)._asdict())
    found = pd.DataFrame(lines)
    found.insert(found.columns.get_loc("n"), "p_corrected", correct(found.p))
    t = found.effect.abs() * np.sqrt(found.n)
    return found.assign(visible=correct(2 * stats.t.sf(t, (found.n - 1).clip(lower=1))) <= LEVEL)


def correlation(x: ArrayLike, y: ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """Mean over groups of Spearman's rank correlation between x and y, all of shape (n,).

    Correlating within each seed keeps differences between seeds from passing for a relation.
    Points with a NaN are left out; so are groups with fewer than three points or a constant.
    Returns correlation, its interval low and high over groups, p of the sign-flip test, and n,
    the number of groups.
    """
    x, y, groups = _vector("x", x), _vector("y", y), np.asarray(groups)
    if len(lengths := {len(x), len(y), len(groups)}) > 1:
        raise ValueError(f"x, y and groups must be equally long, got {sorted(lengths)}")
    points = pd.DataFrame({"x": x, "y": y, "group": groups}).dropna()
    each = [
        own[["x", "y"]].corr("spearman", min_periods=3).iloc[0, 1]
        for _, own in points.groupby("group")
    ]
    mean, low, high, _, p, n = paired(each, np.zeros_like(each))
    low, high = np.clip((low, high), -1.0, 1.0).tolist()
    return {"correlation": mean, "low": low, "high": high, "p": p, "n": n}

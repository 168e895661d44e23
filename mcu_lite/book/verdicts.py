"""A claim is decided by the interval of its effect net of its control, all lines of a card at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

SUPPORTED, NEGLIGIBLE, OPPOSITE, UNDECIDED = "supported", "negligible", "opposite", "undecided"
CONFOUNDED = "confounded"
VERDICTS = (SUPPORTED, CONFOUNDED, NEGLIGIBLE, OPPOSITE, UNDECIDED)
MOST_UNITS = 100_000


@dataclass(frozen=True)
class Finding:
    """One claim and what was measured of it.

    Parameters
    ----------
    claim, test : str
        What is claimed, and what the net effect is.
    raw : array, shape (units,)
        The effect without its control, one number a unit; NaN where there is none.
    net : array, shape (units,)
        The effect net of its control, 0 if nothing is there.
    least : float
        δ, the smallest effect worth the claim, in the unit of the effect.
    why : str
        The reason for δ.
    control : str
        What is subtracted.
    confounder : str
        What explains a raw effect that vanishes net of its control.
    chapter : str
        File name of the page that tells more.
    units : str
        What is independent.
    aside : str
        Numbers that a reader will ask for and that decide nothing.
    """

    claim: str
    test: str
    raw: np.ndarray
    net: np.ndarray
    least: float
    why: str
    control: str
    confounder: str
    chapter: str
    units: str = "seeds"
    aside: str = ""


def region(values: ArrayLike, least: float) -> tuple[str, float]:
    """Where the mean of some values lies, and the p at which its Student's t interval does.

    The interval of level 1 - p just touches a border of the region: beyond δ (supported), inside ±δ
    (negligible: two one-sided tests) or beyond -δ (opposite). NaN for fewer than two values.

    Examples
    --------
    >>> region([0.9, 1.0, 1.1], 0.5)[0], region([-0.1, 0.0, 0.1], 0.5)[0]
    ('supported', 'negligible')
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return UNDECIDED, math.nan
    mean, error = values.mean(), stats.sem(values)
    where = SUPPORTED if mean > least else OPPOSITE if mean < -least else NEGLIGIBLE
    away = abs(abs(mean) - least)
    if error <= 1e-12 * max(1.0, abs(mean)):  # equal but for rounding
        return where, 0.0 if away else 1.0
    return where, float(2 * stats.t.sf(away / error, len(values) - 1))


def holm(p: ArrayLike) -> np.ndarray:
    """Adjust p, shape (m,), for m tests (Holm, 1979); NaN is a test that decides nothing.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.nan_to_num(np.asarray(p, float), nan=1.0)
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def decide(findings: Sequence[Finding], level: float = 0.95) -> list[str]:
    """Give each finding one of five verdicts; all of them hold together with probability `level`.

    Supported, negligible, opposite: where the net effect lies, see `region`. Confounded: the raw
    effect is supported, and net of its control it is not, nor is its mean beyond δ. Else undecided.
    """
    net = [region(f.net, f.least) for f in findings]
    raw = [region(f.raw, f.least) for f in findings]
    net_p, raw_p = holm([p for _, p in net]), holm([p for _, p in raw])
    verdicts = []
    for (where, _), p, (alone, _), q in zip(net, net_p, raw, raw_p):
        verdict = where if p <= 1 - level else UNDECIDED
        if alone == SUPPORTED != where and q <= 1 - level:
            verdict = CONFOUNDED
        verdicts.append(verdict)
    return verdicts


def units_needed(values: ArrayLike, least: float, p: float) -> float:
    """How many units would decide, if mean and spread stay: the interval of level 1 - p clears δ.

    Infinite if the mean lies on a border, or if there are fewer than two values.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return math.inf
    away, sd = abs(abs(values.mean()) - least), values.std(ddof=1)
    low, high = 2, MOST_UNITS
    if not _clears(high, away, sd, p):
        return math.inf
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _clears(middle, away, sd, p) else (middle + 1, high)
    return low


def _clears(n: int, away: float, sd: float, p: float) -> bool:
    return stats.t.ppf(1 - p / 2, n - 1) * sd / math.sqrt(n) < away

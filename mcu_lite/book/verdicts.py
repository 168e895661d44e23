"""A claim is decided by the interval of its effect net of its control, a whole card at once."""

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
"""Beyond so many, a line is said to need more than anybody will run."""


@dataclass(frozen=True)
class Finding:
    """One claim and what was measured of it.

    Parameters
    ----------
    claim : str
    net : array, shape (units,)
        The effect net of its control, one number a unit; 0 if nothing is there, NaN if missing.
    least : float
        δ, the smallest effect worth the claim, in the unit of the effect.
    raw : array, shape (units,), optional
        The effect without its control, by default the same.
    test, control, why : str
        What the net effect is, what is subtracted, and the reason for δ.
    confounder : str
        What explains a raw effect that vanishes net of its control.
    chapter : str
        File name of the page that tells more.
    beside : str
        Numbers that a reader will ask for and that decide nothing.
    """

    claim: str
    net: np.ndarray
    least: float
    raw: np.ndarray | None = None
    test: str = ""
    control: str = ""
    why: str = ""
    confounder: str = "the control"
    chapter: str = ""
    beside: str = ""

    def __post_init__(self) -> None:
        if not self.least > 0:
            raise ValueError(f"least must be > 0, got {self.least}")
        for name in ("net", "raw"):
            values = self.net if getattr(self, name) is None else getattr(self, name)
            object.__setattr__(self, name, np.asarray(values, float))


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


def holm(p: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Which of m tests reject, shape (m,), and the level of each one's interval (Holm, 1979).

    NaN is a test that decides nothing.

    Examples
    --------
    >>> reject, levels = holm([0.01, 0.04, 0.03])
    >>> reject.tolist(), levels.round(3).tolist()
    ([True, False, False], [0.983, 0.95, 0.975])
    """
    p = np.nan_to_num(np.asarray(p, float), nan=1.0)
    rank = stats.rankdata(p, "ordinal") - 1
    allowed = (1 - level) / (len(p) - rank)
    failed = rank[p > allowed].min(initial=len(p))
    return rank < failed, 1 - allowed


def decide(findings: Sequence[Finding], level: float = 0.95) -> list[tuple[str, float]]:
    """Give each finding one of five verdicts, and the level of the interval that it follows from.

    All verdicts of a card hold together with probability `level` (Holm, 1979). Supported,
    negligible, opposite: the region in which the interval of the net effect lies. Confounded: the
    raw effect is supported, and net of its control it is not, nor is its mean. Else undecided.
    """
    net = [region(f.net, f.least) for f in findings]
    raw = [region(f.raw, f.least) for f in findings]
    decided, levels = holm([p for _, p in net], level)
    alone, _ = holm([p for _, p in raw], level)
    verdicts = []
    for (where, _), sure, (before, _), seen in zip(net, decided, raw, alone):
        verdict = where if sure else UNDECIDED
        if seen and before == SUPPORTED != where:
            verdict = CONFOUNDED
        verdicts.append(verdict)
    return list(zip(verdicts, levels.tolist()))


def units_needed(values: ArrayLike, least: float, level: float) -> float:
    """How many units would decide, if mean and spread stay: an interval of `level` clears ±δ.

    Infinite if the mean lies on a border, or if there are fewer than two values.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return math.inf
    away, sd = abs(abs(values.mean()) - least), values.std(ddof=1)
    low, high = 2, MOST_UNITS
    if not _clears(high, away, sd, level):
        return math.inf
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _clears(middle, away, sd, level) else (middle + 1, high)
    return low


def _clears(n: int, away: float, sd: float, level: float) -> bool:
    return stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n) < away

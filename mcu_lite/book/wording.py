"""Which of many differences may be claimed, and how they are written down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from mcu_lite.metrics.statistics import Comparison, correct


def visible(found: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Keep the comparisons that are too clear to be chance among so many.

    The interval must leave out zero, and so must a t test at `level`, corrected for the number of
    lines (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    found : pandas.DataFrame
        Of `mcu_lite.compare`: one line a comparison, all of one family.
    level : float

    Notes
    -----
    The t test follows from the effect size, t = d_z √n, and takes the differences for normal. The
    sign-flip test of `mcu_lite.paired` takes them for nothing, but has no p below 0.0625 with 5
    seeds, which no correction survives.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    t = found.effect.abs() * np.sqrt(found.n)
    p = correct(2 * stats.t.sf(t, (found.n - 1).clip(lower=1)))
    return found[(p <= level) & ((found.low > 0) | (found.high < 0))]


def listed(found: pd.DataFrame, digits: int = 2) -> str:
    """Write comparisons as "`name` difference [low, high]", by the first word of each line's a."""
    lines = found.itertuples()
    return ", ".join(f"`{line.a.split()[0]}` {written(line, digits)}" for line in lines) or "none"


def written(found: Comparison | NamedTuple, digits: int = 2) -> str:
    """Write a difference and its interval, with so many digits that no end of it reads as zero.

    A difference of one seed has no interval.
    """
    if np.isnan(found.low):
        return f"{found.difference:+z.{digits}f}"
    ends = [end for end in (found.low, found.high) if end]
    digits = next((d for d in range(digits, 6) if all(round(end, d) for end in ends)), digits)
    numbers = (f"{v:+z.{digits}f}" for v in (found.difference, found.low, found.high))
    return "{} [{}, {}]".format(*numbers)

"""A claim with its test, the control that it needs and its interval becomes a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mcu_lite.metrics.statistics import interval

SUPPORTED, CONTRADICTED, UNSEEN = "supported", "contradicted", "not visible here"


@dataclass(frozen=True)
class Finding:
    """One claim and what became of it.

    Parameters
    ----------
    claim, test, on : str
        What is claimed, what was measured, and on which conditions.
    values : array, shape (seeds,)
        The effect, one number a seed.
    threshold : float
        The claim is supported if the interval lies above it.
    chapter : str
        File name of the page that tells more.
    control : str
        What the control says; with `confounder` it enters the verdict.
    confounder : str
        What explains the effect as well; "" if nothing does.
    floor : float, optional
        The claim is contradicted if the interval lies below it, by default as far below zero
        as the threshold lies above. In between, an effect is too small to count.
    """

    claim: str
    test: str
    on: str
    values: np.ndarray
    threshold: float
    chapter: str
    control: str = ""
    confounder: str = ""
    floor: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the interval lies above the threshold, below the floor, or neither."""
        low, high = interval(self.values)
        if low > self.threshold:
            return f"confounded by {self.confounder}" if self.confounder else SUPPORTED
        floor = -self.threshold if self.floor is None else self.floor
        return CONTRADICTED if high < floor else UNSEEN

    @property
    def line(self) -> dict:
        """A row of the scorecard."""
        low, high = interval(self.values)
        return {
            "claim": self.claim,
            "test": self.test,
            "on": self.on,
            "effect": pd.Series(self.values).mean(),
            "low": low,
            "high": high,
            "supported above": self.threshold,
            "control": self.control,
            "verdict": self.verdict,
            "chapter": self.chapter,
        }


def scorecard(findings: Iterable[Finding]) -> pd.DataFrame:
    """One line a claim: effect, interval over seeds, control and verdict."""
    lines = [finding.line for finding in findings]
    if not lines:
        raise ValueError("findings must hold at least one Finding, got none")
    return pd.DataFrame(lines)


def as_markdown(card: pd.DataFrame) -> str:
    """The scorecard as a Markdown table with links to the chapters."""
    head = "|   | claim | verdict | effect (95 % interval) | supported above |\n|--|--|--|--|--|\n"
    rows = (
        f"| {i} | {row.claim} {{doc}}`more <{row.chapter}>` | **{row.verdict}** "
        f"| {_effect(row)} | {row['supported above']:g} |"
        for i, (_, row) in enumerate(card.iterrows(), 1)
    )
    return head + "\n".join(rows)


def _effect(row: pd.Series) -> str:
    """Effect and interval with the digits that a comparison with the threshold needs."""
    if math.isnan(row["effect"]):
        return "nothing to measure"
    threshold = abs(row["supported above"])
    digits = max(2, 1 - math.floor(math.log10(threshold))) if threshold else 2
    low, effect, high = (f"{row[name]:z.{digits}f}" for name in ("low", "effect", "high"))
    return f"{effect} ({low} to {high})"


def tests_as_markdown(card: pd.DataFrame) -> str:
    """What the effect of each line is, on which conditions, and what its control says."""
    lines = (
        f"{i}. {row.test}; {row.on}." + (f" *Control*: {row.control}." if row.control else "")
        for i, row in enumerate(card.itertuples(), 1)
    )
    return "\n".join(lines)

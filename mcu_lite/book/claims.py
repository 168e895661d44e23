"""A claim: its words, δ, and the function that reads its effect off the evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from mcu_lite.book.evidence import Evidence
from mcu_lite.book.verdicts import Finding

Effects = Callable[[Evidence], pd.DataFrame]


@dataclass(frozen=True)
class Claim:
    """A claim, how its effect is read off the evidence, and from which size on it counts.

    Parameters
    ----------
    name : str
    effects : function of Evidence
        Returns a table with one row a seed: raw, net, and numbers beside them that decide nothing.
    says, test, control, confounder, least, why, chapter
        Of `mcu_lite.book.verdicts.Finding`; `says` is its claim.
    """

    name: str
    effects: Effects
    says: str
    test: str
    control: str
    confounder: str
    least: float
    why: str
    chapter: str

    def finding(self, effects: pd.DataFrame) -> Finding:
        """Put the numbers to the words."""
        beside = effects.drop(columns=["raw", "net"]).mean()
        words = ("test", "control", "why", "confounder", "chapter")
        return Finding(
            self.says,
            effects.net,
            self.least,
            effects.raw,
            **{word: getattr(self, word) for word in words},
            beside=", ".join(f"{name} {value:z.2f}" for name, value in beside.items()),
        )


CLAIMS: dict[str, Claim] = {}


def claim(
    says: str, *, test: str, control: str, confounder: str, least: float, why: str, chapter: str
) -> Callable[[Effects], Effects]:
    """Register a function of the evidence as a claim."""

    def register(function: Effects) -> Effects:
        name = function.__name__
        own = Claim(name, function, says, test, control, confounder, least, why, chapter)
        CLAIMS[name] = own
        return function

    return register

"""The scorecard: findings as a table, and as a page that is a figure first."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from html import escape
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from mcu_lite.book.verdicts import (
    CONFOUNDED,
    NEGLIGIBLE,
    OPPOSITE,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    Finding,
    decide,
    units_needed,
)
from mcu_lite.figures.forest import strip
from mcu_lite.metrics.statistics import interval

MARK = {SUPPORTED: "●", CONFOUNDED: "◐", NEGLIGIBLE: "○", OPPOSITE: "×", UNDECIDED: "?"}
SCALE = 4.0
"""A row is drawn from -SCALE to SCALE times its δ; what lies beyond is an arrow."""


def scorecard(findings: Iterable[Finding]) -> pd.DataFrame:
    """One line a claim: verdict, net effect with its interval, raw effect, δ, and the words."""
    findings = list(findings)
    if not findings:
        raise ValueError("findings must hold at least one Finding, got none")
    lines = []
    for own, (verdict, level) in zip(findings, decide(findings)):
        low, high = interval(own.net, level)
        named = f"{verdict} by {own.confounder}" if verdict == CONFOUNDED else verdict
        numbers = {"effect": pd.Series(own.net).mean(), "low": low, "high": high}
        numbers |= {"raw": pd.Series(own.raw).mean(), "least": own.least, "level": level}
        counts = {"n": int((~np.isnan(own.net)).sum())}
        counts["needed"] = units_needed(own.net, own.least, level)
        words = {k: getattr(own, k) for k in ("test", "control", "why", "beside", "chapter")}
        lines.append({"claim": own.claim, "verdict": named} | numbers | counts | words)
    return pd.DataFrame(lines)


def tally(card: pd.DataFrame) -> str:
    """How many lines got each verdict, as HTML."""
    counts = card.verdict.str.split().str[0].value_counts()
    return '<p class="mcu-tally">{}</p>'.format(
        " ".join(
            f'<span class="mcu-{v}"><b>{counts[v]}</b> {MARK[v]} {v}</span>'
            for v in VERDICTS
            if v in counts
        )
    )


def as_html(card: pd.DataFrame, marks: Mapping[Hashable, float] = MappingProxyType({})) -> str:
    """The scorecard as a table with one drawn column; each row's test and control fold out.

    `marks` are effects that were computed anew, by the names of the lines.
    """
    rows = []
    for row in card.itertuples():
        kind = row.verdict.split()[0]
        rows.append(
            f'<tr class="mcu-{kind}">'
            f"<td>{_linked(row)}{_fold(row)}</td>"
            f"<td>{_drawn(row, marks.get(row.Index, math.nan))}</td><td>{_written(row)}</td>"
            f'<td class="mcu-verdict">{MARK[kind]}&#160;{escape(row.verdict)}</td></tr>'
        )
    head = "".join(f"<th>{name}</th>" for name in ("claim", "effect, in δ", "effect", "verdict"))
    body = "\n".join(rows)
    return (
        f'<table class="mcu-scorecard"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _linked(row: NamedTuple) -> str:
    claim = escape(row.claim)
    return f'<a href="{row.chapter}.html">{claim}</a>' if row.chapter else claim


def _fold(row: NamedTuple) -> str:
    parts = {"Test": row.test, "Control": row.control}
    parts["δ"] = f"{row.least:g}; {row.why}" if row.why else f"{row.least:g}"
    parts["Beside it"] = row.beside
    if row.verdict == UNDECIDED and row.n > 1:
        many = f"{row.needed:,.0f} seeds" if math.isfinite(row.needed) else "more than can be run"
        parts["It would take"] = many
    told = "".join(
        f"<dt>{name}</dt><dd>{_emphasised(said)}</dd>" for name, said in parts.items() if said
    )
    return f"<details><summary>Test and control</summary><dl>{told}</dl></details>"


def _emphasised(said: str) -> str:
    """Turn Markdown's *emphasis* into that of HTML."""
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", escape(said))


def _written(row: NamedTuple) -> str:
    """Effect and interval with the digits that a comparison with δ needs."""
    if math.isnan(row.effect):
        return "nothing to measure"
    digits = max(2, 1 - math.floor(math.log10(row.least)))
    low, effect, high = (f"{v:z.{digits}f}" for v in (row.low, row.effect, row.high))
    return f"<b>{effect}</b> <small>({low} to {high})</small>".replace("-", "−")


def _drawn(row: NamedTuple, again: float) -> str:
    """The net effect with its interval, and the raw effect, in units of δ."""
    said = f"effect {row.effect:.3g}, {row.low:.3g} to {row.high:.3g}; "
    said += f"raw {row.raw:.3g}; δ {row.least:g}"
    places = [v / row.least for v in (row.effect, row.low, row.high)]
    more = {"raw": row.raw / row.least, "again": again / row.least}
    return strip(*places, (-SCALE, SCALE), least=1.0, said=said, **more)

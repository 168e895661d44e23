"""Forest plots: many effects with their intervals, one row each, around a line at zero."""

from __future__ import annotations

import base64
import math
from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.ticker import MaxNLocator

from mcu_lite.checks import check_choice

WIDE, HIGH = 240, 28
EDGE = 8
"""What a strip leaves free at both sides, for arrows where an interval goes on."""
Found = pd.DataFrame | dict[str, pd.DataFrame]
NEEDED = ("a", "b", "difference", "low", "high", "n", "visible")


def forest(
    found: Found,
    caption: str,
    unit: str = "",
    least: float | None = None,
    better: str = "",
    over: str = "seeds",
) -> HTML:
    """Draw what `mcu_lite.compare` returns: a dot and an interval for each row, filled if visible.

    Beneath it the numbers fold out, and can be had as a file.

    Parameters
    ----------
    found : pandas.DataFrame or dict of them by name
        Of `mcu_lite.compare`; several are columns side by side, on one scale. A row is named by its
        column ``label``, or by the first word of its ``a``.
    caption : str
        First sentence of the caption: what is shown.
    unit : str
        Of the differences.
    least : float, optional
        Smallest effect worth speaking of, drawn at both sides of zero.
    better : {"higher", "lower", ""}
        Which side is wanted.
    over : str
        What the means are over, in the plural.

    Raises
    ------
    ValueError
        For no table, an empty one, one that lacks a column or has two rows of one name, a `least`
        that is no size, or an unknown direction.
    """
    check_choice("direction", better, ("higher", "lower", ""))
    if least is not None and not 0 <= least < math.inf:
        raise ValueError(f"least must be >= 0 and finite, got {least}")
    named = found if isinstance(found, dict) else {"": found}
    for name, own in named.items():
        if missing := set(NEEDED) - set(own):
            raise ValueError(f"table {name!r} must be of compare, it lacks {sorted(missing)}")
    named = {name: own.assign(label=labels(own)) for name, own in named.items()}
    for name, own in named.items():
        if (twice := own.label[own.label.duplicated()]).any():
            raise ValueError(f"table {name!r} must name each row once, got {twice.iloc[0]!r} twice")
    rows = dict.fromkeys(label for own in named.values() for label in own.label)
    if not rows:
        raise ValueError("found must hold at least one comparison, got none")
    limits = _limits(named, least)
    columns = [{row.label: row for row in own.itertuples()} for own in named.values()]
    body = ""
    for row in rows:
        cells = "".join(f"<td>{_cell(own.get(row), limits, least)}</td>" for own in columns)
        body += f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in named)
    scales = f"<td>{_scale(limits, unit, better, 4 if len(named) < 3 else 2)}</td>" * len(named)
    return HTML(
        '<figure class="mcu-plate"><table class="mcu-forest">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot><tr><td></td>{scales}</tr></tfoot></table>"
        f"<figcaption><b>{escape(caption)}</b> {_key(named, unit, least, over)}</figcaption>"
        f"{_numbers(named)}</figure>"
    )


def labels(found: pd.DataFrame) -> list[str]:
    """What the rows of comparisons are of."""
    return list(
        map(str, found["label"] if "label" in found else found.a.astype(str).str.split().str[0])
    )


def strip(
    value: float,
    low: float,
    high: float,
    limits: tuple[float, float],
    *,
    least: float | None = None,
    filled: bool = True,
    raw: float = math.nan,
    again: float = math.nan,
    said: str = "",
) -> str:
    """One row as SVG: zero, ±`least`, the interval, the value, and what else was measured.

    `raw` is a hollow mark, `again` a tick. What lies beyond the limits is an arrow at the edge.
    """
    left, right = limits

    def x(v: float) -> float:
        v = min(max(v, left), right)
        return round(EDGE + (WIDE - 2 * EDGE) * (v - left) / (right - left), 1)

    middle, parts = HIGH / 2, []
    if least is not None:
        parts += [_line(x(s * least), 0, x(s * least), HIGH, "least") for s in (-1, 1)]
    parts.append(_line(x(0), 0, x(0), HIGH, "zero"))
    if not math.isnan(raw):
        parts.append(f'<circle class="raw" cx="{x(raw)}" cy="{middle}" r="4"/>')
    if not math.isnan(again):
        parts.append(_line(x(again), middle + 5, x(again), HIGH, "again"))
    if not math.isnan(low):
        parts.append(_line(x(low), middle, x(high), middle, "interval"))
    parts += [
        _arrow(tip, s)
        for s, tip, beyond in (
            (-1, 1, min(value, low) < left),
            (1, WIDE - 1, max(value, high) > right),
        )
        if beyond
    ]
    if left <= value <= right:
        kind = "net" if filled else "net open"
        parts.append(f'<circle class="{kind}" cx="{x(value)}" cy="{middle}" r="5"/>')
    head = f'class="mcu-strip" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(said)}"'
    return f"<svg {head}>{''.join(parts)}</svg>"


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _arrow(tip: float, side: int) -> str:
    back, y = tip - side * 7, HIGH / 2
    return f'<path class="net" d="M{tip},{y} L{back},{y - 4} L{back},{y + 4} Z"/>'


def _limits(named: dict[str, pd.DataFrame], least: float | None) -> tuple[float, float]:
    """Ends of the scale: all intervals, but for a few that are much longer than the others."""
    ends = pd.concat([own[["difference", "low", "high"]] for own in named.values()]).to_numpy(float)
    ends = ends[np.isfinite(ends)]
    ends = np.concatenate([ends, [0.0, least or 0.0, -(least or 0.0)]])
    far = 1.5 * np.quantile(np.abs(ends), 0.9) or 1.0
    low, high = max(ends.min(), -far), min(ends.max(), far)
    margin = 0.04 * (high - low or 1.0)
    return float(low - margin), float(high + margin)


def _cell(row: object, limits: tuple[float, float], least: float | None) -> str:
    if row is None:
        return ""
    if math.isnan(row.difference):
        return "diverged"
    said = f"{row.label}: {row.difference:+.3g}"
    if not math.isnan(row.low):
        said += (
            f", {row.low:+.3g} to {row.high:+.3g}, {'visible' if row.visible else 'not visible'}"
        )
    return strip(
        row.difference, row.low, row.high, limits, least=least, filled=row.visible, said=said
    )


def _scale(limits: tuple[float, float], unit: str, better: str, most: int) -> str:
    """Numbers under a strip: zero and a few round ones, and where better is."""
    left, right = limits
    ticks = [v for v in MaxNLocator(most).tick_values(left, right) if left <= v <= right]
    at = [100 * (EDGE + (WIDE - 2 * EDGE) * (v - left) / (right - left)) / WIDE for v in ticks]
    marks = (f'<span style="left:{x:.1f}%">{v:.3g}</span>' for x, v in zip(at, ticks))
    spans = "".join(marks).replace(">-", ">−")
    arrow = {"higher": "better →", "lower": "← better", "": ""}[better]
    return f'<div class="mcu-scale">{spans}</div><div class="mcu-unit">{escape(unit)} {arrow}</div>'


def _key(named: dict[str, pd.DataFrame], unit: str, least: float | None, over: str) -> str:
    """What dots, bars and lines are, in words."""
    n = max(own.n.max() for own in named.values() if len(own))
    # Against nothing, or no relation: then it is no difference.
    alone = all(set(own.b) <= {"zero", "no relation"} for own in named.values())
    what = "mean" if alone else "mean difference"
    said = f"Dots: {what} over {n:.0f} {escape(over)}; bars: 95 % interval; filled where visible."
    return said + (
        ""
        if least is None
        else f" Dashed: the smallest effect that counts, {least:g} {escape(unit)}."
    )


def _numbers(named: dict[str, pd.DataFrame]) -> str:
    """The table behind the figure, folded, with a link to it as a file."""
    shown = ["label", "difference", "low", "high", "n", "visible"]
    whole = pd.concat(own[shown].assign(of=name) for name, own in named.items())
    whole = whole[["of", *shown]] if len(named) > 1 else whole[shown]
    packed = base64.b64encode(whole.to_csv(index=False, float_format="%.4g").encode()).decode()
    table = whole.to_html(index=False, border=0, na_rep="–", float_format="{:z.3f}".format)
    return (
        f'<details class="mcu-fold"><summary>Numbers</summary>{table}<a class="mcu-download" '
        f'download="numbers.csv" href="data:text/csv;base64,{packed}">as CSV</a></details>'
    )

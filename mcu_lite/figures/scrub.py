"""A slider over t that works in a static page, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import product

import ipywidgets as w
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mcu_lite.checks import SPLITS
from mcu_lite.figures.along_t import (
    Tables,
    apart,
    by_name,
    label_of,
    mean_sd,
    plot_along_t,
    reach,
    summary,
)
from mcu_lite.figures.look import SIZE, drawing, svg, themed

WIDE = {"width": "100%"}
FOLD = (
    '<details class="mcu-fold mcu-folds"><summary>Numbers</summary></details>'
    "<style>:has(> * > .mcu-folds:not([open])) + .mcu-folded { display: none !important }</style>"
)
"""Folds what comes next: inside, it would close whenever the slider moves."""


def scrub(
    tables: Tables,
    metrics: Sequence[str] = ("accuracy", "loss"),
    *,
    tolerance: float | None = 0.1,
    ends: tuple[str, str] | None = None,
) -> w.Widget:
    """Slider and play button over t, a marker on every curve, and the numbers at that t.

    All frames are stored in the page and linked in the browser, so that the slider
    moves with and without a kernel.

    Parameters
    ----------
    tables : pandas.DataFrame or dict of them by name
        Of `mcu_lite.evaluate` or of one path of `mcu_lite.run`, all on the same ts. Several are
        drawn side by side, on one scale.
    metrics : sequence of str
        One panel each.
    tolerance : float, optional
        ε in nats; see `mcu_lite.plot_along_t`.
    ends : (str, str), optional
        Names of the models at t = 0 and t = 1, by default those that the tables know.

    Raises
    ------
    ValueError
        For a table that is empty, of no path or of several curves, an unknown metric or split, or
        tables on different ts.

    Examples
    --------
    >>> type(scrub(table)).__name__
    'VBox'
    """
    named = by_name(tables, along_t=True)
    if not len(metrics):
        raise ValueError("metrics must name at least one metric, got none")
    ts = sorted(next(iter(named.values())).t.unique())
    if any(sorted(table.t.unique()) != ts for table in named.values()):
        raise ValueError("tables must all be measured at the same ts")
    drawn = curves(named, metrics, ts, tolerance=tolerance, ends=ends)
    return moved(ts, [*drawn, *folded_numbers(named, metrics, ts)])


def folded_numbers(named: dict, metrics: Sequence[str], ts: Sequence[float]) -> list[w.Widget]:
    """What folds out, and the numbers at each of `ts` that it then shows."""
    numbers = frames(numbers_at(named, metrics, {t: f"at t = {t:.3g}" for t in ts}))
    numbers.add_class("mcu-folded")
    return [w.HTML(FOLD), numbers]


def moved(
    ts: Sequence[float], parts: Sequence[w.Widget], start: int | None = None, interval: int = 120
) -> w.VBox:
    """Put a slider over t and its play button above parts; all `frames` in them follow it.

    They are linked in the browser. `start` is the middle by default, `interval` in milliseconds.
    """
    start = len(ts) // 2 if start is None else start
    slider = w.SelectionSlider(
        options=[f"{t:.3g}" for t in ts],
        index=start,
        description="t",
        style={"description_width": "initial"},
        layout={"flex": "1 1 250px", "width": "auto"},
    )
    play = w.Play(max=len(ts) - 1, value=start, interval=interval, description="move along t")
    w.jslink((play, "value"), (slider, "index"))
    for stack in _innermost(parts):
        stack.selected_index = start
        w.jslink((slider, "index"), (stack, "selected_index"))
    line = {"flex_flow": "row wrap", "grid_gap": "0 12px", "width": "100%"}
    return w.VBox([w.HBox([play, slider], layout=line), *parts], layout={"width": "100%"})


def _innermost(parts: Iterable[w.Widget]) -> Iterator[w.Stack]:
    """Stacks that hold no stack."""
    for part in parts:
        below = list(_innermost(getattr(part, "children", ())))
        yield from below or ([part] if isinstance(part, w.Stack) else [])


def frames(contents: Iterable[str], **layout: str) -> w.Stack:
    """Pieces of HTML of which one is shown; all are stored in the page."""
    shared = w.Layout(**{"width": "100%"} | layout)
    pieces = [w.HTML(text, layout=shared) for text in contents]
    return w.Stack(pieces, selected_index=0, layout=shared)


def curves(
    named: dict,
    metrics: Sequence[str],
    ts: Sequence[float],
    finish: Callable[[Axes], None] | None = None,
    tolerance: float | None = 0.1,
    ends: tuple[str, str] | None = None,
    limits: tuple[float, float] | None = None,
) -> list[w.Widget]:
    """Draw each metric of each table along t, `finish` its axes, and mark each of `ts`.

    Without `limits` of the y axes, those of a metric reach as far as all tables do.

    Returns a key for all, and the panels, in as many columns as the page has room for, but no more
    than there are tables to compare.
    """
    panels, heights = [], {m: limits or reach(named.values(), m) for m in metrics}
    # Beside each other stand the tables, unless they are many and the metrics two.
    by_table = len(named) == 1 or (len(named) > 2 and len(metrics) == 2)
    each = product(named, metrics) if by_table else (p[::-1] for p in product(metrics, named))
    for name, metric in each:
        how = {"name": name, "tolerance": tolerance, "limits": heights[metric], "ends": ends}
        ax = plot_along_t(named[name], metric, **how)
        if finish:
            finish(ax)
        panels.append(overlaid(ax, marks_along(ax, named[name], metric, ts)))
    most = min(len(metrics) if by_table else len(named), 3)
    least = f"max(min(100%, 290px), (100% - {most - 1}em) / {most})"
    layout = WIDE | {"grid_template_columns": f"repeat(auto-fill, minmax({least}, 1fr))"}
    grid = w.GridBox(panels, layout=layout | {"grid_gap": "0.6em 1em"})
    return [key(named, metrics, tolerance), grid]


def overlaid(ax: Axes, marks: Iterable[str]) -> w.GridBox:
    """Draw a figure once, and over it a frame for each of `marks`: SVG with places of `spot`."""
    here = {"grid_area": "1 / 1 / 2 / 2", "margin": "0"}
    over = frames([drawing(ax.figure, mark) for mark in marks], **here)
    base = w.HTML(svg(ax.figure, ax.get_label()), layout=over.layout)
    return w.GridBox([base, over], layout={"grid_template_columns": "100%"})


def spot(ax: Axes, x: float, y: float) -> tuple[float, float]:
    """Place of a point in the SVG coordinates of its figure, whose axes stay where they are now."""
    if isinstance(ax.figure.get_layout_engine(), ConstrainedLayoutEngine):
        ax.figure.draw_without_rendering()
        ax.figure.set_layout_engine("none")
    x, y = ax.figure.dpi_scale_trans.inverted().transform(ax.transData.transform((x, y)))
    return round(72 * float(x), 1), round(72 * float(ax.figure.get_figheight() - y), 1)


def key(named: dict, metrics: Sequence[str], tolerance: float | None) -> w.HTML:
    """What lines, bands and arrows are, once for all panels."""
    seeds = max(table.seed.nunique() for table in named.values())
    mean = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    bar = '<svg width="28" height="10" aria-hidden="true" fill="none" stroke="currentColor" '
    items = [f'{bar}stroke-width="2"><path d="M0 5H28"/></svg>{mean}']
    if seeds > 1:
        items.append(f'{bar}stroke-opacity=".2" stroke-width="9"><path d="M0 5H28"/></svg>± 1 sd')
    if tolerance is not None and "loss" in metrics:
        items.append(
            f'{bar}><path d="M0 3H28" stroke-dasharray="4 3"/><path d="M0 6.5H28" stroke-width="6" '
            'stroke-opacity=".25"/></svg>straight line between the ends, '
            f"ε = {tolerance:g} on its wrong side"
        )
    if tolerance is not None:
        items.append("↑ ↓ wanted")
    spans = "".join(f"<span>{item}</span>" for item in items)
    return w.HTML(f'<div class="mcu-key">{spans}</div>', layout=w.Layout(**WIDE))


def marks_along(ax: Axes, table: pd.DataFrame, metric: str, ts: Sequence[float]) -> list[str]:
    """Mark each t: a vertical line, and on the mean of every split a dot with its value."""
    mean, marks = summary(table, metric)["mean"].dropna(), []
    for t in ts:
        (x, top), (_, bottom) = (spot(ax, t, y) for y in reversed(ax.get_ylim()))
        mark = f'<path d="M{x} {top}V{bottom}" stroke="currentColor" opacity=".4"/>'
        splits = [s for s in SPLITS if (s, t) in mean.index]
        heights = [spot(ax, t, mean[split, t])[1] for split in splits]
        side, anchor = (7, "start") if t < 0.75 else (-7, "end")
        words = apart(heights, SIZE)
        for split, y, word in zip(splits, heights, words):
            value, ink = f"{mean[split, t]:.2f}", themed(split, "-text")
            mark += f'<circle cx="{x}" cy="{y}" r="3.5" fill="{themed(split)}"/>'
            mark += (
                f'<text x="{x + side:.1f}" y="{word - 4:.1f}" class="mcu-value" '
                f'text-anchor="{anchor}" fill="{ink}">{value}</text>'
            )
        marks.append(mark)
    return marks


def numbers_at(named: dict, metrics: Sequence[str], titles: dict[float, str]) -> list[str]:
    """Write means and standard deviations as an HTML table for each t, which has a title."""
    rows = {
        (name, label_of(metric)): table[table.metric == metric]
        .groupby(["split", "t"])
        .value.agg(mean_sd, digits=3)
        for name, table in named.items()
        for metric in metrics
    }
    drawn = [s for s in SPLITS if any(s in own.index for own in rows.values())]
    head = "".join(f'<th scope="col">{split}</th>' for split in drawn)
    written = []
    for t, title in titles.items():
        lines, last = "", ""
        for (name, label), own in rows.items():
            if name != last:
                lines += f'<tr><th scope="rowgroup" colspan="9">{escape(name)}</th></tr>'
            last = name
            cells = "".join(f"<td>{own.get((split, t), '')}</td>" for split in drawn)
            lines += f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'
        # The padding is for notebooks, which lack the book's style sheet.
        written.append(
            '<table class="mcu-numbers" cellpadding="6">'
            f'<tr><th scope="col">{title}</th>{head}</tr>{lines}</table>'
        )
    return written

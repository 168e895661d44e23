"""A slider over t that works in a static page, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as w
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mcu_lite.checks import SPLITS
from mcu_lite.figures.along_t import (
    STYLES,
    WHOLE,
    Tables,
    by_name,
    label_of,
    plot_along_t,
    plus_minus,
    summary,
    svg,
    themed,
)


def scrub(tables: Tables, metrics: Sequence[str] = ("accuracy", "loss")) -> w.Widget:
    """Slider and play button over t, a marker on every curve, and the numbers at that t.

    All frames are stored in the page and linked in the browser, so that the slider
    moves with and without a kernel.

    Parameters
    ----------
    tables : pandas.DataFrame or dict of them by name
        Of `mcu_lite.evaluate`, all on the same ts; at most four.
    metrics : sequence of str
        One panel each.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    ValueError
        For an empty table, an unknown metric, tables on different ts, or more than four.

    Examples
    --------
    >>> type(scrub(table)).__name__
    'VBox'
    """
    named = by_name(tables, most=len(STYLES))
    ts = sorted(next(iter(named.values())).t.unique())
    if any(sorted(table.t.unique()) != ts for table in named.values()):
        raise ValueError("tables must all be measured at the same ts")
    slider, row = controls(ts)
    whole = w.Layout(width="100%")
    stats = summaries(named, metrics)
    numbers = [w.HTML(numbers_at(stats, t, f"at t = {t:.3g}"), layout=whole) for t in ts]
    stacks = [w.Stack(numbers, layout=whole)]
    panels = []
    for metric in metrics:
        panel, marks = panel_along(named, metric, ts)
        panels.append(panel)
        stacks.append(marks)
    follow_slider(slider, stacks)
    children = [row, legend(named, metrics), side_by_side(panels), stacks[0]]
    return w.VBox(children, layout=whole)


def controls(
    ts: Sequence[float], start: int | None = None, interval: int = 120
) -> tuple[w.SelectionSlider, w.HBox]:
    """Return a slider over t, and a row of it and its play button.

    It starts in the middle unless told otherwise; ``interval`` is in milliseconds a step.
    """
    start = len(ts) // 2 if start is None else start
    slider = w.SelectionSlider(
        options=[f"{t:.3g}" for t in ts],
        index=start,
        description="t",
        style={"description_width": "initial"},
        layout=w.Layout(flex="1 1 250px", width="auto"),
    )
    play = w.Play(min=0, max=len(ts) - 1, value=start, interval=interval)
    play.description = "move along t"
    w.jslink((play, "value"), (slider, "index"))
    line = w.Layout(flex_flow="row wrap", grid_gap="0 12px", width="100%")
    return slider, w.HBox([play, slider], layout=line)


def follow_slider(slider: w.SelectionSlider, stacks: Sequence[w.Stack]) -> None:
    """Let every stack show the frame of the slider's t; linked in the browser."""
    for stack in stacks:
        stack.selected_index = slider.index
        w.jslink((slider, "index"), (stack, "selected_index"))


def side_by_side(panels: Sequence[w.Widget]) -> w.GridBox:
    """Lay panels out in as many columns as the page has room for."""
    columns = "repeat(auto-fill, minmax(min(100%, 290px), 1fr))"
    layout = w.Layout(grid_template_columns=columns, width="100%")
    return w.GridBox(list(panels), layout=layout)


def overlaid(ax: Axes, marks: Sequence[str], **layout: str) -> tuple[w.GridBox, w.Stack]:
    """Draw a figure once, and over it one light frame for each t.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its label is the figure's text alternative.
    marks : sequence of str
        Inline SVG in the figure's coordinates, see `spot`.
    **layout : str
        Of the panel, such as ``grid_column``.

    Returns
    -------
    panel : ipywidgets.GridBox
    frames : ipywidgets.Stack
    """
    shared = w.Layout(grid_area="1 / 1 / 2 / 2", margin="0", width="100%")
    frames = [w.HTML(frame(ax, mark), layout=shared) for mark in marks]
    base = w.HTML(svg(ax.figure, ax.get_label()), layout=shared)
    stack = w.Stack(frames, layout=w.Layout(grid_area="1 / 1 / 2 / 2"))
    whole = w.Layout(grid_template_columns="100%", **layout)
    return w.GridBox([base, stack], layout=whole), stack


def frame(ax: Axes, mark: str) -> str:
    """Inline SVG of the size of a figure, transparent but for its mark."""
    width, height = ax.figure.get_size_inches() * 72
    head = f'<svg viewBox="0 0 {width:g} {height:g}" style="{WHOLE}" aria-hidden="true">'
    return f"{head}{mark}</svg>"


def settle(ax: Axes) -> None:
    """Place the axes and keep them there, so that `spot` finds what `overlaid` will draw."""
    if isinstance(ax.figure.get_layout_engine(), ConstrainedLayoutEngine):
        ax.figure.draw_without_rendering()
        ax.figure.set_layout_engine("none")


def spot(ax: Axes, x: float, y: float) -> tuple[float, float]:
    """Place of a point of a settled figure in its SVG coordinates."""
    px, py = ax.transData.transform((x, y)) * 72 / ax.figure.dpi
    height = ax.figure.get_size_inches()[1] * 72
    return round(float(px), 1), round(float(height - py), 1)


def legend(named: dict, metrics: Sequence[str]) -> w.HTML:
    """Colours of the splits and line styles of the models, once for all panels."""
    named = by_name(named, most=len(STYLES))
    drawn = {split for table in named.values() for split in table[table.metric.isin(metrics)].split}
    keys = [(split, themed(split), "none") for split in SPLITS if split in drawn]
    if len(named) > 1:
        keys += zip(named, ["currentColor"] * len(STYLES), STYLES.values())
    items = [
        '<span style="white-space:nowrap;margin-right:1.5em"><svg width="30" height="10" '
        f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}" aria-hidden="true">'
        f'<path d="M0 5H30"/></svg> {escape(name)}</span>'
        for name, colour, dash in keys
    ]
    return w.HTML(" ".join(items), layout=w.Layout(width="100%"))


def panel_along(
    named: dict, metric: str, ts: Sequence[float], finish: Callable[[Axes], None] | None = None
) -> tuple[w.GridBox, w.Stack]:
    """Draw a metric along t without a legend, `finish` it, and mark each t; see `overlaid`."""
    ax = plot_along_t(named, metric)
    ax.get_legend().remove()
    if finish:
        finish(ax)
    return overlaid(ax, marks_along(ax, named, metric, ts))


def marks_along(ax: Axes, named: dict, metric: str, ts: Sequence[float]) -> list[str]:
    """Mark each t: a vertical line, and a dot on the mean curve of every table and split."""
    settle(ax)
    stats = [summary(table, metric)["mean"] for table in named.values()]
    return [_marker(ax, stats, t) for t in ts]


def _marker(ax: Axes, stats: list[pd.Series], t: float) -> str:
    """A vertical line at t and a dot on every curve, in SVG coordinates."""
    (x, top), (_, bottom) = (spot(ax, t, y) for y in reversed(ax.get_ylim()))
    marks = f'<path d="M{x} {top}V{bottom}" stroke="currentColor" opacity=".4"/>'
    for line in stats:
        for split in line.index.unique("split"):
            cx, cy = spot(ax, t, line[split, t])
            marks += f'<circle cx="{cx}" cy="{cy}" r="3.5" fill="{themed(split)}"/>'
    return marks


def summaries(named: dict, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Means and standard deviations of every table and metric, by its title."""
    return {
        f"{name} {label_of(metric)}".strip(): summary(table, metric)
        for name, table in named.items()
        for metric in metrics
    }


def numbers_at(stats: dict[str, pd.DataFrame], t: float, title: str) -> str:
    """Write the numbers of `summaries` at one t as an HTML table."""
    drawn = [s for s in SPLITS if any((s, t) in stat.index for stat in stats.values())]
    lines = ""
    for name, stat in stats.items():
        cells = (plus_minus(*stat.loc[(s, t)], 3) if (s, t) in stat.index else "" for s in drawn)
        lines += f'<tr><th scope="row">{escape(name)}</th><td>{"</td><td>".join(cells)}</td></tr>'
    head = "".join(f'<th scope="col">{split}</th>' for split in drawn)
    # The padding is for notebooks, which lack the book's style sheet.
    return (
        '<table class="mcu-numbers" cellpadding="6">'
        f'<tr><th scope="col">{title}</th>{head}</tr>{lines}</table>'
    )

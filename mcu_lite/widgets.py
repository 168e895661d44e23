"""A slider over t that works in a static page, without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as w
import pandas as pd
from matplotlib.axes import Axes

from mcu_lite.plots import (
    COLOURS,
    WHOLE,
    Tables,
    by_name,
    label_of,
    plot_along_t,
    summary,
    svg,
    themed,
)
from mcu_lite.tasks import SPLITS

DASHES = ("none", "7 3", "2 3", "9 3 2 3")
"""The line styles of `plot_along_t` as SVG knows them."""


def scrub(tables: Tables, metrics: Sequence[str] = ("accuracy", "loss")) -> w.Widget:
    """Slider and play button over t, a marker on every curve, and the numbers at that t.

    All frames are stored in the page and linked in the browser, so that the slider
    moves with and without a kernel.

    Parameters
    ----------
    tables : pandas.DataFrame or dict of them by name
        Of `mcu_lite.evaluate`, all on the same ts.
    metrics : sequence of str
        One panel each.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    ValueError
        For an empty table, an unknown metric, or tables on different ts.

    Examples
    --------
    >>> type(scrub(table)).__name__
    'VBox'
    """
    named = by_name(tables)
    ts = sorted(next(iter(named.values())).t.unique())
    if any(sorted(table.t.unique()) != ts for table in named.values()):
        raise ValueError("tables must all be measured at the same ts")
    start, whole = len(ts) // 2, w.Layout(width="100%")
    slider = w.SelectionSlider(
        options=[f"{t:.3g}" for t in ts],
        index=start,
        description="t",
        style={"description_width": "initial"},
        layout=w.Layout(flex="1 1 250px", width="auto"),
    )
    play = w.Play(min=0, max=len(ts) - 1, value=start, interval=120, description="move along t")
    w.jslink((play, "value"), (slider, "index"))
    stacks = [_numbers(named, metrics, ts)]
    panels = []
    for metric in metrics:
        base, frames = _panel(named, metric, ts)
        overlay = w.Stack(frames, layout=w.Layout(grid_area="1 / 1 / 2 / 2"))
        stacks.append(overlay)
        panels.append(w.GridBox([base, overlay], layout=w.Layout(grid_template_columns="100%")))
    for stack in stacks:
        stack.selected_index = start
        w.jslink((slider, "index"), (stack, "selected_index"))
    line = w.Layout(flex_flow="row wrap", grid_gap="0 12px", width="100%")
    columns = "repeat(auto-fill, minmax(min(100%, 290px), 1fr))"
    grid = w.GridBox(panels, layout=w.Layout(grid_template_columns=columns, width="100%"))
    return w.VBox(
        [w.HBox([play, slider], layout=line), _legend(named, metrics), grid, stacks[0]],
        layout=whole,
    )


def _legend(named: dict, metrics: Sequence[str]) -> w.HTML:
    """Colours of the splits and line styles of the models, once for all panels."""
    drawn = {split for table in named.values() for split in table[table.metric.isin(metrics)].split}
    keys = [(split, themed(COLOURS[split]), "none") for split in SPLITS if split in drawn]
    if len(named) > 1:
        keys += zip(named, ["currentColor"] * len(DASHES), DASHES, strict=False)
    items = [
        '<span style="white-space:nowrap;margin-right:1.5em"><svg width="30" height="10" '
        f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}" aria-hidden="true">'
        f'<path d="M0 5H30"/></svg> {escape(name)}</span>'
        for name, colour, dash in keys
    ]
    return w.HTML(" ".join(items), layout=w.Layout(width="100%"))


def _panel(named: dict, metric: str, ts: list[float]) -> tuple[w.HTML, list[w.HTML]]:
    """The figure, drawn once, and one light overlay for each t in the same coordinates."""
    ax = plot_along_t(named, metric)
    ax.get_legend().remove()
    base = svg(ax.figure, ax.get_label())
    width, height = ax.figure.get_size_inches() * 72
    shared = w.Layout(grid_area="1 / 1 / 2 / 2", margin="0", width="100%")
    stats = [summary(table, metric)["mean"] for table in named.values()]
    head = f'<svg viewBox="0 0 {width:g} {height:g}" style="{WHOLE}" aria-hidden="true">'
    frames = [w.HTML(f"{head}{_marker(ax, stats, t, height)}</svg>", layout=shared) for t in ts]
    return w.HTML(base, layout=shared), frames


def _marker(ax: Axes, stats: list[pd.Series], t: float, height: float) -> str:
    """A vertical line at t and a dot on every curve, in SVG coordinates."""
    scale = 72 / ax.figure.dpi

    def place(y: float) -> tuple[float, float]:
        px, py = ax.transData.transform((t, y)) * scale
        return round(px, 1), round(height - py, 1)

    (x, top), (_, bottom) = (place(y) for y in reversed(ax.get_ylim()))
    marks = f'<path d="M{x} {top}V{bottom}" stroke="currentColor" opacity=".4"/>'
    for line in stats:
        for split in line.index.unique("split"):
            cx, cy = place(line[split, t])
            marks += f'<circle cx="{cx}" cy="{cy}" r="3.5" fill="{themed(COLOURS[split])}"/>'
    return marks


def _numbers(named: dict, metrics: Sequence[str], ts: list[float]) -> w.Stack:
    """The numbers at each t as a table, mean and standard deviation over seeds."""
    stats = {(n, m): summary(table, m) for n, table in named.items() for m in metrics}
    drawn = [s for s in SPLITS if any(s in stat.index for stat in stats.values())]
    head = "".join(f'<th scope="col">{split}</th>' for split in drawn)
    shared = w.Layout(width="100%")
    frames = []
    for t in ts:
        lines = ""
        for (name, metric), stat in stats.items():
            title = escape(f"{name} {label_of(metric)}".strip())
            cells = (f"<td>{_cell(stat, split, t)}</td>" for split in drawn)
            lines += f'<tr><th scope="row">{title}</th>{"".join(cells)}</tr>'
        rows = f'<tr><th scope="col">at t = {t:.3g}</th>{head}</tr>{lines}'
        frames.append(w.HTML(f'<table class="mcu-numbers">{rows}</table>', layout=shared))
    return w.Stack(frames, layout=shared)


def _cell(stat: pd.DataFrame, split: str, t: float) -> str:
    if split not in stat.index:
        return ""
    return "{:.3f} ± {:.3f}".format(*stat.loc[(split, t), ["mean", "std"]])

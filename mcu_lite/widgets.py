"""A slider over t that works in a static page, without a kernel."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape

import ipywidgets as w
import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcu_lite.plots import COLOURS, Tables, by_name, describe, label_of, plot_along_t, summary
from mcu_lite.tasks import SPLITS

INK = "#010203"
"""Drawn by matplotlib in place of black, then replaced by the page's own text colour."""
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
    keys = [(split, COLOURS[split], "none") for split in SPLITS if split in drawn]
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
    style = {"svg.fonttype": "none", "svg.hashsalt": metric, "font.family": "sans-serif"}
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK)
    style |= dict.fromkeys(("xtick.color", "ytick.color"), INK)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.7, 2.75), layout="constrained", facecolor="none")
        ax = plot_along_t(named, metric, figure.subplots())
        ax.set_facecolor("none")
        ax.get_legend().remove()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width, height = figure.get_size_inches() * 72
    shared = w.Layout(grid_area="1 / 1 / 2 / 2", margin="0", width="100%")
    head = f'<svg viewBox="0 0 {width:g} {height:g}" style="width:100%;display:block" '
    body = re.search(r"<svg[^>]*>(.*)</svg>", buffer.getvalue(), re.S).group(1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S).replace(INK, "currentColor")
    named_svg = f'{head}role="img" aria-label="{escape(describe(named, metric))}">{body}</svg>'
    stats = [summary(table, metric)["mean"] for table in named.values()]
    frames = [
        w.HTML(f'{head}aria-hidden="true">{_marker(ax, stats, t, height)}</svg>', layout=shared)
        for t in ts
    ]
    return w.HTML(named_svg, layout=shared), frames


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
            marks += f'<circle cx="{cx}" cy="{cy}" r="3.5" fill="{COLOURS[split]}"/>'
    return marks


def _numbers(named: dict, metrics: Sequence[str], ts: list[float]) -> w.Stack:
    """The numbers at each t as text, mean and standard deviation over seeds."""
    stats = {(n, m): summary(table, m) for n, table in named.items() for m in metrics}
    shared = w.Layout(width="100%")
    frames = []
    for t in ts:
        lines = []
        for (name, metric), stat in stats.items():
            cells = ", ".join(
                "{} {:.3f}\u00a0±\u00a0{:.3f}".format(split, *stat.loc[(split, t), ["mean", "std"]])
                for split in stat.index.unique("split")
            )
            lines.append(f"<li>{escape(' '.join([name, label_of(metric)]).strip())}: {cells}</li>")
        frames.append(w.HTML(f"<p>At t = {t:.3g}:</p><ul>{''.join(lines)}</ul>", layout=shared))
    return w.Stack(frames, layout=shared)

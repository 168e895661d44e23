"""A slider over t that works in a static page, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

import ipywidgets as w
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mcu_lite.checks import SPLITS
from mcu_lite.figures.along_t import (
    STYLES,
    Tables,
    by_name,
    drawing,
    label_of,
    mean_sd,
    plot_along_t,
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
        For a table that is empty, of no path or of several curves, an unknown metric or split,
        tables on different ts, or more than four.

    Examples
    --------
    >>> type(scrub(table)).__name__
    'VBox'
    """
    named = by_name(tables, along_t=True)
    ts = sorted(next(iter(named.values())).t.unique())
    if any(sorted(table.t.unique()) != ts for table in named.values()):
        raise ValueError("tables must all be measured at the same ts")
    numbers = frames(numbers_at(named, metrics, {t: f"at t = {t:.3g}" for t in ts}))
    return moved(ts, [*curves(named, metrics, ts), numbers])


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
    before: Iterable[w.Widget] = (),
) -> list[w.Widget]:
    """Draw each metric along t, `finish` its axes, and mark each of `ts`; see `overlaid`.

    Returns a legend for all, and the panels, after those that come `before`, in as many columns as
    the page has room for.
    """
    panels = list(before)
    for metric in metrics:
        ax = plot_along_t(named, metric)
        ax.get_legend().remove()
        if finish:
            finish(ax)
        panels.append(overlaid(ax, marks_along(ax, named, metric, ts)))
    columns = "repeat(auto-fill, minmax(min(100%, 290px), 1fr))"
    layout = {"grid_template_columns": columns, "width": "100%"}
    return [legend(named, metrics), w.GridBox(panels, layout=layout)]


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


def legend(named: dict, metrics: Sequence[str]) -> w.HTML:
    """Colours of the splits and line styles of the models, once for all panels."""
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


def marks_along(ax: Axes, named: dict, metric: str, ts: Sequence[float]) -> list[str]:
    """Mark each t: a vertical line, and a dot on the mean curve of every table and split."""
    means = [summary(table, metric)["mean"].dropna() for table in named.values()]
    marks = []
    for t in ts:
        (x, top), (_, bottom) = (spot(ax, t, y) for y in reversed(ax.get_ylim()))
        mark = f'<path d="M{x} {top}V{bottom}" stroke="currentColor" opacity=".4"/>'
        for mean in means:
            for split in (s for s in SPLITS if (s, t) in mean.index):
                _, y = spot(ax, t, mean[split, t])
                mark += f'<circle cx="{x}" cy="{y}" r="3.5" fill="{themed(split)}"/>'
        marks.append(mark)
    return marks


def numbers_at(named: dict, metrics: Sequence[str], titles: dict[float, str]) -> list[str]:
    """Write means and standard deviations as an HTML table for each t, which has a title."""
    rows = {}
    for name, table in named.items():
        for metric in metrics:
            own = table[table.metric == metric].groupby(["split", "t"]).value
            rows[f"{name} {label_of(metric)}".strip()] = own.agg(mean_sd, digits=3)
    drawn = [s for s in SPLITS if any(s in own.index for own in rows.values())]
    head = "".join(f'<th scope="col">{split}</th>' for split in drawn)
    written = []
    for t, title in titles.items():
        lines = ""
        for name, own in rows.items():
            cells = "".join(f"<td>{own.get((split, t), '')}</td>" for split in drawn)
            lines += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
        # The padding is for notebooks, which lack the book's style sheet.
        written.append(
            '<table class="mcu-numbers" cellpadding="6">'
            f'<tr><th scope="col">{title}</th>{head}</tr>{lines}</table>'
        )
    return written

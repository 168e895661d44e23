"""A map, the metrics and forgotten images along two paths, moved by one slider; no kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import ipywidgets as w
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes

from mcu_lite.figures.along_t import PAGE
from mcu_lite.figures.images import some_of_each, strip
from mcu_lite.figures.scrub import curves, frames, moved, overlaid, spot
from mcu_lite.metrics.evaluation import evaluate
from mcu_lite.metrics.examples import check_row, follow
from mcu_lite.paths.curves import Path
from mcu_lite.paths.planes import Plane
from mcu_lite.tasks.task import Task

SHAPES = (
    '<rect x="{0:.1f}" y="{1:.1f}" width="9" height="9" transform="translate(-4.5 -4.5)" {2}/>',
    '<circle cx="{0:.1f}" cy="{1:.1f}" r="5.5" {2}/>',
    '<circle cx="{0:.1f}" cy="{1:.1f}" r="3" {2}/>',
)
"""What stands for the first, second and third path on the map."""
SIGNS = "■●•"
FILL = 'fill="#E69F00" stroke="currentColor" stroke-width="1.5"'


def explore(
    ground: Axes,
    plane: Plane,
    paths: dict[str, Path],
    task: Task,
    *,
    ts: int = 21,
    metrics: Sequence[str] = ("loss", "accuracy"),
    row: int = 0,
    images: int = 12,
) -> w.VBox:
    """Move along several paths at once: on a map, on metric curves and on forgotten images.

    All frames are stored in the page and linked in the browser, so that the slider moves with
    and without a kernel.

    Parameters
    ----------
    ground : matplotlib.axes.Axes
        Of `mcu_lite.figures.maps.plot_map`.
    plane : Plane
        On which it was drawn.
    paths : dict of Path by name
        At most three. The arc length above the metric curves is that of the last one, a mean
        over the seeds on which it did not diverge.
    task : Task
    ts : int
        Evenly spaced points.
    metrics : sequence of str
        One panel each: mean over seeds and a band of one standard deviation.
    row : int
        Place in the stacks of the seed whose map and images are shown.
    images : int
        How many, half of them wrongly labelled; 0 for a task without images.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    ValueError
        For no path or more than three, or a `row` that is out of range.

    Examples
    --------
    >>> from mcu_lite.paths import planes
    >>> from mcu_lite.metrics import surveys
    >>> plane = planes.plane(a, b, theta)
    >>> seen = surveys.survey(plane, planes.grid(plane, 3), task, a)
    >>> corners = ["npo", "npo, seed 1", "original"]
    >>> ground = mcu.plot_map(seen, plane, {"curve": path}, corners)
    >>> type(explore(ground, plane, {"curve": path}, task, ts=3, images=2)).__name__
    'VBox'
    """
    if not 1 <= len(paths) <= len(SHAPES):
        raise ValueError(f"paths must be 1 to {len(SHAPES)}, got {list(paths)}")
    check_row(row, task)
    at = np.linspace(0, 1, ts)
    tables = {name: evaluate(path, task, at, metrics=metrics) for name, path in paths.items()}
    # A diverged model predicts nothing.
    shown = {name: path for name, path in paths.items() if images and not path.diverged[row]}
    followed = {name: follow(path, task, at) for name, path in shown.items()}
    arcs = {
        name: path.arc_length(at).masked_fill(path.diverged, torch.nan).double().cpu().numpy()
        for name, path in paths.items()
    }
    last, arc = list(arcs.items())[-1]
    lasting = arc[:, ~np.isnan(arc[-1])]
    finish = partial(add_arc_axis, ts=at, arc=lasting, name=last)
    places = some_of_each(task, row, images)
    panels = [
        overlaid(ground, _on_map(ground, plane, paths, at, row)),
        frames(strip(task, followed, places, k, row) for k in range(ts)),
    ]
    where = frames(_where(t, arcs, k, row) for k, t in enumerate(at))
    return moved(at, [where, *curves(tables, metrics, at, finish, panels)])


def _on_map(ax: Axes, plane: Plane, paths: dict[str, Path], ts: np.ndarray, row: int) -> list[str]:
    """Mark each path's model at every t, unless it diverged."""
    tracks = [
        (shape, plane.coordinates(path.rows(ts))[:, row].tolist())
        for shape, path in zip(SHAPES, paths.values())
        if not path.diverged[row]
    ]
    return [
        "".join(shape.format(*spot(ax, *track[k]), FILL) for shape, track in tracks)
        for k in range(len(ts))
    ]


@matplotlib.rc_context(PAGE)
def add_arc_axis(ax: Axes, ts: np.ndarray, arc: np.ndarray, name: str) -> None:
    """Show above a figure along t how much of a path's length lies behind each t.

    `arc` is the length of its curves from 0 to each of `ts`, shape (T, B); without any there is
    nothing to show. `name` is that of the path.
    """
    if not arc.size:
        return
    share = arc.mean(1) / arc[-1].mean()
    shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    above = ax.secondary_xaxis("top")
    above.set_ticks(np.interp(shares, share, ts), [f"{s:.0%}" for s in shares])
    above.tick_params(labelsize=8)
    above.set_xlabel(f"arc length of the {name}", fontsize=8)
    half = np.interp(0.5, share, ts)
    words = f"half of the {name}'s length lies before t = {half:.2f}"
    ax.set_label(f"{ax.get_label()}; {words}")


def _where(t: float, arcs: dict[str, np.ndarray], k: int, row: int) -> str:
    """Position on every path as t and as arc length."""
    parts = []
    for sign, (name, arc) in zip(SIGNS, arcs.items()):
        now, whole = arc[k, row], arc[-1, row]
        part = "diverged" if np.isnan(whole) else f"{now:.2f} of {whole:.2f} ({now / whole:.0%})"
        parts.append(f"{sign} {escape(name)} {part}")
    return f'<p style="margin:0">t = {t:.3g}. Arc length so far: {"; ".join(parts)}.</p>'

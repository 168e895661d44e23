"""A map of the plane through three models: two layers of contours, and paths on them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mcu_lite.figures.look import COLOURS, INK, PAGE, blank
from mcu_lite.metrics.plane_evaluation import plane_values
from mcu_lite.paths.curves import Path
from mcu_lite.paths.planes import Plane
from mcu_lite.tasks.task import check_range

LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Of the retain loss in nats: it spans orders of magnitude."""
SHADES = [(COLOURS["retain"], opacity) for opacity in np.linspace(0.0, 0.5, len(LEVELS) + 1)]
"""Of the retain loss: the page shows through, dark or light, and text stays readable."""
STEPS = np.linspace(0.1, 0.9, 9)
"""Of the forget accuracy."""
STYLES = ("-", "--", ":")


@matplotlib.rc_context(PAGE)
def plot_map(
    table: pd.DataFrame,
    plane: Plane,
    paths: dict[str, Path],
    corners: Sequence[str],
    *,
    row: int = 0,
    equal: bool = True,
) -> Axes:
    """Draw retain loss (shades) and forget accuracy (lines) of one seed, and paths on them.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.metrics.plane_evaluation.evaluate_plane` on a grid, with loss and accuracy.
    plane : Plane
    paths : dict of Path by name
        At most three. A path that leaves the plane is drawn at its nearest points, and the
        figure's description says how far off it is.
    corners : sequence of str
        What the three models are.
    row : int
        Place of the seed in the stacks.
    equal : bool
        Whether a unit is equally long on both axes; if not, the figure is filled.

    Returns
    -------
    Axes
        Its label describes it in words.

    Examples
    --------
    >>> ax = plot_map(seen, plane, {"curve": path}, ["npo", "npo, seed 1", "original"])
    >>> ax.get_label() != ""
    True
    """
    if len(paths) > 3 or len(corners) != 3:
        raise ValueError(f"a map takes at most 3 paths, 3 names, got {list(paths)}, {corners}")
    if table.empty:
        raise ValueError("table is empty")
    check_range("row", row, 0, table.seed.nunique() - 1)
    seed = table.seed.unique()[row]
    retain = plane_values(table, "loss", "retain", seed)
    forget = plane_values(table, "accuracy", "forget", seed)
    side, chord = len(retain), float(plane.chord[row])
    own = table[table.seed == seed].drop_duplicates("point").sort_values("point")
    x, y = (own[axis].to_numpy().reshape(side, side) * chord for axis in "xy")
    ax = blank(4.6, 5.0)
    filled = ax.contourf(x, y, retain, LEVELS, colors=SHADES, extend="both")
    bar = ax.figure.colorbar(filled, ax=ax, location="bottom", aspect=40)
    bar.set_label(f"retain loss (nats), seed {seed}")
    lines = ax.contour(x, y, forget, STEPS, colors=COLOURS["forget"], linewidths=1.1)
    drawn = [v for v in STEPS if forget.min() < v < forget.max()]
    # Crowded lines have room for every other label only.
    named = drawn if len(drawn) < 4 else drawn[1::2]
    for text in ax.clabel(lines, levels=named, fmt=lambda v: f"{v:.0%}", fontsize=11):
        text.set_color(INK)
    handles = [Line2D([], [], color=COLOURS["forget"], lw=1.1, label="forget accuracy")]
    words = [
        f"Map of the plane through {', '.join(corners)} of seed {seed}: retain loss between "
        f"{retain.min():.2g} and {retain.max():.2g} nats, forget accuracy between "
        f"{forget.min():.0%} and {forget.max():.0%}"
    ]
    for (name, path), style in zip(paths.items(), STYLES):
        rows = path.rows(np.linspace(0, 1, 61))
        at, off = plane.coordinates(rows)[:, row], float(plane.distance(rows)[:, row].max())
        handles += ax.plot(*at.T, style, color=INK, lw=1.6, label=name)
        start, end = (f"({x:.2f}, {y:.2f})" for x, y in at[[0, -1]].tolist())
        # Rounding in single precision is no distance.
        far = f", up to {off:.2f} off the plane" if off > 1e-3 * chord else ""
        words.append(f"{name} from {start} at t=0 to {end} at t=1{far}")
    for name, place, aside in zip(corners, plane.corners[:, row].tolist(), (-12, -12, 5)):
        ax.plot(*place, "s", ms=5, color=INK)
        ax.annotate(name, place, (-4, aside), textcoords="offset points")
    ax.set_aspect("equal" if equal else "auto")
    ax.set_xlabel(f"distance from {corners[0]} towards {corners[1]}")
    ax.set_ylabel(f"at right angles, towards {corners[2]}")
    ax.spines[:].set_visible(False)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
    ax.legend(handles=handles, ncols=len(handles), **above)
    ax.set_label("; ".join(words))
    return ax

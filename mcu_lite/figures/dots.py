"""Many small groups of seeds in one figure, such as every method under every condition."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcu_lite.checks import known
from mcu_lite.figures.along_t import PAGE

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "^", "D", "v", "P")


@matplotlib.rc_context(PAGE)
def plot_dots(
    table: pd.DataFrame,
    x: str,
    hue: str,
    values: str = "value",
    order: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a dot for each line of a table and a bar at each group's mean.

    Parameters
    ----------
    table : pandas.DataFrame
        One line for each group and seed; NaN is left out.
    x, hue, values : str
        Columns: places along the axis; colours and marks within a place; what is drawn.
    order : sequence of str, optional
        Which names of `hue` are drawn, in this order; by default all, as they appear.
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes
        Its label holds the means in words.
    """
    for column in (x, hue, values):
        known("column", column, list(table))
    table = table[table[values].notna()]
    places, hues = list(table[x].unique()), list(order or table[hue].unique())
    if not places or len(hues) > len(PALETTE):
        raise ValueError(f"table must hold values of 1..{len(PALETTE)} kinds of {hue}, got {hues}")
    ax = Figure(figsize=(5.6, 2.6), layout="constrained").subplots() if ax is None else ax
    words = []
    for name in hues:
        known(hue, name, table[hue].unique())
    for k, name in enumerate(hues):
        own = table[table[hue] == name]
        at = own[x].map(places.index) + 0.7 * ((k + 0.5) / len(hues) - 0.5)
        ax.plot(at, own[values], MARKS[k], color=PALETTE[k], ms=3, mew=0, alpha=0.5)
        means = own.groupby(x, sort=False)[values].mean()
        at = at.groupby(own[x], sort=False).first()
        ax.plot(at, means, "_", color=PALETTE[k], ms=9, mew=2, label=str(name))
        words.append(f"{name}: " + ", ".join(f"{p} {v:z.2f}" for p, v in means.items()))
    ax.set_xticks(range(len(places)), places)
    if sum(len(str(p)) for p in places) > 70:
        ax.tick_params(axis="x", rotation=30)
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        frameon=False,
        fontsize=8,
        ncols=len(hues),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        columnspacing=1,
        handletextpad=0.3,
    )
    ax.set_label("Means over seeds. " + "; ".join(words))
    return ax

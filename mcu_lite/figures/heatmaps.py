"""Figures: a table of pairs as a heatmap, and ordered by its clusters."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from scipy.cluster.hierarchy import dendrogram

from mcu_lite.figures.look import INK, PAGE, SIZE, blank
from mcu_lite.metrics.similarity import cluster

COLOUR = "#A0457F"
"""None of those that stand for a split."""
SHADES = f"{COLOUR}00", f"{COLOUR}99"
"""Of the smallest and the largest value: the page shows through, and text stays readable."""


@matplotlib.rc_context(PAGE)
def heatmap(
    matrix: pd.DataFrame, *, fmt: str = "", title: str = "", top: float | None = None
) -> Axes:
    """Draw the numbers of a matrix as cells, the larger the stronger; NaN is an empty cell.

    `fmt` is the format of the numbers, by default two digits, or none if all are whole: counts, of
    which 0 is a dot. `top` is the value of the strongest colour, by default the largest one; 0
    is colourless. The label of the axes describes it in words.
    """
    values = matrix.to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise ValueError("matrix holds no finite number")
    counts = not fmt and not (values[np.isfinite(values)] % 1).any()
    fmt = fmt or ("{:.0f}" if counts else "{:.2f}")
    ax = blank(5.6, 1.3 + 0.3 * len(matrix))
    cmap = LinearSegmentedColormap.from_list("page", SHADES)
    top = np.nanmax(values) if top is None else top
    # A scale needs a length, even if every value is 0.
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=cmap, vmin=0, vmax=top or 1)
    for i, j in np.argwhere(np.isfinite(values)):
        text = "·" if counts and not values[i, j] else fmt.format(values[i, j])
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=SIZE - 1)
    turned = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"}
    ax.set_xticks(np.arange(values.shape[1]) + 0.5, matrix.columns, **turned)
    ax.set_yticks(np.arange(values.shape[0]) + 0.5, matrix.index)
    ax.xaxis.tick_top()
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
    cells = matrix.rename_axis(index=None, columns=None).stack().astype(float).dropna()
    ends = {"smallest": cells.idxmin(), "largest": cells.idxmax()}
    words = (f"{k} {fmt.format(cells[w])} ({w[0]}, {w[1]})" for k, w in ends.items())
    size = f"{len(matrix)} by {matrix.shape[1]} cells"
    ax.set_label(f"{title}: {size}, {'; '.join(words)}; median {fmt.format(cells.median())}")
    return ax


@matplotlib.rc_context(PAGE)
def clustered(table: pd.DataFrame, *, fmt: str = "{:.2f}", title: str = "") -> Axes:
    """Draw distances between models, in the order of their clusters, with the tree above.

    `table` is of `mcu_lite.metrics.similarity.pairwise`: a, b, seed, value. Cells hold means over
    seeds; `fmt` and `title` are those of `heatmap`.
    """
    order, tree = cluster(table)
    half = table.groupby(["a", "b"]).value.mean().unstack().reindex(index=order, columns=order)
    ax = heatmap(half.fillna(half.T), fmt=fmt, title=title)
    ax.figure.set_figheight(2.1 + 0.3 * len(order))
    ax.set_title("")
    ax.xaxis.tick_bottom()
    ax.tick_params(axis="x", length=0, labelrotation=90)
    for tick in ax.get_xticklabels():
        tick.set(ha="center", rotation_mode="default")
    above = ax.inset_axes((0, 1.01, 1, 0.8 / (0.3 * len(order))))
    dendrogram(tree, ax=above, no_labels=True, link_color_func=lambda _: INK)
    above.set_axis_off()
    above.set_title(title)
    ax.set_label(f"{ax.get_label()}; neighbours in the tree: {', '.join(order)}")
    return ax

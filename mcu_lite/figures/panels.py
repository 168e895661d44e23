"""Small multiples: each curve in a panel of its own, beside the same controls."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcu_lite.checks import check_choice
from mcu_lite.figures.heatmaps import COLOUR
from mcu_lite.figures.look import INK, PAGE

DASHES = ("-", "--", ":")
"""Of the controls, in this order."""


@matplotlib.rc_context(PAGE)
def plot_panels(curves: pd.DataFrame, controls: Sequence[str], names: tuple[str, str]) -> Axes:
    """Draw each column in its own panel, in the table's order, and the `controls` in all of them.

    The index is the x axis; `names` are those of the axes. The label of the axes holds the last
    values in words.
    """
    for name in controls:
        check_choice("control", name, list(curves))
    shown = [name for name in curves if name not in controls]
    if not shown or not 0 < len(controls) <= len(DASHES):
        raise ValueError(
            f"curves must hold 1..{len(DASHES)} controls and a curve beside them, got {controls}"
        )
    rows = -(-len(shown) // 3)
    grid = Figure(figsize=(6.2, 0.7 + 1.5 * rows), layout="constrained").subplots(
        rows, 3, sharex=True, sharey=True, squeeze=False
    )
    for ax, name in zip(grid.flat, shown):
        for control, dash in zip(controls, DASHES):
            ax.plot(curves.index, curves[control], dash, color=INK, lw=1, label=control)
        ax.plot(curves.index, curves[name], color=COLOUR, lw=2)
        ax.set_title(name, color=COLOUR)
        ax.tick_params(length=0)
    for ax in grid.flat[len(shown) :]:
        ax.set_axis_off()
    figure, lines = grid[0, 0].figure, grid[0, 0].get_lines()[: len(controls)]
    figure.legend(lines, controls, loc="outside upper left", ncols=len(controls))
    figure.supxlabel(names[0], fontsize="medium")
    figure.supylabel(names[1], fontsize="medium")
    last = curves.ffill().iloc[-1]
    words = ", ".join(f"{name} {last[name]:.2f}" for name in [*shown, *controls])
    grid[0, 0].set_label(f"{names[1]} against {names[0]}. At {np.max(curves.index):g}: {words}")
    return grid[0, 0]

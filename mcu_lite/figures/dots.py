"""Many small groups of seeds in one figure, such as every method under every condition."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from mcu_lite.checks import SPLITS, check_choice
from mcu_lite.figures.along_t import by_name, label_of
from mcu_lite.figures.look import COLOURS, PAGE, blank

PALETTE = ("#A0457F", "#808080", "#C07FB0", "#666E78", "#8858A8", "#949494")
"""Purple and grey, of conditions and levels: the colours of splits say retain, forget and test."""
MARKS = ("o", "s", "^", "D", "v", "P")


@matplotlib.rc_context(PAGE)
def plot_dots(
    table: pd.DataFrame, x: str, hue: str, values: str = "value", order: Sequence[str] | None = None
) -> Axes:
    """Draw a dot for each line of a table and a bar at each group's mean; NaN is left out.

    `x`, `hue` and `values` are columns: places along the axis; colours and marks within a place;
    what is drawn. `order` tells which names of `hue` are drawn, by default all, as they appear.
    The label of the axes holds the means in words.
    """
    for column in (x, hue, values):
        check_choice("column", column, list(table))
    places, table = list(table[x].unique()), table[table[values].notna()]
    kinds = list(table[hue].unique())
    hues = list(order or kinds)
    if table.empty or len(hues) > len(PALETTE):
        raise ValueError(f"table must hold values of 1..{len(PALETTE)} kinds of {hue}, got {hues}")
    ax, words, shown = blank(5.6, 3.2), [], []
    for k, name in enumerate(hues):
        own = table[table[hue] == check_choice(hue, name, kinds)]
        at = own[x].map(places.index) + 0.7 * ((k + 0.5) / len(hues) - 0.5)
        colour = COLOURS[name] if hue == "split" else PALETTE[k]
        shown += ax.plot(at, own[values], MARKS[k], color=colour, ms=4, mew=0, alpha=0.6)
        means = own.groupby(x, sort=False)[values].mean()
        at = at.groupby(own[x], sort=False).first()
        ax.plot(at, means, "_", color=colour, ms=11, mew=2.2, label=str(name))
        words.append(f"{name}: " + ", ".join(f"{p} {v:z.2f}" for p, v in means.items()))
    long = sum(len(str(p)) for p in places) > 45
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(range(len(places)), places, **turned)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
    ax.legend(shown, hues, ncols=min(len(hues), 4), markerscale=1.8, handlelength=1, **above)
    ax.set_label("Means over seeds. " + "; ".join(words))
    return ax


@matplotlib.rc_context(PAGE)
def plot_models(tables: dict[str, pd.DataFrame], metric: str) -> Axes:
    """Draw one metric of several stacks: a dot for each seed, a bar at the mean.

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        Of `mcu_lite.evaluate` for each stack, by name.
    metric : str

    Returns
    -------
    Axes
        Its label describes it in words.

    Raises
    ------
    ValueError
        For no table, one that is empty or has two values of a seed, or an unknown metric or split.

    Examples
    --------
    >>> both = {"original": mcu.evaluate(theta, task), "npo": mcu.evaluate(a, task)}
    >>> [tick.get_text() for tick in plot_models(both, "accuracy").get_xticklabels()]
    ['original', 'npo']
    """
    whole = pd.concat([table.assign(model=name) for name, table in by_name(tables).items()])
    own = whole[whole.metric == check_choice("metric", metric, whole.metric.unique())]
    present = [split for split in SPLITS if (own.split == split).any()]
    ax = plot_dots(own, "model", "split", order=present)
    ax.set_title(label_of(metric), loc="right")
    ax.set_label(f"{label_of(metric)}. {ax.get_label()}")
    return ax

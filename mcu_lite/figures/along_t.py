"""A metric along t, and how figures look in a page."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcu_lite.checks import SPLITS, check_choice
from mcu_lite.metrics.registry import METRICS

COLOURS = {"retain": "#0072B2", "forget": "#D55E00", "test": "#009E73"}
"""Okabe-Ito, distinct for every kind of colour vision; the same split everywhere."""
STYLES = {"-": "none", "--": "7 3", ":": "2 3", "-.": "9 3 2 3"}
"""Of the lines of up to four tables, and how SVG writes them."""
INK = "#010203"
"""Drawn by matplotlib in place of black, then replaced by the page's own text colour."""
PAGE = dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
) | {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.columnspacing": 1,
    "legend.handletextpad": 0.5,
}
"""How figures of a page look, as settings of matplotlib."""
NOTHING = dict.fromkeys(("Date", "Creator", "Format", "Type"))
Tables = pd.DataFrame | dict[str, pd.DataFrame]


def by_name(tables: Tables, along_t: bool = False) -> dict[str, pd.DataFrame]:
    """Accept one table or several by name; raise a `ValueError` if one is not tidy.

    Those that are drawn along t are of paths, at most one for each line style.
    """
    named = tables if isinstance(tables, dict) else {"": tables}
    if not named:
        raise ValueError("tables must hold at least one table, got none")
    if along_t and len(named) > len(STYLES):
        raise ValueError(f"tables must be at most {len(STYLES)}, got {list(named)}")
    for name, table in named.items():
        point = ["t", "seed", "split", "metric"]
        missing = {*point, "value"} - set(table)
        if missing or table.empty:
            raise ValueError(f"table {name!r} is empty or lacks the columns {sorted(missing)}")
        if along_t and table.t.isna().any():
            raise ValueError(f"table {name!r} must be of a path: it has no t")
        if table.duplicated(point).any():  # which would be averaged as seeds are
            raise ValueError(f"table {name!r} must hold one curve, one value for each {point}")
        for split in table.split.unique():
            check_choice("split", split, SPLITS)
    return named


def summary(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and standard deviation over seeds, NaN of a single one, for each split and t."""
    check_choice("metric", metric, table.metric.unique())
    own = table[table.metric == metric]
    return own.groupby(["split", "t"]).value.agg(["mean", "std"])


def mean_sd(values: pd.Series, digits: int = 2) -> str:
    """Write mean and standard deviation over seeds.

    Parameters
    ----------
    values : pandas.Series
        One a seed; NaN is left out, and one value has no deviation.
    digits : int
        After the decimal point.

    Examples
    --------
    >>> mean_sd(pd.Series([0.1, 0.2, 0.3])), mean_sd(pd.Series([0.1]))
    ('0.20 ± 0.10', '0.10')
    """
    sd = values.std(ddof=1)
    return f"{values.mean():z.{digits}f}" + (f" ± {sd:.{digits}f}" if sd == sd else "")


def label_of(metric: str) -> str:
    """Return the label of a metric, or its name if it is not registered."""
    return METRICS[metric].label if metric in METRICS else metric


def blank(width: float, height: float) -> Axes:
    """Axes of a new figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


@matplotlib.rc_context(PAGE)
def plot_along_t(tables: Tables, metric: str) -> Axes:
    """Draw a metric along t: mean over seeds, band of one standard deviation.

    Parameters
    ----------
    tables : pandas.DataFrame or dict of them by name
        Of `mcu_lite.evaluate`; several, at most four, are told apart by line style.
    metric : str

    Returns
    -------
    Axes
        Its title says how many seeds were left out because they diverged, its label
        describes it in words.

    Raises
    ------
    ValueError
        For an empty table or one of several curves, an unknown metric or split, or more tables
        than line styles.

    Examples
    --------
    >>> plot_along_t(table, "accuracy").get_xlabel()
    't'
    """
    named = by_name(tables, along_t=True)
    ax, words = blank(3.7, 2.75), []
    for style, (name, table) in zip(STYLES, named.items()):
        stats = summary(table, metric)
        for split in (s for s in SPLITS if s in stats.index.get_level_values("split")):
            mean, sd = stats.loc[split, "mean"], stats.loc[split, "std"]
            label = f"{split}, {name}" if name else split
            ax.plot(mean.index, mean, style, color=COLOURS[split], label=label, lw=1.6)
            if sd.notna().any():
                band = mean - sd, mean + sd
                ax.fill_between(mean.index, *band, color=COLOURS[split], alpha=0.15, lw=0)
            words.append(
                f"{name} {split} from {mean.iloc[0]:.2f} at t=0 to {mean.iloc[-1]:.2f} at t=1, "
                f"between {mean.min():.2f} and {mean.max():.2f}".strip()
            )
    lost = sum(table.groupby("seed").value.count().eq(0).sum() for table in named.values())
    ax.set_title(label_of(metric) + (f" ({lost} diverged left out)" if lost else ""))
    ax.set_label(f"{label_of(metric)} along t: " + "; ".join(words))
    ax.set(xlabel="t", xlim=(0, 1))
    ax.legend(fontsize=7)
    return ax


def themed(split: str) -> str:
    """Colour of a split, which the page's style sheet may replace, say in dark mode."""
    return f"var(--mcu-{split}, {COLOURS[split]})"


def svg(figure: Figure, text: str) -> str:
    """Return a figure as inline SVG in the colours of the page, with a text alternative."""
    buffer = io.StringIO()
    # Names of clip paths must differ between the figures of a page.
    with matplotlib.rc_context(PAGE | {"svg.hashsalt": text}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    body = re.search(r"<svg[^>]*>(.*)</svg>", buffer.getvalue(), re.S).group(1)
    body = body.replace(INK, "currentColor")
    for split, colour in COLOURS.items():
        body = re.sub(colour, themed(split), body, flags=re.I)
    return drawing(figure, body, f'role="img" aria-label="{escape(text)}"')


def drawing(figure: Figure, body: str, attributes: str = 'aria-hidden="true"') -> str:
    """Inline SVG of the size of a figure, without a text alternative unless it has attributes."""
    width, height = figure.get_size_inches() * 72
    head = f'viewBox="0 0 {width:g} {height:g}" style="width:100%;display:block" {attributes}'
    return f"<svg {head}>{body}</svg>"


def picture(*axes: Axes) -> HTML:
    """Show figures in a page, light or dark.

    Parameters
    ----------
    *axes : matplotlib.axes.Axes
        One figure each; its label is its text alternative.

    Examples
    --------
    >>> "<svg" in picture(plot_along_t(table, "loss")).data
    True
    """
    cells = (
        f'<div style="flex:1 1 320px;min-width:min(100%,{ax.figure.get_figwidth() * 55:.0f}px);'
        f'max-width:{ax.figure.get_figwidth() * 110:.0f}px">'
        f"{svg(ax.figure, ax.get_label())}</div>"
        for ax in axes
    )
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(cells)}</div>')

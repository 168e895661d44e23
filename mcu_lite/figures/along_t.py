"""Figures: a metric along t, and several models side by side."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcu_lite.checks import SPLITS, known
from mcu_lite.metrics.registry import METRICS

COLOURS = {"retain": "#0072B2", "forget": "#D55E00", "test": "#009E73"}
"""Okabe-Ito, distinct for every kind of colour vision; the same split everywhere."""
STYLES = ("-", "--", ":", "-.")
WHOLE = "width:100%;display:block"
INK = "#010203"
"""Drawn by matplotlib in place of black, then replaced by the page's own text colour."""
PAGE = dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
) | {"svg.fonttype": "none", "font.family": "sans-serif"}
Tables = pd.DataFrame | dict[str, pd.DataFrame]


def by_name(tables: Tables) -> dict[str, pd.DataFrame]:
    """Accept one table or several by name; raise a `ValueError` if one is not tidy."""
    named = tables if isinstance(tables, dict) else {"": tables}
    if not named:
        raise ValueError("tables must hold at least one table, got none")
    for name, table in named.items():
        missing = {"t", "seed", "split", "metric", "value"} - set(table)
        if missing or table.empty:
            raise ValueError(f"table {name!r} is empty or lacks the columns {sorted(missing)}")
    return named


def by_style(tables: Tables) -> dict[str, pd.DataFrame]:
    """As `by_name`, for what is told apart by line style: no more tables than there are styles."""
    named = by_name(tables)
    if len(named) > len(STYLES):
        raise ValueError(f"tables must be at most {len(STYLES)}, got {list(named)}")
    return named


def summary(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and standard deviation over seeds for each split and t; NaN is left out.

    The standard deviation of a single value is NaN.
    """
    known("metric", metric, table.metric.unique())
    own = table[table.metric == metric]
    return own.groupby(["split", "t"]).value.agg(["mean", "std"])


def left_out(table: pd.DataFrame) -> int:
    """Count the seeds that diverged: those without any value."""
    return int(table.groupby("seed").value.count().eq(0).sum())


def mean_sd(values: pd.Series, digits: int = 2) -> str:
    """Write mean and standard deviation over seeds; NaN is left out, one value has no deviation.

    Examples
    --------
    >>> mean_sd(pd.Series([0.1, 0.2, 0.3])), mean_sd(pd.Series([0.1]))
    ('0.20 ± 0.10', '0.10')
    """
    return plus_minus(values.mean(), values.std(ddof=1), digits)


def plus_minus(mean: float, sd: float, digits: int) -> str:
    """Write a mean, and the standard deviation unless it is NaN."""
    return f"{mean:z.{digits}f}" + (f" ± {sd:.{digits}f}" if sd == sd else "")


def label_of(metric: str) -> str:
    """Return the label of a metric, or its name if it is not registered."""
    return METRICS[metric].label if metric in METRICS else metric


@matplotlib.rc_context(PAGE)
def plot_along_t(tables: Tables, metric: str, ax: Axes | None = None) -> Axes:
    """Draw a metric along t: mean over seeds, band of one standard deviation.

    Parameters
    ----------
    tables : pandas.DataFrame or dict of them by name
        Of `mcu_lite.evaluate`; several, at most four, are told apart by line style.
    metric : str
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes
        Its title says how many seeds were left out because they diverged, its label
        describes it in words.

    Raises
    ------
    ValueError
        For an empty table, an unknown metric, or more tables than line styles.

    Examples
    --------
    >>> plot_along_t(table, "accuracy").get_xlabel()
    't'
    """
    named = by_style(tables)
    ax = Figure(figsize=(3.7, 2.75), layout="constrained").subplots() if ax is None else ax
    for style, (name, table) in zip(STYLES, named.items(), strict=False):
        stats = summary(table, metric)
        for split in (s for s in SPLITS if s in stats.index.get_level_values("split")):
            line = stats.loc[split]
            label = f"{split}, {name}" if name else split
            ax.plot(line.index, line["mean"], style, color=COLOURS[split], label=label, lw=1.6)
            if line["std"].notna().any():
                low, high = line["mean"] - line["std"], line["mean"] + line["std"]
                ax.fill_between(line.index, low, high, color=COLOURS[split], alpha=0.15, lw=0)
    lost = sum(map(left_out, named.values()))
    ax.set_title(label_of(metric) + (f" ({lost} diverged left out)" if lost else ""), fontsize=10)
    ax.set_label(describe(tables, metric))
    ax.set_xlabel("t")
    ax.set_xlim(0, 1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=7)
    return ax


@matplotlib.rc_context(PAGE)
def plot_models(tables: dict[str, pd.DataFrame], metric: str, ax: Axes | None = None) -> Axes:
    """Draw one metric of several stacks: a dot for each seed, a bar at the mean.

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        Of `mcu_lite.evaluate` for each stack, by name.
    metric : str
    ax : matplotlib Axes, optional

    Examples
    --------
    >>> both = {"original": mcu.evaluate(theta, task), "npo": mcu.evaluate(a, task)}
    >>> [tick.get_text() for tick in plot_models(both, "accuracy").get_xticklabels()]
    ['original', 'npo']
    """
    named = by_name(tables)
    ax = Figure(figsize=(5.6, 2.6), layout="constrained").subplots() if ax is None else ax
    for x, table in enumerate(named.values()):
        known("metric", metric, table.metric.unique())
        own = table[(table.metric == metric) & table.value.notna()]
        present = [s for s in SPLITS if s in set(own.split)]
        for k, split in enumerate(present):
            values = own[own.split == split].value
            place = x + 0.2 * (k - (len(present) - 1) / 2)
            label = split if x == 0 else None
            ax.plot([place] * len(values), values, ".", color=COLOURS[split], ms=5, alpha=0.6)
            ax.plot([place], [values.mean()], "_", color=COLOURS[split], ms=13, mew=2, label=label)
    ax.set_label(_describe_models(named, metric))
    ax.set_xticks(range(len(named)), list(named))
    ax.tick_params(axis="x", labelsize=8)
    ax.set_title(label_of(metric), fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return ax


def describe(tables: Tables, metric: str) -> str:
    """Say in a sentence what `plot_along_t` shows, as its text alternative."""
    parts = []
    for name, table in by_name(tables).items():
        stats = summary(table, metric)["mean"]
        for split in stats.index.unique("split"):
            line = stats[split]
            parts.append(
                f"{name} {split} from {line.iloc[0]:.2f} at t=0 to {line.iloc[-1]:.2f} at t=1, "
                f"between {line.min():.2f} and {line.max():.2f}".strip()
            )
    return f"{label_of(metric)} along t: " + "; ".join(parts)


def _describe_models(named: dict[str, pd.DataFrame], metric: str) -> str:
    parts = []
    for name, table in named.items():
        means = table[table.metric == metric].groupby("split").value.mean()
        parts.append(f"{name} " + ", ".join(f"{s} {v:.2f}" for s, v in means.items()))
    return f"{label_of(metric)}, mean over seeds: " + "; ".join(parts)


def themed(colour: str) -> str:
    """Let the page's style sheet replace a colour, say by a lighter one in dark mode."""
    names = {value: name for name, value in COLOURS.items()}
    return f"var(--mcu-{names[colour]}, {colour})"


def svg(figure: Figure, text: str) -> str:
    """Return a figure as inline SVG in the colours of the page, with a text alternative."""
    buffer = io.StringIO()
    figure.set_facecolor("none")
    for ax in figure.axes:
        ax.set_facecolor("none")
    # Names of clip paths must differ between the figures of a page.
    with matplotlib.rc_context(PAGE | {"svg.hashsalt": text}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    body = re.search(r"<svg[^>]*>(.*)</svg>", buffer.getvalue(), re.S).group(1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S).replace(INK, "currentColor")
    for colour in COLOURS.values():
        body = re.sub(colour, themed(colour), body, flags=re.I)
    width, height = figure.get_size_inches() * 72
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="{WHOLE}" '
        f'role="img" aria-label="{escape(text)}">{body}</svg>'
    )


def picture(*axes: Axes) -> HTML:
    """Show figures in a page, light or dark; what they show is their text alternative too.

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

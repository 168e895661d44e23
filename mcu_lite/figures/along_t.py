"""A metric along t: its mean, what is allowed, and what breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from textwrap import fill

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from mcu_lite.checks import SPLITS, check_choice
from mcu_lite.figures.look import COLOURS, INK, INKS, PAGE, SIZE
from mcu_lite.metrics.connectivity import excess, is_connected
from mcu_lite.metrics.registry import METRICS

SIDES = {"retain": 1, "forget": -1}
"""Where a loss must not go, along a path that connects."""
Tables = pd.DataFrame | dict[str, pd.DataFrame]


def by_name(tables: Tables, along_t: bool = False) -> dict[str, pd.DataFrame]:
    """Accept one table or several by name, `along_t` of paths; ValueError if one is not tidy."""
    named = tables if isinstance(tables, dict) else {"": tables}
    if not named:
        raise ValueError("tables must hold at least one table, got none")
    for name, table in named.items():
        point = ["t", "seed", "split", "metric"]
        missing = {*point, "value"} - set(table)
        if missing or table.empty:
            raise ValueError(f"table {name!r} is empty or lacks the columns {sorted(missing)}")
        if along_t and (table.t.isna().any() or table.t.nunique() < 2):
            raise ValueError(f"table {name!r} must be of a path: it has no t, or a single one")
        if table.duplicated(point).any():  # which would be averaged as seeds are
            raise ValueError(f"table {name!r} must hold one curve, one value for each {point}")
        for split in table.split.unique():
            check_choice("split", split, SPLITS)
    return named


def summary(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and standard deviation over seeds, NaN of a single one, for each split and t."""
    check_choice("metric", metric, table.metric.unique())
    own = table[table.metric == metric]
    if not is_numeric_dtype(own.value) or np.isinf(own.value).any():
        raise ValueError(f"values of {metric!r} must be finite numbers or NaN")
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


def wanted(metric: str, split: str) -> str:
    """Arrow to where a metric should go on a split: on forgotten examples, away from knowing."""
    better = METRICS[metric].better if metric in METRICS else "oracle"
    if better == "oracle":
        return ""
    down = (better == "lower") != (split == "forget" and not METRICS[metric].needs_oracle)
    return "↓" if down else "↑"


def ends_of(table: pd.DataFrame) -> tuple[str, str]:
    """Names of the two models of a path, as short as they differ, if the table has them."""
    for pair in (["method", "other"], ["a", "b"]):
        # Which of the methods is at t=0, only a tells.
        names = table[pair].drop_duplicates() if {*pair, "a"} <= set(table) else ()
        if len(names) == 1 and names.iloc[0, 0] != names.iloc[0, 1]:
            turned = str(table.a.iloc[0]).split()[:1] == [names.iloc[0, 1]]
            return tuple(fill(str(name), 16) for name in names.iloc[0, :: -1 if turned else 1])
    return "t = 0", "t = 1"


def apart(places: Sequence[float], gap: float) -> np.ndarray:
    """Move places as little as needed for a gap between any two."""
    places = np.asarray(places, float)
    order, moved = places.argsort(), places.copy()
    for one, other in pairwise(order):
        moved[other] = max(moved[other], moved[one] + gap)
    return moved - (moved - places).mean() if len(places) else moved


@matplotlib.rc_context(PAGE)
def plot_along_t(
    table: pd.DataFrame,
    metric: str,
    *,
    name: str = "",
    tolerance: float | None = 0.1,
    limits: tuple[float, float] | None = None,
    ends: tuple[str, str] | None = None,
) -> Axes:
    """Draw a metric along t: mean over seeds, band of one standard deviation.

    Of the loss on what is retained and forgotten, the straight line between the end values of the
    mean is drawn too, with the tolerance on its forbidden side; what breaks it is filled.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.evaluate` on one path, or of `mcu_lite.run`, which knows its two models.
    metric : str
    name : str
        Of the path.
    tolerance : float, optional
        ε in nats; None for paths between models that have forgotten nothing, of which no
        direction is wanted.
    limits : (float, float), optional
        Of the y axis, by default those of the curves.
    ends : (str, str), optional
        Names of the two models, by default those that the table knows.

    Its title says how many seeds were left out because they diverged, its label describes it in
    words.

    Examples
    --------
    >>> plot_along_t(table, "accuracy").get_title("left")
    'accuracy'
    """
    by_name(table, along_t=True)
    stats = summary(table, metric)
    # Margins of its own, so that panels side by side are equal.
    ax, words, labels = Figure(figsize=(4.6, 3.2)).add_axes((0.1, 0.15, 0.69, 0.7)), [], {}
    ax.set(xlim=(0, 1), ylim=limits or reach([table], metric))
    for split in (s for s in SPLITS if s in stats.index.get_level_values("split")):
        mean, sd = stats.loc[split, "mean"], stats.loc[split, "std"]
        if (
            tolerance is not None
            and metric == "loss"
            and split in SIDES
            and {0, 1} <= {*mean.index}
        ):
            _judge(ax, split, stats["mean"], tolerance)
        ax.plot(mean.index, mean, color=COLOURS[split], lw=1.8)
        if sd.notna().any():
            band = mean - sd, mean + sd
            ax.fill_between(mean.index, *band, color=COLOURS[split], alpha=0.15, lw=0)
        if mean.notna().all():
            arrow = "" if tolerance is None else wanted(metric, split)
            labels[f"{split} {arrow}".strip()] = mean.iloc[-1], INKS[split]
        words.append(
            f"{split} from {mean.iloc[0]:.2f} at t={mean.index[0]:.3g} "
            f"to {mean.iloc[-1]:.2f} at t={mean.index[-1]:.3g}, "
            f"between {mean.min():.2f} and {mean.max():.2f}"
        )
    ax.grid(axis="y", color=INK, alpha=0.14, lw=0.8)
    ax.spines["left"].set_visible(False)
    ax.tick_params(length=0)
    start, stop = ends or ends_of(table)
    ax.set_xticks([0, 0.5, 1], [start, "t", stop])
    ax.locator_params(axis="y", nbins=4, steps=[1, 2, 5, 10])
    for tick, side in zip(ax.get_xticklabels(), ("left", "center", "right")):
        tick.set_ha(side)
    _label_ends(ax, labels)
    about = [label_of(metric), *_remarks(table, metric, tolerance)]
    title, *below = [name, "; ".join(about)] if name else [about[0], "; ".join(about[1:])]
    ax.set_title(title, pad=6 + 1.5 * SIZE * any(below))
    ax.annotate(*below, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points")
    ax.set_label(f"{', '.join(filter(None, [name, *about]))}, along t: {'; '.join(words)}")
    return ax


def reach(tables: Iterable[pd.DataFrame], metric: str) -> tuple[float, float]:
    """Lowest and highest value that a metric's bands take in any of the tables, with a margin."""
    stats = pd.concat([summary(table, metric) for table in tables]).dropna(subset="mean")
    sd = stats["std"].fillna(0)
    low, high = (stats["mean"] - sd).min(), (stats["mean"] + sd).max()
    if not high > low:  # equal, or all diverged
        low, high = np.nan_to_num(low) - 0.5, np.nan_to_num(low) + 0.5
    margin = 0.09 * (high - low)
    return low - margin, high + margin


def _judge(ax: Axes, split: str, means: pd.Series, tolerance: float) -> None:
    """Draw the straight line between the ends of a mean loss, what is allowed, and what breaks."""
    side, t, mean = SIDES[split], means[split].index.to_numpy(), means[split].to_numpy()
    over = side * excess(mean, t)
    line = mean - side * over
    edge, colour = line + side * tolerance, COLOURS[split]
    ax.plot(t, line, color=colour, lw=1.2, dashes=(4, 3))
    ax.fill_between(t, line, edge, color=colour, alpha=0.22, lw=0)
    if not over.max() > tolerance:
        return
    beyond = edge + side * np.maximum(over - tolerance, 0)
    ax.fill_between(t, edge, beyond, color=colour, alpha=0.45, lw=0)
    # In words beside the worst t, where no curve and no value of a moving dot runs through them.
    by, gap = over.max() - tolerance, 0.1 * np.ptp(ax.get_ylim())
    at = t[np.abs(t - np.clip(t[over.argmax()] - 0.21, 0.21, 0.27)).argmin()]
    here = means.xs(at, level="t")
    taken = [*here, *(text.get_position()[1] for text in ax.texts)]
    for way in (side, -side):
        place = here[split] + way * gap
        for other in sorted(taken, key=lambda value: way * value):
            place = other + way * gap if abs(other - place) < 0.9 * gap else place
        if np.abs(place - np.mean(ax.get_ylim())) < 4.6 * gap:
            break
    style = {"color": INKS[split], "fontweight": "bold", "gid": "mcu-halo"}
    ax.text(at, place, f"breaks by {by:.2f}", ha="center", va="center", **style)


def _remarks(table: pd.DataFrame, metric: str, tolerance: float | None) -> list[str]:
    """What else is said above a figure: the goal, the verdict, and what was left out."""
    said = []
    if tolerance is not None:
        if metric in METRICS and METRICS[metric].better == "oracle":
            said.append("goal: oracle")
        own = table[table.metric == metric]
        if metric == "loss" and set(SIDES) <= set(own.split) and {0, 1} <= set(own.t):
            held = is_connected(own, tolerance).connected
            said.append(f"connected on {held.sum()} of {held.count()} seeds")
    if lost := table[table.metric == metric].groupby("seed").value.count().eq(0).sum():
        said.append(f"{lost} diverged left out")
    return said


def _label_ends(ax: Axes, labels: dict[str, tuple[float, str]]) -> None:
    """Name each curve at its end, in its colour: (value, colour) by name."""
    low, high = ax.get_ylim()
    places = apart([(value - low) / (high - low) for value, _ in labels.values()], 0.085)
    for (name, (_, colour)), y in zip(labels.items(), places):
        style = {"color": colour, "fontweight": "bold", "va": "center"}
        ax.annotate(name, (1, y), (6, 0), "axes fraction", "offset points", **style)

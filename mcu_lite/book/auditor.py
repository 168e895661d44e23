"""Many runs of one split, and how near each way of forgetting comes to retraining them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from mcu_lite.checks import check_choice
from mcu_lite.figures.along_t import reach
from mcu_lite.figures.look import INK
from mcu_lite.figures.scrub import WIDE, curves, folded_numbers, moved
from mcu_lite.metrics.evaluation import split_outputs
from mcu_lite.metrics.populations import AUDITS, margins
from mcu_lite.metrics.predictions import js_to_oracle, mia_auc
from mcu_lite.metrics.registry import Outputs
from mcu_lite.metrics.statistics import compare
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path, connect, spaced
from mcu_lite.studies.conditions import ORACLE, ORIGINAL, Endpoint, Setting, load_profile
from mcu_lite.studies.results import task_for
from mcu_lite.studies.study import endpoints
from mcu_lite.tasks.digits import digits
from mcu_lite.tasks.task import RUN, Task, task

MODELS = {"ci": 16, "book": 64, "full": 256}
"""How many models a population holds, by profile."""
GROUPS = 8
"""Of models, each of which is left out in turn."""


@task("many digits")
def many_digits(seeds: Sequence[int], forget: float = 0.10) -> Task:
    """Runs of few splits of the digits: seeds as those of `Task.repeat`."""
    splits = tuple(dict.fromkeys(s % RUN for s in seeds))
    return digits(splits, forget).repeat(len(seeds) // len(splits))


def many(profile: str, forget: float = 0.10, split: int = 0) -> Setting:
    """Return the setting of a study of many runs on one split."""
    seeds = [split + RUN * run for run in range(MODELS[check_choice("profile", profile, MODELS)])]
    return load_profile(profile, seeds=seeds, task="many digits", options={"forget": forget})


@dataclass(frozen=True)
class Population:
    """M models of one split: their margins (M, n) by split, and metrics (M,) by name."""

    margins: dict[str, np.ndarray]
    each: dict[str, np.ndarray]

    def part(self, which: np.ndarray) -> Population:
        """Return some of the models."""
        kept = ({k: v[which] for k, v in own.items()} for own in (self.margins, self.each))
        return Population(*kept)

    def mixed(self, other: Population, t: float) -> Population:
        """(1 - t) times what these models give, and t times what as many others do."""
        both = ((self.margins, other.margins), (self.each, other.each))
        return Population(*({k: (1 - t) * v + t * b[k] for k, v in a.items()} for a, b in both))


Measure = Callable[[Population, Population], float]


def _audit(name: str) -> Measure:
    def read(models: Population, oracles: Population) -> float:
        return AUDITS[name].function(models.margins["forget"], oracles.margins["forget"])

    return read


def _mean(name: str) -> Measure:
    return lambda models, oracles: float(np.nanmean(models.each[name]))


MEASURES: dict[str, Measure] = {
    "KLoM": _audit("klom"),
    "U-LiRA": _audit("ulira_auc"),
    "points": _audit("score"),
    "loss attack": _mean("mia_auc"),
    "one oracle": _mean("js_to_oracle"),
}
"""Three of a population against a retrained one, on the forget set; and two of single models."""


class Auditor:
    """Judge populations by how far they are from retrained ones.

    A value is a share: 0 is what as many *other* retrained models are given (the floor), 1 what the
    originals are given (the ceiling). It is known with all models, and without each of eight groups
    of models and of retrained models.

    Parameters
    ----------
    setting : Setting
        Of `many`. A setting whose rows have several forget sets raises a `ValueError`.
    """

    def __init__(self, setting: Setting) -> None:
        self.task = task_for(setting)
        if not (self.task.forget == self.task.forget[0]).all():
            raise ValueError("setting must hold runs of one split, see many()")
        ends = (ORIGINAL, ORACLE, Endpoint("retrain"))
        originals, oracles, others = endpoints(ends, setting).values()
        self.one: Outputs | None = None
        self.one = self._outputs(oracles.rows[-1:], oracles)
        self.oracles, self.others, self.originals = (
            self.population(stack) for stack in (oracles, others, originals)
        )
        self.floor, self.ceiling = map(self.estimates, (self.others, self.originals))

    def _outputs(self, rows: Tensor, models: Stack | Path) -> Outputs:
        return replace(split_outputs(models.architecture, rows, self.task, 0), oracle=self.one)

    def population(self, models: Stack | Path, t: float | None = None) -> Population:
        """Margins and metrics of a stack, or of the models at t on a path."""
        outputs = self._outputs(models.rows if t is None else models.rows([t])[0], models)
        each = {f.__name__: f(outputs, "forget") for f in (mia_auc, js_to_oracle)}
        return Population({s: margins(outputs, s) for s in outputs.logits}, each)

    def estimates(self, models: Population, names: Sequence[str] = tuple(MEASURES)) -> pd.DataFrame:
        """Measures of all models, the first line, and without each group: columns by name."""
        # Consecutive models, of which two halves attack one another in either case.
        group = np.arange(len(self.task)) * GROUPS // len(self.task)
        kept = [group >= 0, *(group != g for g in range(GROUPS))]
        pairs = [(models.part(k), self.oracles.part(k)) for k in kept]
        return pd.DataFrame({name: [MEASURES[name](*pair) for pair in pairs] for name in names})

    def shares(self, models: Population, names: Sequence[str] = tuple(MEASURES)) -> pd.DataFrame:
        """`estimates` as shares of the way from the floor to the ceiling."""
        floor, ceiling = (own[list(names)] for own in (self.floor, self.ceiling))
        return (self.estimates(models, names) - floor) / (ceiling - floor)

    def judge(self, stacks: Mapping[str, Stack]) -> pd.DataFrame:
        """Shares of stacks: method, left (-1, or the group left out), and a column a measure."""
        found = {name: self.shares(self.population(stack)) for name, stack in stacks.items()}
        table = pd.concat(found, names=["method", "left"]).reset_index()
        return table.assign(left=table.left - 1)

    def along(
        self,
        ends: Mapping[str, Stack],
        ts: int | Sequence[float] = 21,
        names: Sequence[str] = ("KLoM", "U-LiRA", "points"),
        mixed: str = "weights",
    ) -> pd.DataFrame:
        """Shares on the straight path between two stacks, as `spread_out` gives them.

        `mixed` are the "weights" of the ends, or for comparison the "margins" that they give. A
        line a point, group and measure: a, b, t, seed (the group), split, metric, value.
        """
        if len(ends) != 2:
            raise ValueError(f"ends must be two stacks by name, got {list(ends)}")
        path = connect(*ends.values(), curve="linear")
        if check_choice("mixture", mixed, ("weights", "margins")) == "weights":
            at = {t: self.population(path, t) for t in spaced(ts)}
        else:
            first, last = map(self.population, ends.values())
            at = {t: first.mixed(last, t) for t in spaced(ts)}
        found = {t: self.shares(own, names) for t, own in at.items()}
        table = pd.concat(found, names=["t", "left"]).reset_index()
        table = spread_out(table.assign(left=table.left - 1), ["t"])
        columns = dict(zip("ab", ends)) | {"split": "forget"}
        return table.rename(columns={"measure": "metric"}).assign(**columns)


def spread_out(table: pd.DataFrame, by: Sequence[str] = ("method",)) -> pd.DataFrame:
    """One line a group that is left out, so that statistics over seeds apply (Tukey, 1958).

    Parameters
    ----------
    table : pandas.DataFrame
        Columns `by`; left, -1 for all models or the group left out; and one a measure.

    Returns
    -------
    pandas.DataFrame
        Columns `by`, seed (the group), measure and value. The mean of the values is the measure of
        all models, their standard error that of the jackknife.
    """
    long = table.melt([*by, "left"], var_name="measure")
    keys = [*by, "measure"]
    whole = long[long.left < 0].set_index(keys).value.rename("whole")
    groups = long[long.left >= 0].join(whole, on=keys)
    off = groups.value - groups.groupby(keys).value.transform("mean")
    groups["value"] = groups.whole - (groups.left.nunique() - 1) * off
    return groups.rename(columns={"left": "seed"}).drop(columns="whole").reset_index(drop=True)


def better_than_both(table: pd.DataFrame) -> pd.DataFrame:
    """At which t a path is nearer to retraining than both its ends, too clearly to be chance.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `Auditor.along`.

    Returns
    -------
    pandas.DataFrame
        metric, t, gain over the end that it gains less over, and visible: whether both differences
        are visible among those of all t, see `mcu_lite.compare`.
    """
    found = []
    for name, own in table.groupby("metric", sort=False):
        ts = sorted(own.t.unique())
        both = compare(own, "t", pairs=[(t, end) for t in ts[1:-1] for end in (ts[0], ts[-1])])
        both["visible"] &= both.difference < 0
        least = both.groupby("a").agg(gain=("difference", "max"), visible=("visible", "all"))
        found.append(
            least.rename_axis("t").reset_index().assign(metric=name, gain=-least.gain.values)
        )
    return pd.concat(found, ignore_index=True)


def agreement_with(judged: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rank correlation over methods of the other measures with one, a line a group left out.

    The table is that of `Auditor.judge`. What counts is how far from retraining, so that a model
    beyond the goal is no better for it.
    """
    own = judged.set_index(["left", "method"]).abs()
    rho = own.groupby("left").corr("spearman").xs(measure, level=1).drop(columns=measure)
    table = spread_out(rho.reset_index(), [])
    return table.pivot(index="seed", columns="measure", values="value")[list(rho)]


def memorised(originals: np.ndarray, oracles: np.ndarray) -> np.ndarray:
    """How much of each example is memorised (Feldman and Zhang, 2020), from margins: shape (n,).

    Share of the originals that find its label more likely than not, less that of the oracles.
    """
    return (originals > 0).mean(0) - (oracles > 0).mean(0)


def floor_by_number(
    numbers: Sequence[int], examples: int = 60, draws: int = 3, seed: int = 0
) -> pd.DataFrame:
    """What `AUDITS` say of two draws from one normal distribution, by number of models.

    Of a measure without bias all rows would be equal.
    """
    rng, found = np.random.default_rng(seed), {}
    for n in numbers:
        pairs = rng.standard_normal((draws, 2, n, examples))
        found[n] = {k: np.mean([own.function(*p) for p in pairs]) for k, own in AUDITS.items()}
    return pd.DataFrame(found).T.rename_axis("models")


def slider(paths: Mapping[str, pd.DataFrame]) -> w.Widget:
    """Slider over t on panels with the floor and the ceiling, a row for each table of `along`."""
    tables = {name: _as_errors(table) for name, table in paths.items()}
    first = next(iter(tables.values()))
    ts, metrics = sorted(first.t.unique()), list(first.metric.unique())
    bounds = [reach(tables.values(), m) for m in metrics]
    limits = (min(-0.15, *(low for low, _ in bounds)), max(1.2, *(high for _, high in bounds)))

    def with_bounds(ax: Axes) -> None:
        for at in (0, 1):
            ax.axhline(at, color=INK, lw=1, dashes=(2, 2))

    _, grid = curves(tables, metrics, ts, with_bounds, tolerance=None, limits=limits)
    said = "<span>band: ± 1 standard error</span><span>0: as far as other retrained models</span>"
    said += "<span>1: as far as the originals</span>"
    key = w.HTML(f'<div class="mcu-key">{said}</div>', layout=WIDE)
    return moved(ts, [key, grid, *folded_numbers(tables, metrics, ts)])


def _as_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Move values towards their mean until their deviation is its standard error."""
    mean = table.groupby(["t", "metric"]).value.transform("mean")
    return table.assign(value=mean + (table.value - mean) / np.sqrt(table.seed.nunique()))

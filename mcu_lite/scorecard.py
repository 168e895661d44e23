"""The paper's claims, each with its test, the control that it needs, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mcu_lite.metrics import is_connected, measures
from mcu_lite.similarity import cluster_stability
from mcu_lite.statistics import interval

SUPPORTED, CONTRADICTED, UNSEEN = "supported", "contradicted", "not visible here"


@dataclass(frozen=True)
class Finding:
    """One claim and what became of it.

    Parameters
    ----------
    claim, test, on : str
        What is claimed, what was measured, and on which conditions.
    values : array, shape (seeds,)
        The effect, one number a seed.
    threshold : float
        The claim is supported if the interval lies above it.
    chapter : str
        File name of the page that tells more.
    control : str
        What the control says; with `confounder` it enters the verdict.
    confounder : str
        What explains the effect as well; "" if nothing does.
    floor : float, optional
        The claim is contradicted if the interval lies below it, by default as far below zero
        as the threshold lies above. In between, an effect is too small to count.
    """

    claim: str
    test: str
    on: str
    values: np.ndarray
    threshold: float
    chapter: str
    control: str = ""
    confounder: str = ""
    floor: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the interval lies above the threshold, below the floor, or neither."""
        low, high = interval(self.values)
        if low > self.threshold:
            return f"confounded by {self.confounder}" if self.confounder else SUPPORTED
        floor = -self.threshold if self.floor is None else self.floor
        return CONTRADICTED if high < floor else UNSEEN

    @property
    def line(self) -> dict:
        """A row of the scorecard."""
        low, high = interval(self.values)
        return {
            "claim": self.claim,
            "test": self.test,
            "on": self.on,
            "effect": np.nanmean(self.values),
            "low": low,
            "high": high,
            "supported above": self.threshold,
            "control": self.control,
            "verdict": self.verdict,
            "chapter": self.chapter,
        }


def scorecard(findings: Iterable[Finding]) -> pd.DataFrame:
    """One line a claim: effect, interval over seeds, control and verdict."""
    lines = [finding.line for finding in findings]
    if not lines:
        raise ValueError("findings must hold at least one Finding, got none")
    return pd.DataFrame(lines)


def as_markdown(card: pd.DataFrame) -> str:
    """The scorecard as a Markdown table with links to the chapters."""
    head = "| claim | test | effect (95 % interval) | control | verdict |\n|---|---|---|---|---|\n"
    rows = (
        f"| {row.claim} [more]({row.chapter}) | {row.test}, on {row.on} | {row.effect:.2f} "
        f"({row.low:.2f} to {row.high:.2f}); supported above {row['supported above']:g} "
        f"| {row.control} | **{row.verdict}** |"
        for _, row in card.iterrows()
    )
    return head + "\n".join(rows)


# The claims that the grid alone can judge. Each takes the table of `mcu_lite.run(grid())`.

CLAIMS: list[Callable[[pd.DataFrame], Finding]] = []


def claim(function: Callable[[pd.DataFrame], Finding]) -> Callable[[pd.DataFrame], Finding]:
    """Register a function of the grid's table as a claim."""
    CLAIMS.append(function)
    return function


def of(table: pd.DataFrame, *conditions: str) -> pd.DataFrame:
    """The lines of some conditions."""
    return table[table.condition.isin(conditions)]


def pair_barriers(
    table: pd.DataFrame, curve: str = "linear", split: str = "retain"
) -> pd.DataFrame:
    """Barrier of the loss on one kind of path: condition, a, b, seed, barrier."""
    own = table[(table.curve == curve) & (table.metric == "loss") & (table.split == split)]
    return measures(own)[["condition", "a", "b", "seed", "barrier"]]


def _approximate(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table.a.str.startswith("retrain")]


@claim
def paths_exist(table: pd.DataFrame) -> Finding:
    """Claim 1, first half."""
    own = is_connected(_approximate(of(table, "Rand", "Met")))
    any_path = own.groupby(["a", "b", "seed"]).connected.max().astype(float)
    line = own[own.curve == "linear"].connected.mean()
    return Finding(
        "Low-loss paths often exist between unlearned models.",
        "share of pairs connected on the line or the curve, ε = 0.1 nats",
        f"{own.groupby(['a', 'b']).ngroups} pairs of approximate methods (Rand, Met)",
        any_path.groupby("seed").mean().to_numpy(),
        0.5,
        "different-methods",
        f"the straight line alone connects {line:.0%}",
        floor=0.5,
    )


@claim
def paths_depend_on_the_method(table: pd.DataFrame) -> Finding:
    """Claim 1, second half."""
    own = is_connected(of(table, "Met"))
    ends = pd.concat([own.assign(m=own[side].str.split().str[0]) for side in "ab"])
    share = ends.groupby(["seed", "m"]).connected.mean().astype(float).unstack()
    mean = share.mean().sort_values()
    return Finding(
        "Whether a path exists depends on the method.",
        "range over methods of the share of connected pairs",
        f"{share.shape[1]} methods, all pairs (Met)",
        (share.max(axis=1) - share.min(axis=1)).to_numpy(),
        0.2,
        "different-methods",
        f"from {mean.iloc[0]:.0%} (`{mean.index[0]}`) to {mean.iloc[-1]:.0%} (`{mean.index[-1]}`)",
    )


@claim
def metrics_fluctuate_differently(table: pd.DataFrame) -> Finding:
    """Claim 2."""
    verdicts = is_connected(table)
    yes = verdicts[verdicts.connected.fillna(False).astype(bool) & (verdicts.curve == "bezier")]
    keys = ["condition", "a", "b", "curve", "seed"]
    own = table[table.split == "forget"].merge(yes[keys], on=keys)
    wide = own.pivot(index=[*keys, "t"], columns="metric", values="value")
    ranked = wide[["loss", "mia_auc"]].groupby(level=keys).rank()
    rho = ranked.groupby(level=keys).apply(lambda c: c.loss.corr(c.mia_auc)).dropna()
    # Membership inference falls where the loss rises: agreement is a correlation of -1.
    return Finding(
        "Metrics fluctuate differently along one low-loss path, membership inference most of all.",
        "1 + Spearman's ρ of forget loss and membership AUC along t (0: they always agree)",
        f"{yes.groupby(['a', 'b']).ngroups} connected Bézier curves",
        (1 + rho.groupby("seed").mean()).to_numpy(),
        0.1,
        "what-metrics-see",
        f"median over curves {1 + rho.median():.2f}",
    )


def _moved(table: pd.DataFrame, name: str) -> Finding:
    barriers = pair_barriers(table)
    by_seed = barriers.assign(m=barriers.a.str.split().str[0])
    base = by_seed[(by_seed.condition == "Rand") & (by_seed.m != "retrain")]
    means = [
        own.groupby(["m", "seed"]).barrier.mean()
        for own in (by_seed[by_seed.condition == name], base)
    ]
    change = (means[0] - means[1]).unstack("m")
    away = pair_barriers(of(table, "Original")).barrier.mean()
    return Finding(
        f"{'Curriculum' if name == 'CL' else 'Second-order'} training moves solutions into "
        "other basins.",
        "linear barrier between without and with, less that between two seeds (nats)",
        f"{change.shape[1]} methods ({name}, Rand)",
        change.mean(axis=1).to_numpy(),
        0.1,
        "curriculum" if name == "CL" else "second-order",
        f"largest for `{change.mean().idxmax()}` ({change.mean().max():.2f}); between the "
        f"original and the unlearned models it is {away:.2f}",
    )


@claim
def curriculum_moves(table: pd.DataFrame) -> Finding:
    """Claim 3, curriculum."""
    return _moved(table, "CL")


@claim
def second_order_moves(table: pd.DataFrame) -> Finding:
    """Claim 3, second order."""
    return _moved(table, "SO")


@claim
def linear_connectivity_groups_methods(table: pd.DataFrame) -> Finding:
    """Claim 4, first half."""
    own = pair_barriers(of(table, "Met")).rename(columns={"barrier": "value"})
    agreement = [
        cluster_stability(own[own.seed.isin(part)], 3)
        for part in (own.seed.unique()[own.seed.unique() != left] for left in own.seed.unique())
    ]
    return Finding(
        "Linear connectivity splits methods into groups.",
        "adjusted Rand index of three clusters by linear barrier, each seed against the mean",
        f"{own.groupby(['a', 'b']).ngroups} pairs (Met), leaving out one seed at a time",
        np.array(agreement),
        0.5,
        "who-is-like-whom",
    )


@claim
def approximate_methods_differ_from_retraining(table: pd.DataFrame) -> Finding:
    """Claim 4, second half."""
    own = pair_barriers(of(table, "Oracle"))
    other = own[own.a.str.startswith("retrain ")].groupby("seed").barrier.mean()
    same = own[own.a.str.startswith("retrain_same")].groupby("seed").barrier.mean()
    start = pair_barriers(of(table, "Original"))
    start = start[start.b.str.startswith("retrain ")].groupby("seed").barrier.mean()
    return Finding(
        "Most approximate methods are mechanistically distinct from retraining.",
        "linear barrier to the retrained model of another initialisation (nats)",
        f"{own.b.nunique()} methods (Oracle)",
        other.to_numpy(),
        0.1,
        "retrained-oracle",
        f"retrained from the same initialisation {same.mean():.2f}; between the original itself "
        f"and the retrained model {start.mean():.2f}",
        "initialisation" if start.mean() > 0.5 * other.mean() else "",
    )


@claim
def unlearning_moves_nonlinearly(table: pd.DataFrame) -> Finding:
    """Claim 5, as far as the straight path can show it."""
    own = of(table, "Original")
    own = own[(own.curve == "linear") & (own.metric == "accuracy") & (own.split == "forget")]
    lines = measures(own[~own.b.str.startswith("retrain")])
    bend = lines[["barrier", "dip"]].max(axis=1) / (lines.start - lines.end).abs().clip(lower=0.02)
    return Finding(
        "Unlearning moves nonlinearly from the original to the unlearned model.",
        "largest departure of forget accuracy from a straight line in t, over its total change",
        f"{lines.b.nunique()} methods (Original, straight path)",
        bend.groupby(lines.seed).mean().to_numpy(),
        0.25,
        "from-the-original",
        "a straight path in weights; a chord says nothing of the way that training took",
    )


@claim
def smoothness_tracks_difficulty(table: pd.DataFrame) -> Finding:
    """Claim 7, over methods."""
    own = of(table, "Rand")
    own = _approximate(own[(own.curve == "linear") & (own.split == "forget")])
    lines = measures(own).set_index(["a", "seed", "metric"])
    hard = lines.start.xs("js_to_oracle", level="metric").unstack("a")
    rough = {m: lines.roughness.xs(m, level="metric").unstack("a") for m in ("loss", "accuracy")}
    rho = {m: hard.corrwith(r, axis=1, method="spearman") for m, r in rough.items()}
    return Finding(
        "The smoothness of the path tracks how hard the unlearning is.",
        "Spearman's ρ over methods of distance to the oracle and roughness of the forget loss",
        f"{hard.shape[1]} methods (Rand, straight path)",
        rho["loss"].to_numpy(),
        0.3,
        "how-much-is-forgotten",
        f"with the roughness of the accuracy in its place, ρ = {rho['accuracy'].mean():.2f}",
        floor=0.0,
    )

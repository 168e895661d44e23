"""The paper's claims: what each comes to on the evidence, as a row of the scorecard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from mcu_lite.book.effects import (
    approximate,
    average_gains,
    best_less_worst,
    disagreement,
    largest_bend,
    needed_tolerance,
    of,
    pair_barriers,
)
from mcu_lite.book.evidence import Evidence
from mcu_lite.book.scorecard import Finding
from mcu_lite.metrics.connectivity import is_connected, measures
from mcu_lite.metrics.similarity import cluster_agreement
from mcu_lite.metrics.statistics import interval

CLAIMS: list[Callable[[Evidence], Finding]] = []
CUTS = (2, 3, 4, 5)


def claim(function: Callable[[Evidence], Finding]) -> Callable[[Evidence], Finding]:
    """Register a function of the evidence as a claim."""
    CLAIMS.append(function)
    return function


@claim
def paths_exist(evidence: Evidence) -> Finding:
    """Claim 1, first half."""
    own = is_connected(approximate(of(evidence.grid, "Rand", "Met")))
    any_path = own.groupby(["a", "b", "seed"]).connected.max().astype(float).unstack("seed")
    # A few pairs that somebody chose say less about pairs than seeds do: the fewer are resampled.
    few = len(any_path) < any_path.shape[1]
    line = own[own.curve == "linear"].connected.mean()
    fitted = own[(own.condition == "Rand") & (own.curve == "bezier")].connected.mean()
    retain = is_connected(evidence.retain_only).connected.mean()
    return Finding(
        "Low-loss paths often exist between unlearned models.",
        "share of pairs connected on the line or the curve, ε = 0.1 nats",
        f"{len(any_path)} pairs of approximate methods (Rand, Met)"
        + (", over which the interval is" if few else ""),
        any_path.mean(axis=1 if few else 0).to_numpy(),
        0.5,
        "different-methods",
        f"the straight line alone connects {line:.0%}; of two seeds of one method (Rand), curves "
        f"that were fitted on the unlearning objective connect {fitted:.0%}, on the retain loss "
        f"alone {retain:.0%}",
        floor=0.5,
    )


@claim
def paths_depend_on_the_method(evidence: Evidence) -> Finding:
    """Claim 1, second half."""
    own = is_connected(of(evidence.grid, "Met"))
    ends = pd.concat([own.assign(m=own[side].str.split().str[0]) for side in "ab"])
    share = ends.groupby(["seed", "m"]).connected.mean().astype(float).unstack()
    mean = share.mean().sort_values()
    return Finding(
        "Whether a path exists depends on the method.",
        "share of connected pairs of the best method less that of the worst, both chosen on the "
        "other seeds",
        f"{share.shape[1]} methods, all pairs (Met)",
        best_less_worst(share),
        0.2,
        "different-methods",
        f"from {mean.iloc[0]:.0%} (`{mean.index[0]}`) to {mean.iloc[-1]:.0%} (`{mean.index[-1]}`)",
        floor=0.1,
    )


@claim
def metrics_fluctuate_differently(evidence: Evidence) -> Finding:
    """Claim 2, first half, on the pair of metrics that it names."""
    line, count = disagreement(evidence.grid, "linear")
    curve, connected = disagreement(evidence.grid, "bezier")
    return Finding(
        "Metrics fluctuate differently along one low-loss path.",
        "1 + Spearman's ρ of forget loss and membership AUC along t (0: they always agree)",
        f"{count} straight lines, on the seeds that they connect",
        line.to_numpy(),
        0.1,
        "what-metrics-see",
        "on connected curves, which go on unlearning in their middle, "
        + (f"{curve.mean():z.2f}" if connected else "no number: there are none"),
        floor=0.05,
    )


def _moved(evidence: Evidence, name: str, chapter: str) -> Finding:
    rand = needed_tolerance(approximate(of(evidence.grid, "Rand")))["Rand"].unstack()
    change = needed_tolerance(of(evidence.grid, name))[name].unstack() - rand
    equal = (needed_tolerance(evidence.matched)[f"{name} matched"].unstack() - rand).dropna(
        how="all"
    )
    before, after = change.loc[equal.index].mean(axis=None), equal.mean(axis=None)
    barriers = pair_barriers(of(evidence.grid, name, "Rand"))
    retain = barriers[~barriers.a.str.startswith("retrain")].groupby("condition").barrier.mean()
    return Finding(
        f"{'Curriculum' if name == 'CL' else 'Second-order'} training moves solutions into "
        "other basins.",
        "ε that the line needs between without and with, less that between two seeds (nats)",
        f"{len(change)} methods ({name}, Rand)",
        change.mean().to_numpy(),
        0.1,
        chapter,
        f"for {len(equal)} methods {before:z.2f}, and {after:z.2f} where both ends moved equally "
        f"far; in the retain loss alone {retain[name] - retain['Rand']:z.2f}",
        "distance" if after < before / 2 else "",
    )


@claim
def curriculum_moves(evidence: Evidence) -> Finding:
    """Claim 3, curriculum."""
    return _moved(evidence, "CL", "curriculum")


@claim
def second_order_moves(evidence: Evidence) -> Finding:
    """Claim 3, second order."""
    return _moved(evidence, "SO", "second-order")


@claim
def linear_connectivity_groups_methods(evidence: Evidence) -> Finding:
    """Claim 4, first half."""
    met = of(evidence.grid, "Met")
    met = met[met.curve == "linear"]
    own = is_connected(met, tolerance=0).rename(columns={"by": "value"})
    own["value"] = own.value.clip(lower=0)
    own = own.groupby("seed").filter(lambda pairs: pairs.value.notna().all())
    ends = met[(met.metric == "loss") & (met.split == "forget") & met.t.isin([0, 1])]
    ends = ends.pivot(index=["a", "b", "seed"], columns="t", values="value")
    unequal = (ends[0] - ends[1]).abs().rename("value").reset_index()

    def agreement(one: pd.DataFrame, other: pd.DataFrame) -> float:
        return np.mean([cluster_agreement(one, other, groups) for groups in CUTS])

    same = agreement(own, unequal)
    return Finding(
        "Linear connectivity splits methods into groups.",
        "adjusted Rand index of the clusters by the ε that the line needs, each seed against the "
        f"mean of the others (cut into {CUTS[0]} to {CUTS[-1]} groups)",
        f"{own.groupby(['a', 'b']).ngroups} pairs (Met)",
        np.array([agreement(own[own.seed != s], own[own.seed == s]) for s in own.seed.unique()]),
        0.5,
        "who-is-like-whom",
        f"with clusters by the difference of the forget losses alone they agree by {same:z.2f}",
        "the degree of forgetting" if same > 0.5 else "",
        floor=0.25,
    )


@claim
def approximate_methods_differ_from_retraining(evidence: Evidence) -> Finding:
    """Claim 4, second half."""
    own = pair_barriers(of(evidence.grid, "Oracle"))
    own = own[~own.b.str.startswith("retrain")]
    other = own[own.a.str.startswith("retrain ")].groupby("seed").barrier.mean()
    same = own[own.a.str.startswith("retrain_same")].groupby("seed").barrier.mean()
    start = pair_barriers(of(evidence.grid, "Original"))
    start = start[start.b.str.startswith("retrain")].groupby(["b", "seed"]).barrier.mean()
    start = start.groupby("b").mean().rename(lambda b: b.split()[0])
    return Finding(
        "Most approximate methods are mechanistically distinct from retraining.",
        "retain barrier on the line to the retrained model of another initialisation (nats)",
        f"{own.b.nunique()} methods (Oracle)",
        other.to_numpy(),
        0.1,
        "retrained-oracle",
        f"retrained from the same initialisation {same.mean():z.2f}; the original itself lies as "
        f"far from both as {' and '.join(f'{v:z.2f} (`{b}`)' for b, v in start.items())}",
        "initialisation" if interval(same.to_numpy())[0] <= 0.1 else "",
        floor=0.05,
    )


@claim
def unlearning_moves_nonlinearly(evidence: Evidence) -> Finding:
    """Claim 5, as far as the straight path can show it."""
    own = of(evidence.grid, "Original")
    own = own[(own.curve == "linear") & own.b.isin(evidence.mixed.b)]
    bend, mixed = largest_bend(own), largest_bend(evidence.mixed)
    return Finding(
        "Unlearning moves nonlinearly from the original to the unlearned model.",
        "largest departure of forget accuracy from a straight line in t, over its total change",
        f"{own.b.nunique()} methods (Original, straight path)",
        bend.to_numpy(),
        0.25,
        "from-the-original",
        f"{mixed.mean():z.2f} if the logits of the two ends are mixed in place of their weights",
        "the metric's own bend" if mixed.mean() > bend.mean() / 2 else "",
        floor=0.125,
    )


@claim
def ensembling_generalises(evidence: Evidence) -> Finding:
    """Claim 6, first half."""
    gains, against, floor = average_gains(evidence, "accuracy", 1, 0.005)
    return Finding(
        "Ensembling along the path improves generalisation.",
        "accuracy on the other classes of averages along paths, less that of one model that got "
        "as many steps",
        "averages of 5 weights or predictions on 2 paths, whole class forgotten",
        gains,
        0.005,
        "relearning",
        against,
        floor=floor,
    )


@claim
def ensembling_resists_relearning(evidence: Evidence) -> Finding:
    """Claim 6, second half."""
    gains, against, floor = average_gains(evidence, "area", -1, 0.02)
    return Finding(
        "Ensembling along the path resists relearning.",
        "area under the accuracy on the forgotten class while it is relearned: that of one "
        "model that got as many steps, less that of averages along paths",
        "averages of 5 weights or predictions on 2 paths, whole class forgotten",
        gains,
        0.02,
        "relearning",
        against,
        floor=floor,
    )


@claim
def smoothness_tracks_difficulty(evidence: Evidence) -> Finding:
    """Claim 7, over methods."""
    own = of(evidence.grid, "Rand")
    own = approximate(own[(own.curve == "linear") & (own.split == "forget")])
    lines = measures(own).set_index(["a", "seed", "metric"])
    hard = lines.start.xs("js_to_oracle", level="metric").unstack("a")
    rough = {m: lines.roughness.xs(m, level="metric").unstack("a") for m in ("loss", "accuracy")}
    # Where the paths of all methods are equally smooth, say straight, there is nothing to rank.
    ranked = {m: r[r.nunique(axis=1) > 1].reindex(r.index) for m, r in rough.items()}
    rho = {m: hard.corrwith(r, axis=1, method="spearman") for m, r in ranked.items()}
    return Finding(
        "The smoothness of the path tracks how hard the unlearning is.",
        "Spearman's ρ over methods of distance to the oracle and roughness of the forget loss",
        f"{hard.shape[1]} methods (Rand, straight path)",
        rho["loss"].to_numpy(),
        0.3,
        "how-much-is-forgotten",
        f"with the roughness of the accuracy in its place, ρ = {rho['accuracy'].mean():z.2f}; the "
        "task is the same for all methods, so a negative ρ would not contradict the claim",
        floor=-np.inf,
    )


def elsewhere(function: Callable, data: str, chapter: str) -> Callable[[Evidence], Finding]:
    """Judge the same claim, in the same way, on the evidence from other data."""

    def judged(evidence: Evidence) -> Finding:
        own = function(getattr(evidence, data))
        said = f"On {data}: {own.claim[0].lower()}{own.claim[1:]}"
        return replace(own, claim=said, chapter=chapter)

    judged.__doc__ = f"{function.__doc__.rstrip('.')}, on {data}."
    return judged


ON_TEXT = (
    paths_exist,
    paths_depend_on_the_method,
    metrics_fluctuate_differently,
    approximate_methods_differ_from_retraining,
    smoothness_tracks_difficulty,
)
CLAIMS += [elsewhere(claimed, "text", "language") for claimed in ON_TEXT]
CLAIMS.append(elsewhere(paths_exist, "photographs", "real-size"))

"""The paper's claims: what each comes to on the evidence, raw and net of its control, by seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from mcu_lite.book.claims import CLAIMS, Claim, claim
from mcu_lite.book.effects import (
    approximate,
    barriers,
    best_less_worst,
    by_method,
    connected,
    correlations,
    departure,
    gain_over_best,
    halves,
    needed_tolerance,
    of,
)
from mcu_lite.book.evidence import Evidence
from mcu_lite.metrics.connectivity import is_connected, measures
from mcu_lite.metrics.similarity import agreement_of, clusters

CUTS = (2, 3, 4, 5)


@claim(
    "Low-loss paths often exist between unlearned models.",
    test="share of pairs of approximate methods that the straight line, or a curve fitted on both "
    "inequalities, connects within 0.1 nats, less one half",
    control="one half, which is what *often* says",
    confounder="the meaning of often",
    least=0.1,
    why="below 60 % nobody would say often",
    chapter="different-methods",
)
def paths_exist(evidence: Evidence) -> pd.DataFrame:
    """Claim 1, first half."""
    lines = approximate(of(evidence.lines, "Rand", "Met"))
    share = connected(lines, evidence.fitted).groupby("seed").mean()
    line = connected(lines).groupby("seed").mean()
    return pd.DataFrame({"raw": share - 0.5, "net": share - 0.5, "by the line alone": line})


@claim(
    "Whether a path exists depends on the method.",
    test="share of connected pairs of the best method less that of the worst, chosen on one half "
    "of the seeds and judged on the other",
    control="the choice: judged on other seeds, 0 if all methods are alike",
    confounder="the choice of the extremes",
    least=0.2,
    why="one pair in five",
    chapter="different-methods",
)
def paths_depend_on_the_method(evidence: Evidence) -> pd.DataFrame:
    """Claim 1, second half, on the line or a fitted curve."""
    met = (of(table, "Met") for table in (evidence.lines, evidence.fitted))
    return _chosen(by_method(connected(*met)))


@claim(
    "Whether the straight line is a path depends on the method.",
    test="the same share, on straight lines alone",
    control="the choice: judged on other seeds, 0 if all methods are alike",
    confounder="the choice of the extremes",
    least=0.2,
    why="one pair in five",
    chapter="different-methods",
)
def lines_depend_on_the_method(evidence: Evidence) -> pd.DataFrame:
    """Claim 1, second half, on the straight line."""
    return _chosen(by_method(connected(of(evidence.lines, "Met"))))


def _chosen(share: pd.DataFrame) -> pd.DataFrame:
    rest = halves(share)[1]
    return pd.DataFrame({"raw": rest.max(axis=1) - rest.min(axis=1), "net": best_less_worst(share)})


@claim(
    "Metrics fluctuate differently along one low-loss path.",
    test="agreement along t of a metric on two halves of the forget set with itself, less that of "
    "forget loss and membership AUC on two halves (Spearman's ρ)",
    control="a metric on one half of the forget set disagrees with itself on the other",
    confounder="the noise of small forget sets",
    least=0.1,
    why="a tenth of full agreement",
    chapter="what-metrics-see",
)
def metrics_fluctuate_differently(evidence: Evidence) -> pd.DataFrame:
    """Claim 2, first half, on the pair of metrics that it names, along connected curves.

    Noise lowers the agreement of two metrics by the root of the product of their agreements with
    themselves (Spearman, 1904); the net effect is 0 where nothing but noise tells them apart.
    """
    keys = ["condition", "a", "b", "curve", "seed"]
    judged = is_connected(evidence.fitted)
    low = judged[judged.connected.fillna(False).astype(bool)][keys]
    pairs = [("loss_even", "loss_odd"), ("auc_even", "auc_odd")]
    crossed = [("loss_even", "auc_odd"), ("loss_odd", "auc_even")]
    rho = correlations(evidence.fitted.merge(low, on=keys), pairs + crossed)
    within = np.sqrt(rho[pairs].clip(lower=0).prod(axis=1))
    # Membership inference falls where the loss rises: agreement is a correlation of -1.
    between = -rho[crossed].mean(axis=1)
    return pd.DataFrame({"raw": 1 - between, "net": within - between, "within one metric": within})


def _moved(evidence: Evidence, name: str) -> pd.DataFrame:
    plain = needed_tolerance(of(evidence.lines, "Rand"))
    on, equal = (needed_tolerance(of(evidence.lines, c)) for c in (name, f"{name} matched"))
    change, net = ((own - plain[own.columns]).mean(axis=1) for own in (on, equal))
    return pd.DataFrame({"raw": change, "net": net})


MOVED = {
    "test": "ε that the straight line needs between one seed without and another with it, both "
    "moved equally far, less that between two seeds without (nats)",
    "control": "the distance: with the switch on, models also move further or less far",
    "confounder": "distance",
    "least": 0.1,
    "why": "the tolerance ε of the definition",
}


@claim("Curriculum training moves solutions into other basins.", chapter="curriculum", **MOVED)
def curriculum_moves(evidence: Evidence) -> pd.DataFrame:
    """Claim 3, curriculum."""
    return _moved(evidence, "CL")


@claim("Second-order training moves solutions into other basins.", chapter="second-order", **MOVED)
def second_order_moves(evidence: Evidence) -> pd.DataFrame:
    """Claim 3, second order."""
    return _moved(evidence, "SO")


@claim(
    "Linear connectivity splits methods into groups.",
    test="how well clusters by the ε that the line needs, on one half of the seeds, return on each "
    "other seed, less how well clusters by the difference of forget losses foretell them "
    "(adjusted Rand index, 0 by chance)",
    control="the degree of forgetting: how far the forget losses of the two ends are apart",
    confounder="the degree of forgetting",
    least=0.2,
    why="a fifth of perfect agreement",
    chapter="who-is-like-whom",
)
def linear_connectivity_groups_methods(evidence: Evidence) -> pd.DataFrame:
    """Claim 4, first half."""
    table = of(evidence.lines, "Met")
    needed = is_connected(table, tolerance=0).rename(columns={"by": "value"})
    needed = needed.assign(value=needed.value.clip(lower=0))
    needed = needed.groupby("seed").filter(lambda pairs: pairs.value.notna().all())
    ends = table[(table.metric == "loss") & (table.split == "forget") & table.t.isin([0, 1])]
    ends = ends.pivot(index=["a", "b", "seed"], columns="t", values="value")
    unequal = (ends[0] - ends[1]).abs().rename("value").reset_index()
    first, rest = halves(pd.Series(needed.seed.unique()))

    seen = {s: clusters(needed[needed.seed == s], CUTS) for s in rest}

    def foretold(by: pd.DataFrame) -> pd.Series:
        reference = clusters(by[by.seed.isin(first)], CUTS)
        return pd.Series({s: agreement_of(reference, own) for s, own in seen.items()})

    if first.empty:
        return pd.DataFrame({"raw": np.nan, "net": np.nan}, index=rest)
    raw = foretold(needed)
    return pd.DataFrame({"raw": raw, "net": raw - foretold(unequal)})


@claim(
    "Most approximate methods are mechanistically distinct from retraining.",
    test="retain barrier on the line from a retrained model to approximate methods, less that on "
    "the line to the original model, which forgot nothing (nats)",
    control="the retrained model's other initialisation, which the original is as far from",
    confounder="initialisation",
    least=0.1,
    why="the tolerance ε of the definition",
    chapter="retrained-oracle",
)
def approximate_methods_differ_from_retraining(evidence: Evidence) -> pd.DataFrame:
    """Claim 4, second half."""
    oracle = barriers(of(evidence.lines, "Oracle")).reset_index()
    oracle = oracle[~oracle.b.str.startswith("retrain")]
    raw = oracle[oracle.a.str.startswith("retrain ")].groupby("seed").barrier.mean()
    same = oracle[oracle.a.str.startswith("retrain_same")].groupby("seed").barrier.mean()
    start = barriers(of(evidence.lines, "Original")).reset_index()
    start = start[start.b.str.startswith("retrain ")].groupby("seed").barrier.mean()
    return pd.DataFrame({"raw": raw, "net": raw - start, "from the same initialisation": same})


@claim(
    "Unlearning moves nonlinearly from the original to the unlearned model.",
    test="mean departure of forget accuracy from a straight line in t over its change, on the line "
    "from the original, less the same when logits are mixed in place of weights",
    control="the metric's own bend: accuracy is no linear function of logits",
    confounder="the metric's own bend",
    least=0.05,
    why="a twentieth of the whole change",
    chapter="from-the-original",
)
def unlearning_moves_nonlinearly(evidence: Evidence) -> pd.DataFrame:
    """Claim 5, as far as the straight path can show it."""
    own = of(evidence.lines, "Original")
    raw = departure(own[own.b.isin(evidence.mixed.b)])
    return pd.DataFrame({"raw": raw, "net": raw - departure(evidence.mixed)})


def _gains(evidence: Evidence, column: str, sign: int) -> pd.DataFrame:
    values = sign * evidence.averages.pivot(index="seed", columns="model", values=column)
    return gain_over_best(values).set_axis(["raw", "net"], axis=1)


ENSEMBLED = {
    "control": "single models with as many steps, of which the best is chosen on one half of the "
    "seeds and compared on the other",
    "confounder": "the steps that paths cost",
    "chapter": "relearning",
}


@claim(
    "Ensembling along the path improves generalisation.",
    test="accuracy on the other classes of averages of five points of a path, less that of the "
    "best single model that got as many steps; a whole class is forgotten",
    least=0.005,
    why="half a per cent of accuracy",
    **ENSEMBLED,
)
def ensembling_generalises(evidence: Evidence) -> pd.DataFrame:
    """Claim 6, first half."""
    return _gains(evidence, "accuracy", 1)


@claim(
    "Ensembling along the path resists relearning.",
    test="area under the accuracy on the forgotten class while it is relearned, of the best single "
    "model that got as many steps, less that of averages of five points of a path",
    least=0.02,
    why="a fiftieth of the full area",
    **ENSEMBLED,
)
def ensembling_resists_relearning(evidence: Evidence) -> pd.DataFrame:
    """Claim 6, second half."""
    return _gains(evidence, "area", -1)


@claim(
    "The smoothness of the path tracks how hard the unlearning is.",
    test="Spearman's ρ over eight tasks of the digits, between distance to the oracle after "
    "unlearning and roughness on the line between two seeds, mean over the definitions",
    control="none is needed: 0 where the one says nothing about the other",
    confounder="nothing",
    least=0.3,
    why="a tenth of the variance",
    chapter="how-much-is-forgotten",
)
def smoothness_tracks_difficulty(evidence: Evidence) -> pd.DataFrame:
    """Claim 7, over tasks; two definitions of each word, all named beforehand.

    Hard: far from the oracle's answers on what is forgotten, or on the test set. Rough: total
    variation of forget loss beyond a straight line, or its barrier and dip together.
    """
    own = evidence.tasks[evidence.tasks.metric.isin(["loss", "js_to_oracle"])]
    lines = measures(own).assign(hump=lambda m: m.barrier + m.dip)
    keys = ["metric", "split", "task", "seed"]
    lines = lines.groupby(keys)[["end", "roughness", "hump"]].mean()
    hard = {s: lines.end.loc["js_to_oracle", s].unstack("task") for s in ("forget", "test")}
    rough = {r: lines[r].loc["loss", "forget"].unstack("task") for r in ("roughness", "hump")}
    rho = {
        f"{h}, {r}": hard[h].corrwith(rough[r], axis=1, method="spearman")
        for h in hard
        for r in rough
    }
    mean = pd.DataFrame(rho).mean(axis=1)
    return pd.DataFrame({"raw": mean, "net": mean} | rho)


ON_TEXT = (
    "paths_exist",
    "lines_depend_on_the_method",
    "metrics_fluctuate_differently",
    "approximate_methods_differ_from_retraining",
)


def _restated(own: Claim) -> Claim:
    """The same claim, judged in the same way on text."""
    says = f"On text: {own.says[0].lower()}{own.says[1:]}"
    words = {"name": f"text_{own.name}", "says": says, "chapter": "language"}
    return replace(own, effects=lambda evidence: own.effects(evidence.text), **words)


CLAIMS |= {f"text_{name}": _restated(CLAIMS[name]) for name in ON_TEXT}

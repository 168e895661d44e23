"""Every claim is decided on simulated evidence: without an effect, with one of 2δ, with none."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from mcu_lite.book.evidence import TASKS, Evidence
from mcu_lite.book.paper_claims import CLAIMS
from mcu_lite.book.verdicts import OPPOSITE, SUPPORTED, decide

SEEDS = 20
METHODS = [f"m{i}" for i in range(5)]
PAIRS = list(combinations(METHODS, 2))
ALL = list(combinations([f"m{i}" for i in range(8)], 2))
TS = np.linspace(0, 1, 5)
TENT = 1 - np.abs(2 * TS - 1)


def table(n, condition, ends, values, curve="linear"):
    """Curves of n seeds between k pairs of names; values {(split, metric): array (k, n, T)}."""
    frames = []
    for (split, metric), own in values.items():
        own = np.broadcast_to(own, (len(ends), n, len(TS)))
        a, b = (np.repeat([e[side] for e in ends], n * len(TS)) for side in (0, 1))
        keys = {"condition": condition, "a": a, "b": b, "curve": curve, "objective": ""}
        t, seed = (
            np.tile(TS, len(ends) * n),
            np.tile(np.repeat(range(n), len(TS)), len(ends)),
        )
        own = {"t": t, "seed": seed, "split": split, "metric": metric, "value": own.ravel()}
        frames.append(pd.DataFrame(keys | own))
    return pd.concat(frames, ignore_index=True)


def losses(heights):
    """Retain losses with tents of these heights, (k, seeds); the forget loss is flat."""
    return {("retain", "loss"): np.asarray(heights)[..., None] * TENT, ("forget", "loss"): 0.0}


def named(pairs, seeds=(0, 0)):
    return [tuple(f"{m} seed={s}" for m, s in zip(pair, seeds)) for pair in pairs]


def existence(rng, n, effect, noise):
    """Pairs are connected with a probability of one half and the effect."""
    missing = rng.random((len(ALL), n)) > 0.5 + effect
    own = table(n, "Met", named(ALL), losses(missing))
    return Evidence(own, own.assign(curve="bezier"))


def dependence(rng, n, effect, noise):
    """The paths of one method of eight break more often."""
    p = np.full((len(ALL), 1), 0.97)
    p[["m0" in pair for pair in ALL]] -= (
        effect * 7 / 6
    )  # one of the others' seven pairs breaks, too
    own = table(n, "Met", named(ALL), losses(rng.random((len(ALL), n)) > p))
    return Evidence(own, own.assign(curve="bezier"))


def fluctuation(rng, n, effect, noise):
    """Two latent curves, seen on two halves with noise; they agree less by the effect."""
    k, t = len(PAIRS), np.linspace(0, 1, len(TS))
    one, other = rng.normal(size=(2, k, n, len(t)))
    rho = 1 - 4 * effect
    two = rho * one + np.sqrt(1 - rho**2) * other
    seen = {("retain", "loss"): 0.0, ("forget", "loss"): 0.0}
    for half in ("even", "odd"):
        for name, latent, sign in (("loss", one, 1), ("auc", two, -1)):
            own = sign * latent + rng.normal(0, 10 * noise + 1e-9, latent.shape)
            seen["forget", f"{name}_{half}"] = own
    return Evidence(pd.DataFrame(), table(n, "Met", named(PAIRS), seen, "bezier"))


def moved(name):
    def simulate(rng, n, effect, noise):
        def heights(mean):
            return np.abs(mean + rng.normal(0, noise, (len(METHODS), n)))

        same = [(m, m) for m in METHODS]
        parts = {"Rand": 0.6, name: 0.6 + effect, f"{name} matched": 0.6 + effect}
        ends = named(same, (0, 1))
        return Evidence(pd.concat(table(n, c, ends, losses(heights(h))) for c, h in parts.items()))

    return simulate


def groups(rng, n, effect, noise):
    """Two groups of methods, which are the same in a share of the seeds; elsewhere others."""
    methods, side = [f"m{i}" for i in range(6)], np.array([0, 0, 0, 1, 1, 1])
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    heights = rng.uniform(0, 0.1, (len(pairs), n))
    for s in range(n):
        own = side if rng.random() < 2.5 * effect else rng.permutation(side)
        heights[:, s] += [own[i] != own[j] for i, j in pairs]
    forgotten = {("forget", "loss"): rng.random((len(pairs), n, 1)) * TS}
    ends = named([(methods[i], methods[j]) for i, j in pairs])
    return Evidence(table(n, "Met", ends, losses(heights) | forgotten))


def retraining(rng, n, effect, noise):
    far = rng.uniform(0.5, 1.5, n)
    ends = [("retrain seed=0", f"{m} seed=0") for m in METHODS]
    heights = far + effect + rng.normal(0, noise, (len(METHODS), n))
    same = [("retrain_same seed=0", f"{m} seed=0") for m in METHODS]
    parts = [
        table(n, "Oracle", ends, losses(heights)),
        table(n, "Oracle", same, losses(0 * heights)),
        table(n, "Original", [("original seed=0", "retrain seed=0")], losses(far[None])),
    ]
    return Evidence(pd.concat(parts))


def nonlinear(rng, n, effect, noise):
    ends = [("original seed=0", f"{m} seed=0") for m in METHODS]

    def bent(height):
        own = height + rng.normal(0, noise, (len(METHODS), n, 1))
        values = 1 - TS + own * TENT / np.mean(TENT)
        return table(n, "Original", ends, {("forget", "accuracy"): values})

    return Evidence(bent(0.3 + effect), mixed=bent(0.3))


def ensembles(column, sign):
    def simulate(rng, n, effect, noise):
        means = {"budget a": 0.5, "budget b": 0.5, "average c": 0.5 + sign * effect}
        frames = [
            pd.DataFrame({"model": m, "seed": range(n), column: v + rng.normal(0, noise, n)})
            for m, v in means.items()
        ]
        return Evidence(pd.DataFrame(), averages=pd.concat(frames))

    return simulate


def smoothness(rng, n, effect, noise):
    parts = []
    for task in TASKS:
        hard, other = rng.normal(size=(2, 1, n, 1))
        rough = effect * 1.2 * hard + np.sqrt(max(0.0, 1 - (effect * 1.2) ** 2)) * other
        values = {("forget", "loss"): np.exp(rough) * TENT}
        values |= {(s, "js_to_oracle"): hard * np.ones(len(TS)) for s in ("forget", "test")}
        parts.append(table(n, "Rand", named([("m0", "m0")], (0, 1)), values).assign(task=task))
    return Evidence(pd.DataFrame(), tasks=pd.concat(parts))


SIMULATED = {
    "paths_exist": existence,
    "paths_depend_on_the_method": dependence,
    "lines_depend_on_the_method": dependence,
    "metrics_fluctuate_differently": fluctuation,
    "curriculum_moves": moved("CL"),
    "second_order_moves": moved("SO"),
    "linear_connectivity_groups_methods": groups,
    "approximate_methods_differ_from_retraining": retraining,
    "unlearning_moves_nonlinearly": nonlinear,
    "ensembling_generalises": ensembles("accuracy", 1),
    "ensembling_resists_relearning": ensembles("area", -1),
    "smoothness_tracks_difficulty": smoothness,
}
NOISE = {"ensembling_generalises": 0.0025, "ensembling_resists_relearning": 0.01}


HALVED = {
    "paths_depend_on_the_method",
    "lines_depend_on_the_method",
    "linear_connectivity_groups_methods",
    "ensembling_generalises",
    "ensembling_resists_relearning",
}
"""Claims that choose on one half of the seeds; of others, a seed says nothing about another."""


FEW = {"linear_connectivity_groups_methods": 8}
"""Seeds where those of a study would take minutes: clusters are slow."""


def verdicts(name, effect, noise, runs, seed, seeds=SEEDS):
    claim, rng = CLAIMS[name], np.random.default_rng(seed)
    if name in HALVED:
        studies = (SIMULATED[name](rng, seeds, effect, noise) for _ in range(runs))
        effects = [claim.effects(study) for study in studies]
    else:
        everything = claim.effects(SIMULATED[name](rng, seeds * runs, effect, noise))
        effects = [everything.iloc[i * seeds : (i + 1) * seeds] for i in range(runs)]
    return [decide([claim.finding(own)])[0][0] for own in effects]


def test_every_claim_is_simulated():
    assert set(SIMULATED) == {n for n in CLAIMS if not n.startswith("text_")}


@pytest.mark.parametrize("name", SIMULATED)
def test_without_an_effect_hardly_ever_more_is_said(name):
    study = {"noise": NOISE.get(name, 0.1), "seeds": FEW.get(name, SEEDS)}
    found = verdicts(name, 0.0, runs=200, seed=0, **study)
    assert sum(v in (SUPPORTED, OPPOSITE) for v in found) <= 10


@pytest.mark.parametrize("name", SIMULATED)
def test_an_effect_of_twice_the_least_is_found(name):
    found = verdicts(name, 2 * CLAIMS[name].least, NOISE.get(name, 0.1), runs=50, seed=1)
    assert found.count(SUPPORTED) >= 40

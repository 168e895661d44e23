"""Every claim is decided on simulated evidence: without an effect, with one of 2δ, with none."""

import numpy as np
import pandas as pd
import pytest

from mcu_lite.book.evidence import TASKS, Evidence
from mcu_lite.book.paper_claims import CLAIMS
from mcu_lite.book.verdicts import OPPOSITE, SUPPORTED, decide

SEEDS = 20
METHODS = [f"m{i}" for i in range(6)]
PAIRS = [(a, b) for i, a in enumerate(METHODS) for b in METHODS[i + 1 :]]
TS = np.linspace(0, 1, 5)
TENT = 1 - np.abs(2 * TS - 1)


def table(condition, ends, values, curve="linear"):
    """Curves between ends (k pairs of names); values {(split, metric): array (k, seeds, T)}."""
    frames = []
    for (split, metric), own in values.items():
        own = np.broadcast_to(own, (len(ends), SEEDS, len(TS)))
        a, b = (np.repeat([e[side] for e in ends], SEEDS * len(TS)) for side in (0, 1))
        keys = {"condition": condition, "a": a, "b": b, "curve": curve, "objective": ""}
        t, seed = (
            np.tile(TS, len(ends) * SEEDS),
            np.tile(np.repeat(range(SEEDS), len(TS)), len(ends)),
        )
        own = {"t": t, "seed": seed, "split": split, "metric": metric, "value": own.ravel()}
        frames.append(pd.DataFrame(keys | own))
    return pd.concat(frames, ignore_index=True)


def losses(heights):
    """Retain losses with tents of these heights, (k, seeds); the forget loss is flat."""
    return {("retain", "loss"): np.asarray(heights)[..., None] * TENT, ("forget", "loss"): 0.0}


def named(pairs, seeds=(0, 0)):
    return [tuple(f"{m} seed={s}" for m, s in zip(pair, seeds)) for pair in pairs]


def existence(rng, effect, noise):
    """Pairs are connected with a probability of one half and the effect."""
    p = np.clip(0.5 + effect + rng.normal(0, noise, SEEDS), 0, 1)
    missing = rng.random((len(PAIRS), SEEDS)) > p
    if not noise:
        missing[:] = (np.arange(len(PAIRS)) >= round((0.5 + effect) * len(PAIRS)))[:, None]
    own = table("Met", named(PAIRS), losses(missing))
    return Evidence(own, own.assign(curve="bezier"))


def dependence(rng, effect, noise):
    """The lines of one method break more often."""
    p = np.full((len(PAIRS), 1), 0.5)
    p[[METHODS[0] in pair for pair in PAIRS]] -= effect
    missing = rng.random((len(PAIRS), SEEDS)) > (p if noise else 1.0)
    if not noise:
        missing[:] = False
    own = table("Met", named(PAIRS), losses(missing))
    return Evidence(own, own.assign(curve="bezier"))


def fluctuation(rng, effect, noise):
    """Two latent curves, seen on two halves with noise; they agree less by the effect."""
    k, t = len(PAIRS), np.linspace(0, 1, len(TS))
    one, other = rng.normal(size=(2, k, SEEDS, len(t)))
    rho = 1 - 4 * effect
    two = rho * one + np.sqrt(1 - rho**2) * other
    seen = {("retain", "loss"): 0.0, ("forget", "loss"): 0.0}
    for half in ("even", "odd"):
        for name, latent, sign in (("loss", one, 1), ("auc", two, -1)):
            own = sign * latent + rng.normal(0, 10 * noise + 1e-9, latent.shape)
            seen["forget", f"{name}_{half}"] = own
    return Evidence(pd.DataFrame(), table("Met", named(PAIRS), seen, "bezier"))


def moved(name):
    def simulate(rng, effect, noise):
        def heights(mean):
            return np.abs(mean + rng.normal(0, noise, (len(METHODS), SEEDS)))

        same = [(m, m) for m in METHODS]
        parts = {"Rand": 0.6, name: 0.6 + effect, f"{name} matched": 0.6 + effect}
        ends = named(same, (0, 1))
        return Evidence(pd.concat(table(c, ends, losses(heights(h))) for c, h in parts.items()))

    return simulate


def groups(rng, effect, noise):
    """Two groups of methods, which are the same in a share of the seeds; elsewhere others."""
    side = np.array([0, 0, 0, 1, 1, 1])
    share = min(2.5 * effect, 1.0)
    heights = np.zeros((len(PAIRS), SEEDS))
    for s in range(SEEDS):
        own = side if rng.random() < share else rng.permutation(side)
        far = [own[METHODS.index(a)] != own[METHODS.index(b)] for a, b in PAIRS]
        heights[:, s] = np.array(far) + rng.uniform(0, 0.1, len(PAIRS))
    forgotten = {("forget", "loss"): rng.random((len(PAIRS), SEEDS, 1)) * TS}
    return Evidence(table("Met", named(PAIRS), losses(heights) | forgotten))


def retraining(rng, effect, noise):
    far = rng.uniform(0.5, 1.5, SEEDS)
    ends = [("retrain seed=0", f"{m} seed=0") for m in METHODS]
    heights = far + effect + rng.normal(0, noise, (len(METHODS), SEEDS))
    same = [("retrain_same seed=0", f"{m} seed=0") for m in METHODS]
    parts = [
        table("Oracle", ends, losses(heights)),
        table("Oracle", same, losses(0 * heights)),
        table("Original", [("original seed=0", "retrain seed=0")], losses(far[None])),
    ]
    return Evidence(pd.concat(parts))


def nonlinear(rng, effect, noise):
    ends = [("original seed=0", f"{m} seed=0") for m in METHODS]

    def bent(height):
        own = height + rng.normal(0, noise, (len(METHODS), SEEDS, 1))
        values = 1 - TS + own * TENT / np.mean(TENT)
        return table("Original", ends, {("forget", "accuracy"): values})

    return Evidence(bent(0.3 + effect), mixed=bent(0.3))


def ensembles(column, sign):
    def simulate(rng, effect, noise):
        means = {"budget a": 0.5, "budget b": 0.5, "average c": 0.5 + sign * effect}
        frames = [
            pd.DataFrame(
                {"model": m, "seed": range(SEEDS), column: v + rng.normal(0, noise, SEEDS)}
            )
            for m, v in means.items()
        ]
        return Evidence(pd.DataFrame(), averages=pd.concat(frames))

    return simulate


def smoothness(rng, effect, noise):
    parts = []
    for task in TASKS:
        hard, other = rng.normal(size=(2, 1, SEEDS, 1))
        rough = effect * 1.2 * hard + np.sqrt(max(0.0, 1 - (effect * 1.2) ** 2)) * other
        values = {("forget", "loss"): np.exp(rough) * TENT}
        values |= {(s, "js_to_oracle"): hard * np.ones(len(TS)) for s in ("forget", "test")}
        parts.append(table("Rand", named([("m0", "m0")], (0, 1)), values).assign(task=task))
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
NOISE = {"ensembling_generalises": 0.005, "ensembling_resists_relearning": 0.02}


def verdicts(name, effect, noise, runs, seed):
    claim, rng = CLAIMS[name], np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        effects = claim.effects(SIMULATED[name](rng, effect, noise))
        found.append(decide([claim.finding(effects)])[0][0])
    return found


def test_every_claim_is_simulated():
    assert set(SIMULATED) == {n for n in CLAIMS if not n.startswith("text_")}


@pytest.mark.parametrize("name", SIMULATED)
def test_without_an_effect_hardly_ever_more_is_said(name):
    found = verdicts(name, 0.0, NOISE.get(name, 0.1), runs=200, seed=0)
    assert sum(v in (SUPPORTED, OPPOSITE) for v in found) <= 10


@pytest.mark.parametrize("name", SIMULATED)
def test_an_effect_of_twice_the_least_is_found(name):
    found = verdicts(name, 2 * CLAIMS[name].least, NOISE.get(name, 0.1), runs=50, seed=1)
    assert found.count(SUPPORTED) >= 40

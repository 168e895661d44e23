"""The study of many runs of one split: its shares, its errors, and what it finds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem, spearmanr

import mcu_lite as mcu
from mcu_lite.book.auditor import (
    MEASURES,
    Auditor,
    agreement_with,
    better_than_both,
    floor_by_number,
    many,
    memorised,
    slider,
    spread_out,
)
from mcu_lite.metrics.evaluation import split_outputs
from mcu_lite.metrics.populations import klom_95, margins, ulira_auc

NAMES = list(MEASURES)


@pytest.fixture(scope="module")
def auditor():
    small = many("ci")
    return Auditor(mcu.Setting(seeds=small.seeds, epochs=3, task=small.task, options=small.options))


@pytest.fixture(scope="module")
def stacks(auditor):
    ends = [mcu.Endpoint("npo"), mcu.Endpoint("finetune")]
    small = mcu.Setting(seeds=auditor.task.seeds, epochs=3, task="many digits")
    return {end.method: stack for end, stack in mcu.endpoints(ends, small).items()}


def test_runs_share_a_split_and_nothing_else(auditor):
    assert (auditor.task.train == auditor.task.train[0]).all()
    assert (auditor.task.labels == mcu.load_task("digits", seeds=1).labels).all()
    assert len(np.unique(auditor.originals.margins["forget"], axis=0)) == len(auditor.task) == 16


def test_floor_and_ceiling_are_the_ends_of_the_scale(auditor):
    assert np.allclose(auditor.shares(auditor.others), 0)
    assert np.allclose(auditor.shares(auditor.originals), 1)


def test_estimates_leave_out_one_group_of_both(auditor):
    found = auditor.estimates(auditor.originals, ["KLoM"]).KLoM
    a, b = auditor.originals.margins["forget"], auditor.oracles.margins["forget"]
    assert found[0] == klom_95(a, b)
    for g in range(8):
        kept = [i for i in range(16) if i // 2 != g]
        assert found[1 + g] == klom_95(a[kept], b[kept])


def test_a_stack_is_judged_by_its_own_margins(auditor, stacks):
    judged = auditor.judge(stacks).set_index(["method", "left"])
    stack = stacks["npo"]
    own = margins(split_outputs(stack.architecture, stack.rows, auditor.task, 0))
    floor, ceiling, value = (
        ulira_auc(x, auditor.oracles.margins["forget"])
        for x in (auditor.others.margins["forget"], auditor.originals.margins["forget"], own)
    )
    expected = (value - floor) / (ceiling - floor)
    assert judged.loc[("npo", -1), "U-LiRA"] == pytest.approx(expected)
    table = mcu.evaluate(stack, auditor.task, metrics=["mia_auc"])
    attack = auditor.population(stack).each["mia_auc"]
    assert np.allclose(attack, table.value)


def test_a_path_begins_and_ends_with_its_stacks(auditor, stacks):
    judged = spread_out(auditor.judge(stacks)).set_index(["method", "measure", "seed"]).value
    a, b = stacks
    path = auditor.along(stacks, 3)
    assert list(path.t.unique()) == [0, 0.5, 1]
    for t, name in ((0, a), (1, b)):
        own = path[path.t == t].set_index(["metric", "seed"]).value
        for key, value in own.items():
            assert value == pytest.approx(judged[(name, *key)], abs=1e-4)


def test_mixed_margins_lie_between_those_of_the_ends(auditor, stacks):
    both = [auditor.along(stacks, 3, ["U-LiRA"], mixed) for mixed in ("weights", "margins")]
    weights, mixed = (own.groupby("t").value.mean() for own in both)
    assert np.allclose(weights[[0, 1]], mixed[[0, 1]])
    one, other = (auditor.population(s).margins["forget"] for s in stacks.values())
    value = ulira_auc((one + other) / 2, auditor.oracles.margins["forget"])
    floor, ceiling = auditor.floor["U-LiRA"][0], auditor.ceiling["U-LiRA"][0]
    assert mixed[0.5] == pytest.approx((value - floor) / (ceiling - floor))


def test_the_slider_shows_every_measure_of_every_path(auditor, stacks):
    path = auditor.along(stacks, 3)
    shown = slider({"one": path, "other": path})
    panels = shown.children[2].children
    assert len(panels) == 2 * path.metric.nunique()
    key = shown.children[1].value
    assert "0: as far as other retrained models" in key and "1: as far as the originals" in key


def jackknifed(values):
    """All values and all but one of eight groups, as `Auditor.judge` has them, of their mean."""
    group = np.arange(len(values)) * 8 // len(values)
    means = [values.mean(), *(values[group != g].mean() for g in range(8))]
    return pd.DataFrame({"method": "m", "left": range(-1, 8), "x": means})


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=8)
    spread = spread_out(jackknifed(values)).value
    assert spread.mean() == pytest.approx(values.mean())
    assert sem(spread) == pytest.approx(sem(values))
    assert np.allclose(np.sort(spread), np.sort(values))


def curve(region, depth=0.5, noise=0.05, seed=0):
    """A path from 1 to 1 that is lower where t lies in a region."""
    rng = np.random.default_rng(seed)
    lines = [
        {
            "t": t,
            "seed": s,
            "metric": "x",
            "value": 1 - depth * (region[0] <= t <= region[1]) + noise * rng.normal(),
        }
        for t in np.linspace(0, 1, 11)
        for s in range(8)
    ]
    return pd.DataFrame(lines)


def test_a_region_better_than_both_ends_is_found_and_none_where_none_is():
    found = better_than_both(curve((0.35, 0.65)))
    assert np.allclose(found.t[found.visible], [0.4, 0.5, 0.6])
    assert (found.gain[found.visible] > 0.4).all()
    none = [better_than_both(curve((2, 2), seed=s)).visible.any() for s in range(200)]
    assert np.mean(none) < 0.05
    slope = curve((0.35, 0.65)).assign(value=lambda own: own.t + 0.01 * own.seed)
    assert not better_than_both(slope).visible.any(), "it is no better than the better end"


def test_agreement_is_a_rank_correlation_over_methods():
    rng = np.random.default_rng(1)
    judged = pd.DataFrame(rng.normal(size=(45, 3)), columns=["KLoM", "other", "one"])
    judged["method"], judged["left"] = np.tile(list("abcde"), 9), np.repeat(range(-1, 8), 5)
    judged["same"] = 2 * judged.KLoM
    found = agreement_with(judged, "KLoM")
    whole = judged[judged.left < 0]
    assert found.other.mean() == pytest.approx(spearmanr(whole.KLoM.abs(), whole.other.abs())[0])
    assert np.allclose(found.same, 1)


def test_what_is_wrong_is_named(auditor):
    with pytest.raises(ValueError, match="runs of one split"):
        Auditor(mcu.Setting(seeds=2, epochs=1))
    with pytest.raises(ValueError, match="ends must be two"):
        auditor.along({})
    with pytest.raises(ValueError, match="unknown profile"):
        many("big")


def test_bias_falls_with_the_number_of_models():
    found = floor_by_number([16, 64], examples=40)
    assert found.klom[64] < found.klom[16] / 2
    assert np.allclose(found.ulira_auc, 0.5, atol=0.04)


def test_what_only_originals_know_is_memorised():
    originals, oracles = (
        np.array([[2.0, 1, -1], [3, 1, -2]]),
        np.array([[1.0, -1, -1], [-2, -3, -1]]),
    )
    assert memorised(originals, oracles).tolist() == [0.5, 1, 0]

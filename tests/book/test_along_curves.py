import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import mcu_lite as mcu
from mcu_lite.book.along_curves import detours, gain_between, gains, wiggle_correlations

TS = np.linspace(0, 1, 9)


def curves(shapes):
    """A table of curves: {(curve, seed): {name: values at TS}}."""
    lines = [
        {"curve": c, "seed": s, "name": name, "t": t, "value": v}
        for (c, s), own in shapes.items()
        for name, values in own.items()
        for t, v in zip(TS, values)
    ]
    return pd.DataFrame(lines)


def test_correlations_are_spearmans_of_the_excess_along_t():
    rng = np.random.default_rng(0)
    shapes = {
        (c, s): {n: rng.normal(size=9) for n in ("loss", "accuracy")} for c in "ab" for s in (0, 1)
    }
    found = wiggle_correlations(curves(shapes)).set_index("seed")
    for seed in (0, 1):
        each = []
        for c in "ab":
            above = [v - np.interp(TS, [0, 1], [v[0], v[-1]]) for v in shapes[c, seed].values()]
            each.append(spearmanr(above[0][1:-1], above[1][1:-1]).statistic)
        assert found.correlation[seed] == pytest.approx(np.mean(each))
        assert found.strength[seed] == pytest.approx(np.mean(np.abs(each)))


def test_opposite_signs_cancel_in_the_correlation_but_not_in_the_strength():
    hump = np.sin(np.pi * TS) + 0.1 * TS**2
    shapes = {
        ("a", 0): {"x": hump, "y": hump},
        ("b", 0): {"x": hump, "y": -hump},
        ("straight", 0): {"x": TS, "y": hump},
    }
    found = wiggle_correlations(curves(shapes)).iloc[0]
    assert found.correlation == pytest.approx(0)
    assert found.strength == pytest.approx(1)
    assert found.curves == 2


def test_slopes_and_levels_between_curves_are_no_relation():
    hump = np.sin(np.pi * TS) + 0.1 * TS**2
    shapes = {("a", 0): {"x": hump + 5 * TS, "y": 3 - hump}, ("b", 0): {"x": TS, "y": hump}}
    found = wiggle_correlations(curves(shapes)).iloc[0]
    assert found.correlation == pytest.approx(-1)
    assert found.curves == 1  # The straight one does not wiggle.


def test_wrong_tables_are_refused():
    shapes = {("a", 0): {"x": TS, "y": TS}, ("b", 0): {"x": TS}}
    with pytest.raises(ValueError, match="every name"):
        wiggle_correlations(curves(shapes))
    with pytest.raises(ValueError, match="every name"):
        other_seeds = {("a", 0): {"x": TS}, ("a", 1): {"x": TS}, ("a", 2): {"y": TS}}
        wiggle_correlations(curves(other_seeds | {("a", 3): {"y": TS}}))
    with pytest.raises(ValueError, match="unknown name"):
        wiggle_correlations(curves({("a", 0): {"x": TS, "y": TS}}), [("x", "z")])
    with pytest.raises(ValueError, match="unknown column"):
        wiggle_correlations(curves(shapes).drop(columns="name"))


def table_of(values, ts):
    seeds = range(len(values))
    return pd.DataFrame(
        {"seed": s, "t": t, "value": v} for s, own in zip(seeds, values) for t, v in zip(ts, own)
    )


def test_the_best_t_is_chosen_on_the_other_seeds():
    ts = [0.0, 0.25, 0.5, 1.0]
    values = [[0.0, 3.0, 1.0, 1.0], [0.0, 0.0, 4.0, 2.0], [0.5, 1.0, 1.5, 0.0]]
    found = gain_between(table_of(values, ts), "higher").set_index("seed")
    # Others of seed 0: t=.25 has mean .5, t=.5 has 2.75; the ends .25 and 1: t=.5 against t=1.
    assert found.loc[0].tolist() == [0.5, 1.0 - 1.0, 3.0 - 1.0, 1.0]
    # Others of seed 1: 2 against 1.25, ends .25 and .5: t=.25 against t=1.
    assert found.loc[1].tolist() == [0.25, 0.0 - 2.0, 4.0 - 2.0, 0.0]
    assert found.loc[2].tolist() == [0.5, 1.5 - 0.0, 1.5 - 0.5, 1.5]
    turned = gain_between(table_of(-np.array(values), ts), "lower").set_index("seed")
    pd.testing.assert_frame_equal(turned.assign(value=-turned.value), found)


def test_gains_are_compared_with_none_method_by_method():
    ts = [0.0, 0.5, 1.0]
    up, flat = [[0.0, 2.0, 1.0], [0.0, 4.0, 1.0], [0.0, 3.0, 1.0]], [[1.0, 1.0, 1.0]] * 3
    table = pd.concat([table_of(v, ts).assign(method=m) for m, v in {"a": up, "b": flat}.items()])
    found = gains(table, "higher").set_index("label")
    assert found.difference.to_dict() == {"a": 2.0, "b": 0.0}


def test_detours_are_lengths_over_the_chord_of_a_trajectory_and_of_noise():
    task = mcu.load_task("digits", seeds=2)
    theta = mcu.train(task, epochs=2)
    found, thinned = detours(theta, task, ["npo"], few=5)
    last = mcu.unlearn(theta, task, "npo").rows
    rows = thinned["npo"]
    assert 5 <= len(rows) <= 7 and found.kind.value_counts().to_dict() == {
        "trajectory": 2,
        "noise": 2,
    }
    np.testing.assert_array_equal(rows[0], theta.rows)
    every, few = found[["through every step", "through few points"]].to_numpy().T
    assert (every > few).all() and (few >= 1).all()
    way = rows.diff(dim=0).norm(dim=-1).sum(0) / (rows[-1] - rows[0]).norm(dim=-1)
    np.testing.assert_allclose(few[:2], way, rtol=1e-6)
    chord = (last - theta.rows).norm(dim=1)
    assert ((every[:2] * chord.numpy()) > (rows[-1] - rows[0]).norm(dim=-1).numpy()).all()


def test_hindsight_finds_gains_in_pure_noise_and_the_honest_choice_does_not():
    rng = np.random.default_rng(0)
    found = gain_between(table_of(rng.normal(size=(300, 21)), np.linspace(0, 1, 21)), "higher")
    assert found.hindsight.mean() > 1.0
    assert abs(found.gain.mean()) < 4 * math.sqrt(2 / 300)


def test_diverged_seeds_gain_nothing():
    values = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [np.nan] * 3])
    assert gain_between(table_of(values, [0.0, 0.5, 1.0]), "higher").seed.tolist() == [
        0,
        1,
    ]


def test_gains_of_a_wrong_table_are_refused():
    ts = [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="unknown direction"):
        gain_between(table_of([[0, 1, 0]] * 2, ts), "nicer")
    with pytest.raises(ValueError, match="two seeds"):
        gain_between(table_of([[0, 1, 0]], ts), "higher")
    with pytest.raises(ValueError, match="one value for each"):
        gain_between(pd.concat([table_of([[0, 1, 0]] * 2, ts)] * 2), "higher")

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mcu_lite.metrics.connectivity import turns, wiggle_correlations

TS = np.linspace(0, 1, 9)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0, 1, 2, 3], 0),
        ([3, 2, 2, 0], 0),
        ([1, 1, 1], 0),
        ([0, 2, 0], 1),
        ([0, 2, 0, 2, 0], 3),
        ([0, 1, 0.99, 2], 0),
        ([0, 0.01, 0, 10], 0),
    ],
)
def test_turns_of_known_shapes(values, expected):
    assert turns(np.array(values)) == expected
    assert turns(-np.array(values)) == expected
    assert turns(np.array(values)[::-1]) == expected


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=12))
def test_without_tolerance_turns_are_changes_of_sign(values):
    steps = np.sign(np.diff(values))
    steps = steps[steps != 0]
    assert turns(np.array(values), ignore=0) == (steps[1:] != steps[:-1]).sum()


def test_turns_refuses_what_makes_no_sense_and_passes_nan_on():
    assert np.isnan(turns(np.array([0, np.nan, 1])))
    with pytest.raises(ValueError, match="ignore"):
        turns(np.zeros(3), ignore=1)


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

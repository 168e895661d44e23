from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_1samp

from mcu_lite.metrics.statistics import (
    FLIPS,
    LEVEL,
    Comparison,
    compare,
    correct,
    correlation,
    interval,
    paired,
)

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def brute_force(d):
    """Share of all sign flips whose mean is as far from 0 as that of d."""
    flips = np.array(list(product([-1, 1], repeat=len(d))))
    means = np.abs((flips * d).mean(-1))
    return (means >= abs(np.mean(d)) * (1 - 1e-12)).mean()


def by_hand(p):
    """Benjamini and Hochberg's adjusted p, from the definition."""
    m, order = len(p), np.argsort(p)
    return [
        min(p[order[j]] * m / (j + 1) for j in range(list(order).index(i), m)) for i in range(m)
    ]


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_covers_the_mean_as_often_as_it_says(n, level):
    samples = np.random.default_rng(n).normal(3, 2, (2000, n))
    low, high = np.array([interval(sample, level) for sample in samples]).T
    covered = ((low <= 3) & (3 <= high)).mean()
    assert abs(covered - level) < 4 * np.sqrt(level * (1 - level) / len(samples))


def test_the_interval_of_two_and_of_five_values_from_a_table():
    # t at 97.5 %: 12.706 for one degree of freedom, 2.776 for four.
    assert interval([0.0, 2.0]) == pytest.approx((1 - 12.706, 1 + 12.706), abs=1e-3)
    half = 2.776 * np.sqrt(2.5 / 5)
    assert interval([1, 2, 3, 4, 5]) == pytest.approx((3 - half, 3 + half), abs=1e-3)


def test_degenerate_intervals():
    assert interval([0.1, 0.1, 0.1]) == (0.1, 0.1)
    assert np.isnan(interval([])).all() and np.isnan(interval([1.0, NAN])).all()
    assert interval([1.0, NAN, 2.0, 4.0]) == interval([1.0, 2.0, 4.0])


@pytest.mark.parametrize("n", [2, 5, 8, 12])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_p_is_that_of_all_sign_flips(n, shift):
    d = np.random.default_rng(n).normal(shift, 1, n)
    assert paired(d, np.zeros(n)).p == pytest.approx(brute_force(d), abs=1e-12)


def test_p_counts_ties_as_extreme():
    d = np.array([1.0, 1.0, -1.0, 0.0, 2.0])
    assert paired(d, np.zeros(5)).p == brute_force(d)


def test_p_is_uniform_without_a_difference():
    draws = np.random.default_rng(0).normal(size=(300, 2, 8))
    p = np.array([paired(a, b).p for a, b in draws])
    for level in (0.1, 0.25, 0.5, 0.75):
        assert abs((p <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / len(p))


@pytest.mark.parametrize("n", [2, 5, 12, 13, 14, 20])
def test_the_smallest_p_is_reached_and_no_smaller_one(n):
    shifted = np.random.default_rng(0).normal(30, 1, n)
    p = paired(shifted, np.zeros(n)).p
    # Random sign flips, beyond 13 seeds, may by chance include the extreme ones.
    least = 2 / min(2**n, FLIPS + 1)
    assert least <= p <= (least if 2**n <= FLIPS else 0.001)


def test_a_comparison_by_hand():
    found = paired([2.0, 4.0, 9.0], [1.0, 2.0, 6.0])
    assert isinstance(found, Comparison) and found.n == 3
    assert (found.difference, found.effect) == pytest.approx((2.0, 2.0))  # of 1, 2, 3: sd is 1
    half = 4.303 / np.sqrt(3)
    assert found.p == 0.25
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-3)


def test_a_comparison_has_a_direction():
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    there, back = paired(a, b), paired(b, a)
    assert (there.difference, there.effect) == pytest.approx((-back.difference, -back.effect))
    assert there.p == back.p


def test_equal_differences_have_no_finite_effect():
    assert paired([1.1, 2.1, 3.1], [1, 2, 3]).effect == np.inf
    assert paired([1, 2, 3], [1.1, 2.1, 3.1]).effect == -np.inf
    same = paired([0.1 + 0.2, 1, 2], [0.3, 1, 2])
    assert same == Comparison(0, 0, 0, 0, 1, 3)


def test_pairs_with_nan_are_left_out():
    whole = paired([1.0, NAN, 3.0, 5.0, 4.0], [0.0, 1.0, NAN, 1.0, 1.0])
    assert whole == paired([1.0, 5.0, 4.0], [0.0, 1.0, 1.0])
    one = paired([1.0, NAN], [0.5, 1.0])
    assert (one.difference, one.n) == (0.5, 1) and np.isnan(one[1:5]).all()
    assert paired([NAN], [1.0]).n == 0


def test_correction_follows_its_definition_and_passes_nan_through():
    p = np.array([0.01, 0.04, 0.03, 0.2, 0.9])
    np.testing.assert_allclose(correct(p), by_hand(p))
    found = correct([0.01, NAN, 0.04])
    np.testing.assert_allclose(found, [0.02, NAN, 0.04])
    assert np.isnan(correct([NAN, NAN])).all() and len(correct([])) == 0


def table(shifts, n=12):
    """A made-up value for each method and seed, in shuffled order."""
    noise = np.random.default_rng(0).normal(size=(len(shifts), n))
    base = np.random.default_rng(1).normal(scale=20, size=n)
    rows = [
        {"method": m, "seed": s, "value": base[s] + shift + noise[i, s]}
        for i, (m, shift) in enumerate(shifts.items())
        for s in range(n)
    ]
    return pd.DataFrame(rows)


def test_all_pairs_are_compared_seed_by_seed():
    whole = table({"npo": 0.0, "ga": 0.0, "ft": 5.0})
    found = compare(whole.iloc[::-1], "method", pairs=[("npo", "ga"), ("npo", "ft"), ("ga", "ft")])
    assert list(found) == "a b difference low high effect p p_corrected n visible".split()
    pd.testing.assert_frame_equal(found, compare(whole, "method"))
    # The seeds differ far more than the methods: only a paired test can tell these apart.
    null, *real = found.itertuples()
    assert null.p > 0.05 and null.low < 0 < null.high
    assert all(r.p < 0.001 and r.high < 0 and r.effect < -2 and r.n == 12 for r in real)
    np.testing.assert_allclose(found.p_corrected, correct(found.p))
    assert (found.p_corrected >= found.p).all()


def test_a_seed_that_one_method_lacks_is_left_out():
    whole = table({"npo": 0.0, "ga": 1.0}, n=6)
    whole.loc[0, "value"] = NAN
    (line,) = compare(whole.iloc[:-1], "method").itertuples()
    assert line.n == 4
    kept = whole[~whole.seed.isin([0, 5])]
    (same,) = compare(kept, "method").itertuples()
    assert line == same


def family(shifts, n=5, seed=0):
    """Comparisons of normal values that differ by `shifts` standard deviations."""
    draws = np.random.default_rng(seed).normal(size=(len(shifts), n))
    rows = [
        {"name": f"m{i} {side}", "seed": s, "value": side * (shift + draws[i, s])}
        for i, shift in enumerate(shifts)
        for s in range(n)
        for side in (0, 1)
    ]
    pairs = [(f"m{i} 1", f"m{i} 0") for i in range(len(shifts))]
    return compare(pd.DataFrame(rows), "name", pairs=pairs)


def test_visible_is_a_t_test_corrected_for_the_family():
    shifts = [3.0, 2.0, 1.5, 1.0, 0.5, 0.0]
    for seed in range(20):
        draws = np.random.default_rng(seed).normal(size=(len(shifts), 5))
        p = [ttest_1samp(d + shift, 0).pvalue for d, shift in zip(draws, shifts)]
        found = family(shifts, seed=seed)
        assert found.visible.tolist() == [q <= LEVEL for q in by_hand(np.array(p))]
        # What is visible has an interval without zero, corrected or not.
        assert ((found.low > 0) | (found.high < 0))[found.visible].all()


def test_clear_differences_are_visible_and_chance_is_not():
    assert family([9.0, 0.0, -9.0]).visible.tolist() == [True, False, True]
    families = [family([0.0] * 11, seed=s) for s in range(60)]
    assert np.mean([f.visible.any() for f in families]) < 0.15
    uncorrected = [((f.low > 0) | (f.high < 0)).any() for f in families]
    assert np.mean(uncorrected) > 0.3  # which is why it is corrected


def test_equal_values_and_single_seeds_are_not_visible():
    same = table({"npo": 0.0, "ga": 0.0}, n=5).assign(value=1.0)
    assert not compare(same, "method").visible.any()
    assert not family([9.0, 9.0], n=1).visible.any()


def test_two_seeds_show_next_to_nothing():
    assert not family([2.0, 2.0, 2.0], n=2).visible.any()


def test_correlation_is_taken_within_each_seed():
    rng = np.random.default_rng(0)
    seeds = np.repeat(np.arange(8), 10)
    x = rng.normal(size=80)
    y = np.exp(x) + rng.normal(scale=0.1, size=80)
    found = correlation(x - 9 * seeds, y + 9 * seeds, seeds)
    each = [spearmanr(x[seeds == s], y[seeds == s]).statistic for s in range(8)]
    assert found["correlation"] == pytest.approx(np.mean(each))
    assert 0.5 < found["low"] < found["correlation"] < found["high"] <= 1
    assert found["p"] == 2 / 2**8 and found["n"] == 8
    assert list(found) == ["correlation", "low", "high", "p", "n"]


def test_correlation_leaves_out_what_has_none():
    x = [1, 2, 3, NAN, 1, 2, 3, 1, 2, 3, 1, 2]
    y = [1, 2, 3, 9, 3, 2, 1, 5, 5, 5, 1, 2]
    found = correlation(x, y, list("aaaabbbcccdd"))  # c is constant, d too short
    assert found["correlation"] == 0 and found["n"] == 2
    assert np.isnan(correlation([], [], [])["correlation"])


def test_correlation_of_unrelated_values_is_near_zero():
    x, y = np.random.default_rng(0).normal(size=(2, 400))
    found = correlation(x, y, np.repeat(np.arange(20), 20))
    assert found["low"] < 0 < found["high"] and found["p"] > 0.05


WHOLE = table({"npo": 0.0, "ga": 1.0}, n=3)
APART = WHOLE.assign(seed=range(len(WHOLE)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: interval([1, 2], level=95), "level"),
        (lambda: interval([[1, 2], [3, 4]]), "values must be one number a seed"),
        (lambda: interval([1, np.inf]), "values must be one number a seed"),
        (lambda: paired([1, 2], [1, 2, 3]), "a and b must hold the same seeds"),
        (lambda: paired([1, 2], [1, np.inf]), "b must be"),
        (lambda: paired(pd.Series([1, 2]), pd.Series([1, 2], [5, 6])), r"\[0, 1\] and \[5, 6\]"),
        (lambda: compare(APART, "method"), "'npo' and 'ga' for one seed"),
        (lambda: correct([0.5, 1.5]), "p must be"),
        (lambda: correct([[0.5]]), "p must be"),
        (lambda: compare(WHOLE, "methods"), "unknown column 'methods'.*'method'"),
        (lambda: compare(WHOLE, "method", seed="split"), "unknown column 'split'"),
        (lambda: compare(WHOLE, "method", pairs=[("npo", "x")]), "unknown method 'x'.*'ga'"),
        (lambda: compare(WHOLE, "method", pairs=[]), "pairs must hold"),
        (lambda: compare(WHOLE[:3], "method"), "pairs must hold"),
        (lambda: compare(pd.concat([WHOLE, WHOLE]), "method"), "table must hold one value"),
        (lambda: correlation([1, 2], [1, 2], [0]), "x, y and groups"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()

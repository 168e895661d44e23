import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mcu_lite as mcu
from mcu_lite.book.wording import listed, visible


def compared(shifts, n=5, seed=0):
    """Comparisons of normal values that differ by `shifts` standard deviations."""
    draws = np.random.default_rng(seed).normal(size=(len(shifts), n))
    frame = pd.DataFrame(
        [
            {"name": f"m{i} {side}", "seed": s, "value": side * (shift + draws[i, s])}
            for i, shift in enumerate(shifts)
            for s in range(n)
            for side in (0, 1)
        ]
    )
    return mcu.compare(frame, "name", pairs=[(f"m{i} 1", f"m{i} 0") for i in range(len(shifts))])


def test_the_test_is_student_s():
    draws = np.random.default_rng(0).normal(size=5) + 2
    found = compared([2.0])
    p = stats.ttest_1samp(draws, 0).pvalue
    assert len(visible(found, p * 1.001)) == 1 and visible(found, p * 0.999).empty


def test_clear_differences_are_kept_and_chance_is_not():
    assert visible(compared([9.0, 0.0, -9.0])).a.tolist() == ["m0 1", "m2 1"]
    families = [compared([0.0] * 11, seed=s) for s in range(60)]
    assert np.mean([len(visible(f)) > 0 for f in families]) < 0.15
    uncorrected = [((f.low > 0) | (f.high < 0)).any() for f in families]
    assert np.mean(uncorrected) > 0.3  # which is why it is corrected


def test_an_interval_with_zero_is_never_claimed():
    found = compared([9.0]).assign(low=-0.1)
    assert visible(found).empty


def test_equal_values_and_single_seeds_are_no_claim():
    found = compared([9.0, 9.0]).assign(effect=[0.0, np.nan], low=[0.0, np.nan], n=[5, 1])
    assert visible(found).empty


def test_two_seeds_claim_next_to_nothing():
    assert visible(compared([2.0, 2.0, 2.0], n=2)).empty


def test_written_down():
    found = pd.DataFrame({"a": ["npo CL"], "difference": [0.123], "low": [-0.1], "high": [0.3]})
    assert listed(found) == "`npo` +0.12 [-0.10, +0.30]"
    assert listed(found, 1) == "`npo` +0.1 [-0.1, +0.3]"
    assert listed(found[:0]) == "none"
    near = pd.DataFrame({"a": ["npo"], "difference": [-0.1], "low": [-0.2], "high": [-0.0012]})
    assert listed(near) == "`npo` -0.100 [-0.200, -0.001]"
    assert listed(near.assign(difference=-1e-9, high=0.0), 2) == "`npo` +0.00 [-0.20, +0.00]"
    assert listed(found.assign(low=np.nan, high=np.nan)) == "`npo` +0.12"


def test_bad_level():
    with pytest.raises(ValueError, match="level"):
        visible(compared([1.0]), 5)

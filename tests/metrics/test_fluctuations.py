import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_lite.metrics.connectivity import turns


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

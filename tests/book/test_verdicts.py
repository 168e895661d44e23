import numpy as np
import pytest
from scipy import stats

from mcu_lite.book.verdicts import (
    CONFOUNDED,
    NEGLIGIBLE,
    OPPOSITE,
    SUPPORTED,
    UNDECIDED,
    Finding,
    decide,
    holm,
    region,
    units_needed,
)
from mcu_lite.metrics.statistics import interval


def finding(net, raw=None, least=0.1):
    return Finding("", net, least, raw)


@pytest.mark.parametrize("mean", [0.3, 0.02, -0.3])
def test_p_is_where_the_interval_touches_a_border(mean):
    values = mean + np.random.default_rng(0).normal(0, 0.1, 12)
    where, p = region(values, 0.1)
    low, high = interval(values, 1 - p)
    touched = {
        SUPPORTED: abs(low - 0.1),
        OPPOSITE: abs(high + 0.1),
        NEGLIGIBLE: min(abs(high - 0.1), abs(low + 0.1)),
    }
    assert touched[where] < 1e-9


def test_two_one_sided_tests_agree_with_scipy():
    values = np.random.default_rng(1).normal(0.01, 0.1, 15)
    below = stats.ttest_1samp(values, 0.1, alternative="less").pvalue
    above = stats.ttest_1samp(values, -0.1, alternative="greater").pvalue
    assert region(values, 0.1) == (NEGLIGIBLE, pytest.approx(2 * max(below, above)))


def test_holm_keeps_the_tests_that_its_step_down_rule_keeps():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(0, 0.05, 6)
        kept = set()
        for k, i in enumerate(np.argsort(p)):
            if p[i] > 0.05 / (len(p) - k):
                break
            kept.add(i)
        assert set(np.flatnonzero(holm(p)[0])) == kept
    assert holm([np.nan, 0.01])[0].tolist() == [False, True]


def test_a_line_is_decided_where_its_own_interval_clears_the_border():
    rng = np.random.default_rng(2)
    card = [finding(rng.normal(m, 0.1, 20)) for m in (0.3, 0.12, 0.0, 0.25, -0.2)]
    for line, (verdict, level) in zip(card, decide(card)):
        low, high = interval(line.net, level)
        inside = {
            SUPPORTED: low > 0.1,
            NEGLIGIBLE: -0.1 < low and high < 0.1,
            OPPOSITE: high < -0.1,
        }
        assert inside.get(verdict, not any(inside.values()))


@pytest.mark.parametrize(
    ("net", "raw", "verdict"),
    [
        ([0.5, 0.6, 0.7], None, SUPPORTED),
        ([-0.5, -0.6, -0.7], None, OPPOSITE),
        ([0.01, 0.0, -0.01], None, NEGLIGIBLE),
        ([0.01, 0.0, -0.01], [0.5, 0.6, 0.7], CONFOUNDED),
        ([-0.9, 0.1, 0.8], [0.5, 0.6, 0.7], CONFOUNDED),
        ([-0.5, 0.3, 0.9], [0.5, 0.6, 0.7], UNDECIDED),
        ([np.nan, 0.5], None, UNDECIDED),
        ([0.5, 0.5, 0.5], None, SUPPORTED),
        ([0.1, 0.1], None, UNDECIDED),
    ],
)
def test_five_verdicts(net, raw, verdict):
    assert decide([finding(net, raw)])[0][0] == verdict


def test_all_verdicts_of_a_card_hold_together():
    """Twenty lines at the border, where any decision but one is false: few cards have an error."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        card = [finding(row) for row in rng.normal(0.1, 0.2, (20, 10))]
        wrong += any(verdict != UNDECIDED for verdict, _ in decide(card))
    assert wrong / 200 <= 0.08


def test_units_needed_are_the_first_that_decide():
    values = np.array([0.0, 0.4, 0.1, 0.5])
    n = units_needed(values, 0.1, 0.95)
    away, sd = values.mean() - 0.1, values.std(ddof=1)
    halves = {k: stats.t.ppf(0.975, k - 1) * sd / np.sqrt(k) for k in (n - 1, n)}
    assert halves[n] <= away < halves[n - 1]
    assert units_needed([0.1, 0.1], 0.1, 0.95) == np.inf
    assert units_needed([0.1], 0.1, 0.95) == np.inf


def test_an_effect_of_no_size_is_worth_no_claim():
    with pytest.raises(ValueError, match="least must be > 0, got 0"):
        finding([1.0, 2.0], least=0)

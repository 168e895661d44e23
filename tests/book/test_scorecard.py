import numpy as np
import pytest

from mcu_lite.book import scorecard as sc


def finding(values, **more):
    return sc.Finding("claim", "test", "on", np.asarray(values, float), 0.5, "page", **more)


@pytest.mark.parametrize(
    ("values", "more", "verdict"),
    [
        ([0.8, 0.9, 0.85, 0.9], {}, sc.SUPPORTED),
        ([0.8, 0.9, 0.85, 0.9], {"confounder": "distance"}, "confounded by distance"),
        ([0.1, 0.2, 0.15, 0.1], {}, sc.UNSEEN),
        ([0.1, 0.2, 0.15, 0.1], {"confounder": "distance"}, sc.UNSEEN),
        ([0.1, 0.9, 0.2, 0.8], {}, sc.UNSEEN),
        ([-0.9, -0.8, -0.9, -0.7], {}, sc.CONTRADICTED),
        ([0.1, 0.2, 0.15, 0.1], {"floor": 0.3}, sc.CONTRADICTED),
    ],
)
def test_the_verdict_follows_the_interval(values, more, verdict):
    assert finding(values, **more).verdict == verdict


def test_the_table_links_every_claim_to_its_chapter():
    card = sc.scorecard([finding([1.0, 2.0], control="none"), finding([0.0, 0.1])])
    lines = sc.as_markdown(card).splitlines()
    assert len(lines) == 4 and all("`more <page>`" in line for line in lines[2:])
    tests = sc.tests_as_markdown(card).splitlines()
    assert tests == ["1. test; on. *Control*: none.", "2. test; on."]
    assert card.effect.tolist() == [1.5, 0.05]
    with pytest.raises(ValueError, match="at least one Finding"):
        sc.scorecard([])


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [(0.5, "0.01 (0.01 to 0.01)"), (0.02, "0.012 (0.012 to 0.012)"), (0.005, "0.0123 (")],
)
def test_an_effect_has_digits_to_compare_with_its_threshold(threshold, shown):
    small = sc.Finding("claim", "test", "on", np.full(3, 0.0123), threshold, "page")
    assert f"| {shown}" in sc.as_markdown(sc.scorecard([small]))

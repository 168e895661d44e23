import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mcu_lite.book.scorecard import as_html, scorecard, tally
from mcu_lite.book.verdicts import Finding

CLEAR = np.array([0.8, 0.9, 0.85, 0.9])
CARD = [
    Finding("Much <is> there.", CLEAR, 0.5, chapter="page", test="a test", why="a reason"),
    Finding("The control has it too.", CLEAR - 0.85, 0.5, CLEAR, confounder="distance"),
    Finding("Nobody knows.", np.array([-1.0, 2.0, 0.3]), 0.5),
    Finding("Nothing was measured.", np.array([np.nan, np.nan]), 0.5),
]


def test_a_line_holds_the_verdict_and_the_interval_that_it_follows_from():
    card = scorecard(CARD)
    first = ["supported", "confounded by distance", "undecided", "undecided"]
    assert card.verdict.tolist() == first
    assert card.low[0] > 0.5 and card.effect[0] == pytest.approx(0.8625)
    assert card.needed[2] > 3 and card.needed[3] == np.inf
    with pytest.raises(ValueError, match="at least one Finding"):
        scorecard([])


def test_the_page_is_well_formed_and_says_in_words_what_it_draws():
    page = as_html(scorecard(CARD), {0: 0.7, 1: 0.0})
    rows = ElementTree.fromstring(page).findall("tbody/tr")
    assert [row.get("class") for row in rows] == [
        f"mcu-{v}" for v in ("supported", "confounded", "undecided", "undecided")
    ]
    assert rows[0].find("td/a").text == "Much <is> there." and rows[1].find("td/a") is None
    assert "effect 0.863" in rows[0].find("td/svg").get("aria-label")
    assert [len(row.findall("td/svg/line[@class='again']")) for row in rows] == [1, 1, 0, 0]
    assert "It would take" in page and "nothing to measure" in page
    assert tally(scorecard(CARD)).count("<span") == 3


def test_marks_stand_in_units_of_the_least_effect():
    svg = ElementTree.fromstring(as_html(scorecard(CARD))).find("tbody/tr/td/svg")
    line = {e.get("class"): [] for e in svg}
    for e in svg:
        line[e.get("class")].append(float(e.get("x1") or e.get("cx") or e.get("x")))
    zero, least, net = line["zero"][0], max(line["least"]), line["net"][0]
    assert (net - zero) / (least - zero) == pytest.approx(0.8625 / 0.5, abs=0.01)


def test_what_lies_beyond_the_scale_is_an_arrow_to_its_side():
    far = scorecard([Finding("", CLEAR * sign, 0.01) for sign in (1, -1)])
    tips = [float(x) for x in re.findall(r'class="net" d="M([\d.]+),', as_html(far))]
    assert tips[0] > 200 and tips[1] < 40


@pytest.mark.parametrize(("least", "shown"), [(0.5, "0.01"), (0.02, "0.012"), (0.005, "0.0123")])
def test_an_effect_has_digits_to_compare_with_the_least(least, shown):
    small = scorecard([Finding("", np.full(3, 0.0123), least)])
    assert f"<b>{shown}</b>" in as_html(small)

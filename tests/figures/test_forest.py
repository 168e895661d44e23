"""Forest plots say in words, marks and numbers what `compare` found."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from mcu_lite.figures.forest import EDGE, WIDE, forest, labels, strip

NAN = float("nan")


def found(**changes):
    """Three comparisons: visible, not visible, and of one seed."""
    table = pd.DataFrame(
        {
            "a": ["npo CL", "scrub CL", "salun CL"],
            "b": ["npo Rand", "scrub Rand", "salun Rand"],
            "difference": [0.2, -0.05, 0.1],
            "low": [0.1, -0.15, NAN],
            "high": [0.3, 0.05, NAN],
            "n": [5, 5, 1],
            "visible": [True, False, False],
        }
    )
    return table.assign(**changes)


def parsed(html):
    """The figure as a tree: it must be well-formed."""
    html = re.sub('base64,[^"]*', "", html)
    assert "nan" not in html.lower()
    return ElementTree.fromstring(re.sub(r"<br>|&nbsp;", "", html))


def strips(html):
    return [svg for svg in parsed(html).iter("svg") if svg.get("class") == "mcu-strip"]


def marks(svg, kind):
    return [mark for mark in svg if mark.get("class") == kind]


def test_each_row_says_its_value_interval_and_whether_it_is_visible():
    assert [svg.get("aria-label") for svg in strips(forest(found(), "What?").data)] == [
        "npo: +0.2, +0.1 to +0.3, visible",
        "scrub: -0.05, -0.15 to +0.05, not visible",
        "salun: +0.1",
    ]


def test_what_is_visible_is_filled():
    one, two, three = strips(forest(found(), "What?").data)
    assert marks(one, "net") and not marks(one, "net open")
    assert all(marks(svg, "net open") and not marks(svg, "net") for svg in (two, three))
    assert not marks(three, "interval")  # a single seed has none


def test_marks_stand_where_the_numbers_are():
    head = 'aria-label="half"'
    svg = strip(0.5, 0.25, 0.75, (-1.0, 1.0), least=0.5, raw=-1.0, again=1.0, said="half")
    assert head in svg
    tree = ElementTree.fromstring(svg)

    def at(value):
        return pytest.approx(EDGE + (WIDE - 2 * EDGE) * (value + 1) / 2, abs=0.05)

    assert float(marks(tree, "net")[0].get("cx")) == at(0.5)
    assert float(marks(tree, "raw")[0].get("cx")) == at(-1)
    assert float(marks(tree, "again")[0].get("x1")) == at(1)
    assert float(marks(tree, "zero")[0].get("x1")) == at(0)
    assert [float(line.get("x1")) for line in marks(tree, "least")] == [at(-0.5), at(0.5)]
    interval = marks(tree, "interval")[0]
    assert (float(interval.get("x1")), float(interval.get("x2"))) == (at(0.25), at(0.75))


@pytest.mark.parametrize(
    ("low", "high", "arrows"), [(-9, 0.5, 1), (0, 9, 1), (-9, 9, 2), (0, 1, 0)]
)
def test_what_goes_on_beyond_the_scale_is_an_arrow(low, high, arrows):
    svg = ElementTree.fromstring(strip(0.4, low, high, (-1.0, 1.0), said="x"))
    assert sum(mark.tag == "path" for mark in svg) == arrows
    for mark in marks(svg, "interval"):
        assert all(0 <= float(mark.get(x)) <= WIDE for x in ("x1", "x2"))


def test_a_value_beyond_the_scale_has_no_dot():
    svg = ElementTree.fromstring(strip(5.0, 4.0, 6.0, (-1.0, 1.0), said="x"))
    assert not any(mark.tag == "circle" for mark in svg)
    assert sum(mark.tag == "path" for mark in svg) == 1


def test_a_single_value_beyond_the_scale_is_an_arrow():
    many = pd.DataFrame({"a": [f"m{i}" for i in range(11)], "difference": [0.1] * 10 + [-9.0]})
    many = many.assign(b="plain", low=NAN, high=NAN, n=1, visible=False)
    *rest, last = strips(forest(many, "What?").data)
    assert [mark.tag for mark in last] == ["line", "path"] and len(rest) == 10
    assert all(mark.tag != "path" for svg in rest for mark in svg)


def test_names_and_units_are_no_html():
    html = forest({1: found(a=[1, 2, 3]), "<i>": found()[:0]}, "<i>", "<i>", least=0.1).data
    assert "<i>" not in html and labels(found(a=[1, 2, 3])) == ["1", "2", "3"]
    assert "over 5 seeds" in html


def test_one_long_interval_does_not_squeeze_the_others():
    many = pd.concat([found()[:1].assign(a=f"m{i}") for i in range(20)])
    far = found()[:1].assign(a="far", high=1000.0)
    *rest, last = strips(forest(pd.concat([many, far]), "What?").data)
    assert any(mark.tag == "path" for mark in last)
    line = marks(rest[0], "interval")[0]
    assert float(line.get("x2")) - float(line.get("x1")) > WIDE / 5


def test_a_diverged_row_says_so():
    html = forest(found(difference=[0.2, NAN, 0.1], low=NAN, high=NAN), "What?").data
    rows = [row for row in re.findall(r"<tr>.*?</tr>", html) if "scrub" in row]
    assert "<td>diverged</td>" in rows[0] and "svg" not in rows[0]


def test_several_tables_are_columns_on_one_scale():
    other = found(difference=[2.0, 1.0, 0.5], low=NAN, high=NAN)[:2]
    html = forest({"raw": found(), "matched": other}, "What?").data
    tree = parsed(html)
    assert [th.text for th in tree.find("table/thead/tr").findall("th")] == ["raw", "matched"]
    rows = tree.findall("table/tbody/tr")
    assert [row.find("th").text for row in rows] == ["npo", "scrub", "salun"]
    assert [len(row.findall("td/svg")) for row in rows] == [2, 2, 1]
    zeros = {marks(svg, "zero")[0].get("x1") for svg in strips(html)}
    assert len(zeros) == 1


def test_rows_can_have_labels_of_their_own():
    named = found(label=["hidden layers", "answers", "<known>"])
    assert labels(named) == ["hidden layers", "answers", "<known>"]
    assert labels(found()) == ["npo", "scrub", "salun"]
    assert "&lt;known&gt;" in forest(named, "What?").data


def test_caption_unit_and_direction():
    html = forest(found(), "More & more.", "nats", least=0.1, better="lower").data
    said = "".join(parsed(html).find("figcaption").itertext())
    assert said.startswith("More & more. ") and "5 seeds" in said and "0.1 nats" in said
    assert "nats ← better" in html
    assert "better →" in forest(found(), "What?", better="higher").data
    assert "mean difference over" in html
    assert "Dots: mean over" in forest(found(b="zero"), "What?").data
    plain = forest(found(), "What?").data
    assert "better" not in plain and "Dashed" not in plain


@pytest.mark.parametrize("several", [False, True])
def test_the_file_holds_the_numbers(several):
    table = found()
    html = forest({"one": table, "two": table * 1} if several else table, "What?").data
    packed = re.search(r"data:text/csv;base64,([\w+/=]+)", html)[1]
    read = pd.read_csv(io.BytesIO(base64.b64decode(packed)))
    assert list(read) == ["of"] * several + ["label", "difference", "low", "high", "n", "visible"]
    assert len(read) == 3 * (1 + several)
    for column in ("difference", "low", "high"):
        np.testing.assert_allclose(read[column][:3], table[column], rtol=1e-3)
    assert read.visible[:3].tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: forest(found()[:0], "What?"), "at least one comparison"),
        (lambda: forest({}, "What?"), "at least one comparison"),
        (lambda: forest(found().drop(columns="visible"), "What?"), "lacks .'visible'"),
        (lambda: forest({"x": found()[["a"]]}, "What?"), "table 'x'"),
        (lambda: forest(found(a="npo CL"), "What?"), "table '' must name each row once, got 'npo'"),
        (lambda: forest(found(), "What?", least=-0.1), "least must be >= 0 and finite, got -0.1"),
        (lambda: forest(found(), "What?", least=NAN), "least must be >= 0 and finite, got nan"),
        (lambda: forest(found(), "What?", better="up"), "unknown direction 'up'"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()

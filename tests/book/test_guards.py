"""A sentence of the author is silent where it holds, and says so where it does not."""

import ast
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from mcu_lite.book.guards import NOTE, holds

BOOK = Path(__file__).resolve().parents[2] / "book"
FOUND = pd.DataFrame({"a": ["npo CL", "scrub CL", "salun CL"], "visible": [True, False, True]})


@pytest.mark.parametrize(
    ("measured", "written"),
    [
        (True, ("so it is",)),
        (np.bool_(True), ("so it is",)),
        (FOUND, ("salun", "npo")),
        (FOUND[:0], ()),
        (["npo", "npo"], ("npo",)),
        ({2, 3}, ("3", "2")),
        (pd.Index(["npo"]), ("npo",)),
        (FOUND.a.str.split().str[0], ("npo", "scrub", "salun")),
        ((name for name in ("npo",)), ("npo",)),
    ],
)
def test_what_holds_says_nothing(measured, written):
    assert holds(measured, *written) is None


@pytest.mark.parametrize(
    ("measured", "written", "says"),
    [
        (np.bool_(False), ("one < two",), "Written for: one &lt; two. Here it is otherwise."),
        (FOUND, ("npo",), "Written for: npo. Measured here: npo, salun."),
        (FOUND, (), "Written for: none. Measured here: npo, salun."),
        (FOUND[1:2], ("npo",), "Written for: npo. Measured here: none."),
        ([], ("npo", "salun"), "Written for: npo, salun. Measured here: none."),
    ],
)
def test_what_does_not_hold_leaves_a_note(measured, written, says):
    note = holds(measured, *written).data
    assert note == f'<p class="{NOTE}">{says}</p>'


def test_rows_are_named_as_in_their_figure():
    rows = FOUND.assign(label=["forget loss", "forget accuracy", "retain loss"])
    assert holds(rows, "forget loss", "retain loss") is None
    assert holds(FOUND.assign(a=[1, 2, 3]), "1", "3") is None


@pytest.mark.parametrize("measured", [None, float("nan"), np.float64("nan"), pd.NA, "npo", 5])
def test_what_is_neither_true_nor_false_nor_names_is_refused(measured):
    with pytest.raises(TypeError, match="measured must be a truth value or names, got"):
        holds(measured, "npo")


def test_a_table_that_is_not_of_compare_is_refused():
    with pytest.raises(ValueError, match="measured must be of compare, it lacks .'visible'"):
        holds(FOUND[["a"]], "npo")


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda p: p.stem)
def test_a_guard_ends_its_cell_or_its_note_would_not_be_shown(page):
    cells = [c.source for c in jupytext.read(page).cells if c.cell_type == "code"]
    for source in (s for s in cells if "holds(" in s):
        *before, last = ast.parse(source).body
        calls = [n.func for n in ast.walk(ast.Module(before, [])) if isinstance(n, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "holds"], source
        assert isinstance(last, ast.Expr), source

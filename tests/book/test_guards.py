"""A sentence of the author is silent where it holds, and says so where it does not."""

import numpy as np
import pandas as pd
import pytest

from mcu_lite.book.guards import NOTE, holds

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

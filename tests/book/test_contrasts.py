"""What chapters ask of their paths."""

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu
from mcu_lite.book.contrasts import from_zero


def test_columns_are_compared_with_zero_one_by_one():
    table = pd.DataFrame({"one, two": [0.1, 0.3, 0.2], "none": [-1.0, 2.0, np.nan]}, [7, 8, 9])
    found = from_zero(table).set_index("label")
    for name, own in table.items():
        alone = mcu.paired(own, 0 * own)
        for field in ("difference", "low", "high", "n"):
            assert found.loc[name, field] == pytest.approx(getattr(alone, field))
    assert list(found.index) == list(table)

"""How differences are written down."""

import numpy as np
import pandas as pd

from mcu_lite.book.wording import listed


def test_written_down():
    found = pd.DataFrame({"a": ["npo CL"], "difference": [0.123], "low": [-0.1], "high": [0.3]})
    assert listed(found) == "`npo` +0.12 [-0.10, +0.30]"
    assert listed(found, 1) == "`npo` +0.1 [-0.1, +0.3]"
    assert listed(found[:0]) == "none"
    near = pd.DataFrame({"a": ["npo"], "difference": [-0.1], "low": [-0.2], "high": [-0.0012]})
    assert listed(near) == "`npo` -0.100 [-0.200, -0.001]"
    assert listed(near.assign(difference=-1e-9, high=0.0), 2) == "`npo` +0.00 [-0.20, +0.00]"
    assert listed(found.assign(low=np.nan, high=np.nan)) == "`npo` +0.12"

import gzip
import json
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu


def study(ts=(0.0, 0.5, 1.0)):
    lines = []
    for b, lift in (("npo", 0.0), ("scrub", 1.0)):
        for split, metric in (("retain", "loss"), ("forget", "loss"), ("forget", "mia_auc")):
            for seed in (0, 1):
                values = np.array([1, 2, 4])[: len(ts)] + lift + seed
                keys = {"a": "original", "b": b, "curve": "linear", "seed": seed}
                keys |= {"split": split, "metric": metric}
                lines.append(pd.DataFrame({"t": ts, "value": values}).assign(**keys))
    return pd.concat(lines)


def test_it_holds_every_mean_and_deviation_and_a_verdict():
    html = mcu.atlas(study()).data
    data = json.loads(gzip.decompress(b64decode(re.search(r'"\), "(.*)"\)</script>', html)[1])))
    own = data["curves"]["original|scrub|linear"]
    assert own["values"]["loss|forget"] == [[2.5, 3.5, 5.5], [0.7071] * 3]
    assert "0 of 2 seeds" in own["verdict"] and "forget inequality" in own["verdict"]
    assert [m["splits"] for m in data["metrics"]] == [["retain", "forget"], ["forget"]]
    assert data["ts"] == [0.0, 0.5, 1.0]


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="columns"):
        mcu.atlas(pd.DataFrame({"t": [0.0]}))
    mixed = pd.concat([study(), study(ts=(0.0, 1.0)).assign(curve="bezier")])
    with pytest.raises(ValueError, match="same ts"):
        mcu.atlas(mixed)

import base64
import gzip
import io
import re

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu


def content(html):
    assert re.search(r'download="name.csv.gz"', html.data)
    return gzip.decompress(base64.b64decode(re.search('base64,([^"]+)', html.data)[1])).decode()


def test_the_file_holds_the_table_and_the_parameters():
    table = pd.DataFrame(
        {"t": np.tile([0.0, 1.0], 2), "seed": [0, 0, 1, 1], "split": "test", "value": range(4)}
    )
    text = content(mcu.download(table, "name", setting=mcu.load_profile("ci")))
    assert "# mcu_lite: " in text and "# setting: Setting(seeds=2" in text
    read = pd.read_csv(io.StringIO(text), comment="#")
    assert read[["0.0", "1.0"]].to_numpy().tolist() == [[0, 1], [2, 3]]
    assert mcu.download(table, "name").data == mcu.download(table, "name").data


def test_what_has_no_t_has_its_values_by_name():
    stack = pd.DataFrame({"t": np.nan, "seed": [0, 1], "split": "test", "value": [3.0, 5.0]})
    read = pd.read_csv(io.StringIO(content(mcu.download(stack, "name"))), comment="#")
    assert read.columns.tolist() == ["seed", "split", "value"] and read.value.tolist() == [3, 5]
    both = pd.concat([stack, stack.assign(t=0.5, value=[7.0, 9.0])])
    read = pd.read_csv(io.StringIO(content(mcu.download(both, "name"))), comment="#")
    assert read.value.tolist() == [3, 5] and read["0.5"].tolist() == [7, 9]


def test_other_tables_are_kept_as_they_are():
    read = pd.read_csv(
        io.StringIO(content(mcu.download(pd.DataFrame({"x": [1, 2]}), "name"))), comment="#"
    )
    assert read.x.tolist() == [1, 2]
    with pytest.raises(ValueError, match="empty"):
        mcu.download(pd.DataFrame(), "name")


class Long:
    def __repr__(self):
        return "one\ntwo,three"


def test_the_head_is_made_of_comments():
    table = pd.DataFrame({"x": [1, 2]})
    text = content(mcu.download(table, "name", setting=Long()))
    assert pd.read_csv(io.StringIO(text), comment="#").x.tolist() == [1, 2]
    assert "# setting: one\n# two,three\n" in text


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pd.DataFrame({"x": ["a#b"]}), "without '#'"),
        (pd.DataFrame({"#": ["a"]}), "without '#'"),
        (pd.DataFrame({"t": [0.0, 0.0], "seed": 1, "value": [1, 2]}), "one value for each t, seed"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(table, says):
    with pytest.raises(ValueError, match=says):
        mcu.download(table, "name")

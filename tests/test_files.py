"""Files are there whole or not at all."""

import os
import stat
from pathlib import Path

import pandas as pd
import pytest

from mcu_lite.files import write
from mcu_lite.studies.conditions import Setting
from mcu_lite.studies.results import ResultStore

DATA = b"four score and seven"


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_allows(mask, tmp_path):
    before = os.umask(mask)
    try:
        write(tmp_path / "got", DATA[:4], DATA[4:])
        (tmp_path / "plain").write_bytes(DATA)
    finally:
        os.umask(before)
    got, plain = (stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("got", "plain"))
    assert got == plain == 0o666 & ~mask and (tmp_path / "got").read_bytes() == DATA


def test_what_is_not_written_whole_is_not_there(tmp_path):
    (tmp_path / "got").write_bytes(DATA)

    def parts():
        yield DATA[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "got", *parts())
    with pytest.raises(TypeError):
        write(tmp_path / "got", DATA[:4], None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write(tmp_path / "folder", DATA)
    assert {p.name for p in tmp_path.iterdir()} == {"got", "folder"}
    assert (tmp_path / "got").read_bytes() == DATA


def test_a_result_that_may_not_be_read_is_computed_again(tmp_path, monkeypatch):
    results = ResultStore(Setting(), tmp_path)
    results.save("entry", pd.DataFrame({"value": [1.0]}))
    assert results.load("entry").value.tolist() == [1.0]
    assert results.load("another") is None

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="entry cannot be read"):
        patch.setattr(Path, "open", refuse)  # The user of the tests may read everything.
        assert results.load("entry") is None
    assert (tmp_path / "entry").exists()

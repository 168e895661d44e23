import shutil
from dataclasses import replace

import numpy as np
import pandas as pd

import mcu_lite as mcu
from mcu_lite.book import recorded
from mcu_lite.book.paper_claims import CLAIMS


def test_the_record_was_made_with_the_recipe_of_today():
    """After a change of a claim, a method or the setting, run `make evidence`."""
    made, effects = recorded.load()
    assert made["recipe"] == recorded.recipe()
    assert list(effects) == list(CLAIMS)
    for own in effects.values():
        assert set(own.index) <= set(range(20)) and {"raw", "net"} <= set(own)
    assert list(recorded.card().index) == list(CLAIMS)


def test_a_chapter_quotes_the_verdict_that_the_scorecard_has():
    name = "curriculum_moves"
    page = recorded.verdicts(name).data
    assert CLAIMS[name].says in page and recorded.card().verdict[name] in page
    assert page.count("<tr") == 2


def test_the_recipe_changes_with_a_claim_and_not_with_a_comment(tmp_path, monkeypatch):
    for source in recorded.SOURCES:
        shutil.copy(recorded.ROOM / source, tmp_path)
    monkeypatch.setattr(recorded, "ROOM", tmp_path)
    before = recorded.recipe()
    claims = tmp_path / recorded.SOURCES[2]
    text = claims.read_text("utf-8")
    claims.write_text("# A comment.\n" + text, encoding="utf-8")
    assert recorded.recipe() == before
    claims.write_text(text.replace("least=0.1", "least=0.2", 1), encoding="utf-8")
    changed = recorded.recipe()
    assert changed != before
    monkeypatch.setitem(mcu.METHODS, "npo", replace(mcu.METHODS["npo"], lr=0.5))
    assert recorded.recipe() != changed


def test_only_what_the_recorded_seeds_do_not_allow_is_said_to_lie_outside():
    """With one claim, new seeds of the same kind lie outside in one of twenty studies."""
    rng, said = np.random.default_rng(0), 0
    for _ in range(400):
        old, new = (pd.DataFrame({"net": rng.normal(0.3, 0.1, n)}) for n in (20, 5))
        said += "nothing" not in recorded.outside({"one": old}, {"one": new})
    assert 0.02 < said / 400 < 0.08
    far = recorded.outside({"one": old}, {"one": old + 1})
    assert "one 1." in far
    assert "nothing" in recorded.outside({"one": old}, {"one": old * np.nan})


def test_some_claims_need_nothing_but_paths_on_the_digits():
    setting = mcu.Setting(seeds=2, ts=5, epochs=2, steps=2)
    again = recorded.again(setting)
    assert set(again) == set(recorded.ON_PATHS) and all(len(own) for own in again.values())

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


def stored(table):
    """What the page reads, as strictly as a browser does."""
    packed = re.search(r'"\), "([^"]*)"\)<', mcu.atlas(table).data)[1]

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(gzip.decompress(b64decode(packed)), parse_constant=refuse)


def lost(table, seeds=(0, 1)):
    """The curve to `npo` diverged on some seeds."""
    return table.assign(value=table.value.mask((table.b == "npo") & table.seed.isin(seeds)))


def test_it_holds_every_mean_and_deviation_and_a_verdict():
    data = stored(study())
    own = data["paths"]["original|scrub|linear"]
    assert own["values"]["loss|forget"] == [[2.5, 3.5, 5.5], [0.7071] * 3]
    assert "0 of 2 seeds" in own["verdict"] and "forget inequality" in own["verdict"]
    assert [m["splits"] for m in data["metrics"]] == [["retain", "forget"], ["forget"]]
    assert data["ts"] == [0.0, 0.5, 1.0]


def test_a_curve_that_diverged_on_every_seed_has_no_numbers():
    curves = stored(lost(study()))["paths"]
    assert curves["original|npo|linear"]["values"]["loss|forget"][0] == [None] * 3
    assert "0 of 2 seeds" in curves["original|npo|linear"]["verdict"]
    assert "2 diverged" in curves["original|npo|linear"]["verdict"]
    whole = stored(study())["paths"]["original|scrub|linear"]
    assert curves["original|scrub|linear"] == whole and "diverged" not in whole["verdict"]
    half = stored(lost(study(), seeds=(1,)))["paths"]["original|npo|linear"]
    assert half["values"]["loss|forget"] == [[1.0, 2.0, 4.0], [None] * 3]
    assert "1 diverged" in half["verdict"]


def test_the_page_draws_the_other_curves(browser):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    table = lost(study())
    gone = (table.b == "scrub") & (table.split == "forget") & (table.metric == "loss")
    page.set_content(mcu.atlas(table.assign(value=table.value.mask(gone))).data)
    page.locator("svg").first.wait_for(timeout=30_000)
    to, captions = page.locator("select").nth(1), page.locator("figcaption")
    assert to.input_value() == "npo"
    assert captions.all_inner_texts() == ["retain diverged\nforget diverged", "forget diverged"]
    assert page.locator("circle").count() == 0
    to.select_option("scrub")
    assert captions.all_inner_texts() == [
        "retain 3.500 ± 0.707\nforget diverged",
        "forget 3.500 ± 0.707",
    ]
    assert page.locator("circle").count() == 2
    for node in page.locator("svg").all():
        drawn = node.evaluate("node => node.outerHTML")
        assert not re.search("NaN|Infinity|null|undefined", drawn)
    assert not errors
    page.close()


def test_a_curve_is_shown_from_its_other_end(browser):
    page = browser.new_page()
    page.set_content(mcu.atlas(study(ts=(0.0, 0.25, 1.0))).data)
    page.locator("svg").first.wait_for(timeout=30_000)
    slider, captions = page.locator("input"), page.locator("figcaption")
    for direction in (("original", "scrub"), ("scrub", "original")):
        for menu, name in zip(page.locator("select").all(), direction):
            menu.select_option(name)
        seen = []
        for key in ("Home", "ArrowRight", "End"):
            slider.press(key)
            seen.append((slider.get_attribute("aria-valuetext"), *captions.all_inner_texts()))
        if direction[0] == "original":
            assert [t for t, *_ in seen] == ["t = 0", "t = 0.25", "t = 1"]
            forward = [texts for _, *texts in seen]
    assert [t for t, *_ in seen] == ["t = 0", "t = 0.75", "t = 1"]
    assert [texts for _, *texts in seen] == forward[::-1] != forward
    page.close()


def test_two_curves_of_one_name_are_not_averaged():
    both = pd.concat([study().assign(objective=o) for o in ("npo", "retain")])
    with pytest.raises(ValueError, match="table must hold one objective .*'npo', 'retain'.*linear"):
        mcu.atlas(both)
    apart = both.assign(curve=both.curve + " " + both.objective)
    assert len(stored(apart)["paths"]) == 4


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="columns"):
        mcu.atlas(pd.DataFrame({"t": [0.0]}))
    with pytest.raises(ValueError, match=r"without '\|', got 'original\|x\|y\|linear'"):
        mcu.atlas(study().replace({"b": {"npo": "x|y"}}))
    with pytest.raises(ValueError, match="has NaN in"):
        mcu.atlas(study().assign(b=study().b.mask(study().b == "npo")))
    mixed = pd.concat([study(), study(ts=(0.0, 1.0)).assign(curve="bezier")])
    with pytest.raises(ValueError, match="same ts"):
        mcu.atlas(mixed)

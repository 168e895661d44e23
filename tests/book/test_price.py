from dataclasses import replace

import pandas as pd

import mcu_lite as mcu
from mcu_lite.book.price import FAMILIES, on_unseen, price, priced, shares


def test_every_pair_of_ends_has_one_family():
    lines = priced(["npo", "scrub"])
    ends = [(c.a, c.b) for c in lines]
    assert len(set(ends)) == len(ends) and {c.name for c in lines} == set(FAMILIES)
    assert not any(
        {c.a.method, c.b.method} <= {"original", "retrain", "retrain_same"} for c in lines
    )


def test_the_price_is_that_of_fits_by_hand():
    setting = mcu.Setting(seeds=2, ts=5, epochs=20)
    lines = [c for c in priced(["npo"]) if c.name.startswith("retrained, another")]
    found = price(lines, setting, steps=(0, 5, 100))
    task = mcu.load_task("digits", 2)
    theta = mcu.train(task, epochs=20)
    ends = [mcu.unlearn(theta, task, m, epochs=20) for m in ("retrain", "npo")]
    for n, own in found.groupby("steps"):
        curve = {"objective": "connected", "steps": n} if n else {"curve": "linear"}
        table = mcu.evaluate(mcu.connect(*ends, task, **curve), task, 5, metrics=["loss"])
        pd.testing.assert_series_equal(
            own.by.reset_index(drop=True), mcu.is_connected(table).by, atol=1e-4, check_exact=False
        )
    assert found.by.groupby(found.steps).mean().is_monotonic_decreasing


def test_shares_count_pairs_and_seeds():
    names = list(FAMILIES)[:2]
    rows = [(names[0], "a", "b", s, n, n > 10 * s, 0.0) for s in (0, 1) for n in (0, 25)]
    rows += [(names[1], "a", "b", 0, n, pd.NA, 0.0) for n in (0, 25)]
    columns = ["condition", "a", "b", "seed", "steps", "connected", "by"]
    table = pd.DataFrame(rows, columns=columns).astype({"connected": "boolean"})
    found = shares(table)
    assert found.loc[names[0]].tolist() == [0.0, 1.0] and found.loc[names[1]].isna().all()


def test_the_unseen_examples_are_not_fitted_on():
    task = mcu.load_task("digits", 2)
    theta = mcu.train(task, epochs=10)
    a, b = (mcu.unlearn(theta, task, m, steps=20) for m in ("npo", "finetune"))
    found = on_unseen(a, b, task, 5, 30)
    halves = [set(task.forget[0, i::2].tolist()) for i in (0, 1)]
    assert not halves[0] & halves[1]
    # The same curve comes out whatever the labels of the other half are.
    labels = task.labels.clone()
    labels.scatter_(1, task.forget[:, 1::2], 0)
    again = on_unseen(a, b, replace(task, labels=labels), 5, 30)
    seen, unseen = (
        [t[t.examples == name].by.reset_index(drop=True) for t in (found, again)]
        for name in ("seen", "unseen")
    )
    pd.testing.assert_series_equal(*seen)
    assert not unseen[0].equals(unseen[1])

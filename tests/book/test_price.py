import math
import statistics
from dataclasses import replace

import pandas as pd
import pytest
import torch
from pytest import approx

import mcu_lite as mcu
from mcu_lite.book.price import (
    FAMILIES,
    bill,
    by_test_and_chance,
    on_unseen,
    price,
    priced,
    shares,
    variants,
)


def test_every_pair_of_ends_has_one_family():
    lines = priced(["npo", "scrub"])
    ends = [(c.a, c.b) for c in lines]
    assert len(set(ends)) == len(ends) and {c.name for c in lines} == set(FAMILIES)
    assert not any(
        {c.a.method, c.b.method} <= {"original", "retrain", "retrain_same"} for c in lines
    )


@pytest.mark.parametrize("objective", ["connected", "two_sided"])
def test_the_price_is_that_of_fits_by_hand(objective):
    setting = mcu.Setting(seeds=2, ts=5, epochs=20, steps=5)
    lines = [c for c in priced(["npo"]) if c.name.startswith("retrained, another")]
    found = price(lines, setting, times=(0, 1, 20), objective=objective)
    task = mcu.load_task("digits", 2)
    theta = mcu.train(task, epochs=20)
    ends = [mcu.unlearn(theta, task, m, epochs=20) for m in ("retrain", "npo")]
    for n, own in found.groupby("steps"):
        curve = {"objective": objective, "steps": n} if n else {"curve": "linear"}
        path = mcu.connect(*ends, task, **curve)
        table = mcu.evaluate(path, task, 5, metrics=["loss"])
        assert own.by.to_numpy() == approx(mcu.is_connected(table).by.to_numpy(), abs=1e-4)
        test = table[table.split == "test"].pivot(index="seed", columns="t", values="value")
        at, values = test.columns.to_numpy(), test.to_numpy()
        straight = values[:, :1] * (1 - at) + values[:, -1:] * at
        assert own.test.to_numpy() == approx((values - straight).max(1), abs=1e-4)
        points = path.rows(torch.linspace(0, 1, 21))
        length = (points[1:] - points[:-1]).norm(dim=-1).sum(0)
        chord = (points[-1] - points[0]).norm(dim=-1)
        assert own.arc.to_numpy() == approx((length / chord).numpy(), rel=1e-4)
    assert found.by.groupby(found.steps).mean().is_monotonic_decreasing


def priced_table(*rows):
    columns = ["condition", "a", "b", "seed", "steps", "connected", "by", "arc"]
    table = pd.DataFrame(rows, columns=columns).astype({"connected": "boolean"})
    return table.assign(test=table.steps / 100, membership=0.0, oracle=0.0)


def test_what_is_connected_stays_so_with_more_steps():
    one, two = list(FAMILIES)[:2]
    rows = [(one, "a", "b", s, n, n > 10 * s, 0.2, 1.0) for s in (0, 1) for n in (0, 25)]
    rows += [(one, "a", "c", s, 0, True, -0.1, 1.0) for s in (0, 1)]
    rows += [(two, "a", "b", 0, n, pd.NA, math.nan, 1.0) for n in (0, 25)]
    found = shares(priced_table(*rows))
    assert found.loc[one].tolist() == [0.5, 1.0] and found.loc[two].tolist() == [0.0, 0.0]


def test_the_bill_is_that_of_the_cheapest_curve():
    one = list(FAMILIES)[0]
    rows = [(one, "a", "b", 0, n, n >= 100, 0.5 - n / 100, 1 + n / 100) for n in (0, 100, 400)]
    found = bill(priced_table(*rows)).loc[one]
    assert found[["steps", "misses", "arc", "test"]].tolist() == [100, 0.5, 2.0, 1.0]


def two_ends():
    task = mcu.load_task("digits", 2)
    theta = mcu.train(task, epochs=10)
    return task, theta, *(mcu.unlearn(theta, task, m, steps=20) for m in ("npo", "finetune"))


def test_a_fit_is_varied_in_what_its_name_says():
    task, _, a, b = two_ends()
    found = variants(a, b, task, 5, 20, {"plain": {}, "retain": {"objective": "retain"}})
    for name, objective in (("plain", "connected"), ("retain", "retain")):
        table = mcu.evaluate(mcu.connect(a, b, task, objective=objective, steps=20), task, 5)
        assert found[found.fit == name].by.tolist() == mcu.is_connected(table).by.tolist()


def test_the_score_of_a_checkpoint_is_a_harmonic_mean():
    task, theta, a, b = two_ends()
    path = mcu.connect(a, b, curve="linear")
    table = mcu.evaluate(path, task, [0.3, 0.4, 0.5, 0.6, 0.7], metrics=["accuracy"])
    goal = mcu.evaluate(theta, task, metrics=["accuracy"]).query("split == 'test'").value.to_list()
    for row, score in enumerate(by_test_and_chance(task, theta)(path).tolist()):
        own = table[table.seed == row].groupby("split").value.mean()
        parts = 1 - abs(own.test - goal[row]), 1 - abs(own.forget - 0.1)
        assert score == approx(statistics.harmonic_mean(parts))


def test_a_diverged_seed_keeps_its_place_among_the_scores():
    task, theta, a, b = two_ends()
    path = mcu.connect(a, b, curve="linear")
    whole = by_test_and_chance(task, theta)(path)
    lost = torch.tensor([True, False])
    for score in (
        by_test_and_chance(task, theta)(replace(path, diverged=lost)),
        by_test_and_chance(task, replace(theta, diverged=lost))(replace(path, diverged=lost)),
    ):
        assert score.isnan().tolist() == [True, False] and score[1] == whole[1]


def test_no_steps_to_try_are_refused():
    with pytest.raises(ValueError, match="times must hold at least one"):
        price([], mcu.Setting(), times=[])


def test_the_unseen_examples_are_not_fitted_on():
    task, _, a, b = two_ends()
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

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import mcu_lite as mcu
from mcu_lite.metrics.distances import displacement, distance
from mcu_lite.studies import matching
from mcu_lite.studies.matching import end_distances, matched

SMALL = mcu.Setting(seeds=2, ts=3, epochs=4)


def by_hand(a, b):
    """‖a - b‖ of two modules, number by number."""
    pairs = zip(a.parameters(), b.parameters())
    numbers = [n for p, q in pairs for n in zip(p.flatten().tolist(), q.flatten().tolist())]
    return math.sqrt(sum((u - v) ** 2 for u, v in numbers))


def test_distances_against_a_loop(theta, task):
    a, b = (mcu.unlearn(theta, task, m, steps=3) for m in ("npo", "finetune"))
    for found, one, two in ((distance(a, b), a, b), (displacement(a), a, theta)):
        loop = [by_hand(one.module(i), two.module(i)) for i in range(len(task))]
        np.testing.assert_allclose(found, loop, rtol=1e-6)
    assert (distance(a, a) == 0).all()


def test_a_shift_of_every_weight_has_a_known_length(theta):
    moved = theta.with_rows(theta.rows + torch.tensor([[0.5], [-1.0]]), origin=theta)
    wanted = np.array([0.5, 1.0]) * math.sqrt(theta.architecture.size)
    np.testing.assert_allclose(displacement(moved), wanted, rtol=1e-6)


def test_diverged_rows_are_nan(theta):
    rows = theta.rows.clone()
    rows[1] = torch.nan
    broken = theta.with_rows(rows, diverged=torch.tensor([False, True]))
    assert np.isnan(distance(broken, theta)).tolist() == [False, True]
    assert np.isnan(distance(theta, broken)).tolist() == [False, True]


def test_apart_names_pairs_as_run_does(tmp_path):
    a, b, start = mcu.Endpoint("npo"), mcu.Endpoint("npo", 1), mcu.Endpoint("original")
    conditions = [mcu.Condition("Rand", a, b, c) for c in ("linear", "bezier")]
    conditions.append(mcu.Condition("Original", start, a, "linear"))
    found = end_distances(conditions, SMALL, cache=tmp_path)
    assert list(found) == ["a", "b", "seed", "distance", "moved_a", "moved_b"]
    assert len(found) == 4  # both curves have the same ends
    table = mcu.run(conditions, SMALL, cache=tmp_path)
    assert set(table[["a", "b", "seed"]].itertuples(index=False, name=None)) == set(
        found[["a", "b", "seed"]].itertuples(index=False, name=None)
    )
    stacks = mcu.endpoints([a, b, start], SMALL, cache=tmp_path)
    rand, whole = found[:2], found[2:]
    np.testing.assert_allclose(rand.distance, distance(stacks[a], stacks[b]))
    np.testing.assert_allclose(rand.moved_b, displacement(stacks[b]))
    assert (whole.moved_a == 0).all()
    np.testing.assert_allclose(whole.distance, whole.moved_b)


def test_apart_takes_seeds_by_name(tmp_path):
    setting = replace(SMALL, seeds=(4, 7))
    condition = mcu.Condition("x", mcu.Endpoint("delete"), mcu.Endpoint("npo"), "linear")
    assert end_distances([condition], setting, cache=tmp_path).seed.tolist() == [4, 7]


@pytest.mark.parametrize("by", ["lr", "steps"])
def test_a_matched_run_moves_as_far_and_differs_in_nothing_else(tmp_path, by):
    end, target = mcu.Endpoint("npo", order=2), mcu.Endpoint("npo")
    found = matched(end, target, SMALL, by=by, within=0.05, cache=tmp_path)
    assert replace(found, **{by: None}) == end
    stacks = mcu.endpoints([end, target, found], SMALL, cache=tmp_path)
    far, goal, near = (displacement(stacks[e]).mean() for e in (end, target, found))
    assert abs(near / goal - 1) <= 0.05 < abs(far / goal - 1)
    again = matched(end, goal, SMALL, by=by, within=0.05, cache=tmp_path)
    assert again == found


def pretend(monkeypatch, moves):
    """Replace the runs by a displacement that is a known function of the rate."""
    asked = []

    def endpoints(ends, setting=None, *, cache=None):
        asked.extend(end.lr for end in ends)
        return {end: end.lr for end in ends}

    monkeypatch.setattr(matching, "endpoints", endpoints)
    monkeypatch.setattr(matching, "displacement", lambda lr: np.array(moves(lr)))
    return asked


@pytest.mark.parametrize("exponent", [0.4, 1.0, 2.5])
def test_a_power_law_is_solved_in_three_tries(monkeypatch, exponent):
    asked = pretend(monkeypatch, lambda lr: [700 * lr**exponent, np.nan])
    found = matched(mcu.Endpoint("npo"), 2.0, within=0.01)
    assert found.lr == pytest.approx((2 / 700) ** (1 / exponent), rel=0.01)
    assert len(asked) <= 3


def test_the_closest_is_kept_if_none_is_close(monkeypatch):
    asked = pretend(monkeypatch, lambda lr: [1.0 if lr < 1e-4 else 5.0])  # 2 is never reached
    found = matched(mcu.Endpoint("npo"), 2.0, tries=5)
    assert found.lr < 1e-4 and len(asked) <= 5


def test_a_diverged_try_is_left_behind(monkeypatch):
    pretend(monkeypatch, lambda lr: [100 * lr if lr < 5e-4 else np.nan])
    assert matched(mcu.Endpoint("npo"), 0.01).lr == pytest.approx(1e-4)


NPO = mcu.Endpoint("npo")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda theta: displacement(theta), "origin|original"),
        (lambda theta: distance(theta, mcu.Stack(theta.architecture, theta.rows[:1])), "shape"),
        (lambda theta: end_distances([]), "conditions must hold"),
        (lambda theta: matched(NPO, 1.0, by="forget_weight"), "'lr', 'steps'"),
        (lambda theta: matched(mcu.Endpoint("retrain"), 1.0), "end must be"),
        (lambda theta: matched(mcu.Endpoint("original"), 1.0), "end must be"),
        (lambda theta: matched(NPO, 0.0), "target must"),
        (lambda theta: matched(NPO, math.nan), "target must"),
        (lambda theta: matched(NPO, 1.0, tries=0), "tries must"),
        (lambda theta: matched(NPO, 1.0, within=0.0), "within > 0"),
    ],
)
def test_bad_input_is_named(theta, call, says):
    with pytest.raises(ValueError, match=says):
        call(theta)

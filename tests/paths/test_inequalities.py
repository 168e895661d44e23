"""Curves that are fitted on both inequalities of the definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.paths.inequalities import inequality_objective


@pytest.fixture(scope="module")
def setup():
    task = mcu.load_task("digits", seeds=2)
    # A batch is the whole of each split, so that the loss can be computed by hand.
    whole = {"forget": task.forget.shape[1], "retain": task.retain.shape[1]}
    task = replace(task, recipes={"batch": whole})
    theta = mcu.train(task, epochs=10)
    a, b = (mcu.unlearn(theta, task, m, steps=20) for m in ("npo", "finetune"))
    return task, theta, a, b


def losses(module, task, split, seed):
    x, y = task.split(split)
    return cross_entropy(module(x[seed]), y[seed]).item()


@pytest.mark.parametrize(
    ("name", "penalty"), [("connected", lambda d: max(d, 0.0)), ("two_sided", abs)]
)
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_the_definition(setup, name, penalty, t):
    task, theta, a, b = setup
    loss = inequality_objective(name, a, b, task).start(0, 1)
    found = loss(theta.rows, torch.full((2,), t))
    for seed in range(2):
        ends = [losses(s.module(seed), task, "forget", seed) for s in (a, b)]
        line = (1 - t) * ends[0] + t * ends[1]
        own = [losses(theta.module(seed), task, split, seed) for split in ("retain", "forget")]
        assert found[seed].item() == pytest.approx(own[0] + penalty(line - own[1]), abs=1e-5)
        assert line > own[1]  # the original remembers: else nothing would be tested


def test_the_fit_connects_what_the_retain_loss_alone_leaves_apart(setup):
    """The ends forgot; a curve on the retain loss comes back to what the original knew."""
    task, _, _, _ = setup
    theta = mcu.train(task, epochs=60)
    ends = [mcu.unlearn(theta, task, m) for m in ("gradient_ascent", "finetune")]
    by = {}
    for objective in ("retain", "connected"):
        path = mcu.connect(*ends, task, objective=objective, steps=200, lr=1e-2)
        by[objective] = mcu.is_connected(mcu.evaluate(path, task, 11, metrics=["loss"]))
    assert not by["retain"].connected.any() and set(by["retain"].breaks) == {"forget"}
    assert by["connected"].connected.all()


def test_two_sided_stays_closer_to_the_line_than_one_sided(setup):
    task, _, a, b = setup
    away = {}
    for objective in ("connected", "two_sided"):
        path = mcu.connect(a, b, task, objective=objective, steps=100)
        table = mcu.evaluate(path, task, 11, metrics=["loss"])
        wide = table[table.split == "forget"].pivot(index="seed", columns="t", values="value")
        straight = np.linspace(wide[0.0], wide[1.0], 11).T
        away[objective] = np.abs(wide.to_numpy() - straight).mean()
    assert away["two_sided"] < away["connected"]


def test_the_control_point_starts_where_it_is_told(setup):
    task, theta, a, b = setup
    fit = {"objective": "retain", "steps": 0, "bends": 2}
    chord, original, own = (
        mcu.connect(a, b, task, start=start, **fit).control[1:-1]
        for start in ("chord", "original", b)
    )
    torch.testing.assert_close(chord[0], a.rows + (b.rows - a.rows) / 3)
    assert all(torch.equal(point, theta.rows) for point in original)
    assert all(torch.equal(point, b.rows) for point in own)


def test_a_start_that_does_not_fit_is_refused(setup):
    task, theta, a, b = setup
    alone = [replace(s, origin=None) for s in (a, b)]
    with pytest.raises(ValueError, match="start must be 'chord', 'original' if a or b has"):
        mcu.connect(*alone, task, objective="retain", start="original")
    with pytest.raises(ValueError, match="unknown start 'middle'"):
        mcu.connect(a, b, task, objective="retain", start="middle")
    with pytest.raises(ValueError, match="or 2 models"):
        mcu.connect(a, b, task, objective="retain", start=mcu.Stack.cat([a, b]))


def test_studies_know_the_objectives_by_name():
    ends = mcu.Endpoint("npo"), mcu.Endpoint("npo", 1)
    pair = [mcu.Condition("Rand", *ends, objective=o) for o in ("connected", "two_sided")]
    table = mcu.run(pair, mcu.Setting(seeds=2, ts=3, epochs=2, steps=2, metrics=["loss"]))
    assert set(table.objective) == {"connected", "two_sided"}
    with pytest.raises(ValueError, match="name must not be 'connected'"):
        mcu.method("connected")(lambda forget, retain: (None, retain.loss))


def test_a_state_of_the_fit_is_selected_row_by_row(setup):
    task, _, a, b = setup
    seen = []

    def score(path):
        seen.append(path.control[1])
        return torch.tensor([len(seen) == 1, len(seen) == 6]).double()

    how = {"objective": "connected", "steps": 30}
    found = mcu.connect(a, b, task, select=score, **how)
    last = mcu.connect(a, b, task, **how)
    assert len(seen) == 11 and torch.equal(seen[-1], last.control[1])
    assert torch.equal(seen[0], (a.rows + b.rows) / 2)
    assert torch.equal(found.control[1], torch.stack([seen[0][0], seen[5][1]]))


@pytest.mark.parametrize(
    "given", [torch.tensor(1.0), torch.ones(2, 1), torch.ones(3), [1.0, 2.0], 1.0, None]
)
def test_a_score_that_is_not_one_number_a_curve_is_refused(setup, given):
    task, _, a, b = setup
    with pytest.raises(ValueError, match="select must give a tensor of 2 scores, one a curve, got"):
        mcu.connect(a, b, task, objective="connected", steps=2, select=lambda path: given)


def test_without_a_score_the_last_state_stays_and_what_is_lost_stays_lost(setup):
    task, _, a, b = setup
    how = {"objective": "connected", "steps": 12}
    last = mcu.connect(a, b, task, **how).control
    unknown = mcu.connect(a, b, task, select=lambda path: torch.full((2,), torch.nan), **how)
    assert torch.equal(unknown.control, last)
    rows = a.rows.clone()
    rows[0] = torch.nan
    lost = replace(a, rows=rows, diverged=torch.tensor([True, False]))
    found = mcu.connect(lost, b, task, select=lambda path: torch.zeros(2, dtype=bool), **how)
    assert found.control[1].isnan().all(1).tolist() == [True, False]

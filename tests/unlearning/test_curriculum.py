import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import mcu_lite as mcu
from mcu_lite.unlearning.curriculum import FIRST, ORDERS, Curriculum, in_order, superloss_weights
from mcu_lite.unlearning.objectives import unlearning_objective


def losses(rows=3, n=40, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(rows, n, generator=rng, dtype=dtype) * 3


def objective(sigma, loss, tau, lam):
    return (loss - tau) * sigma + lam * math.log(sigma) ** 2


def minimum(loss, tau, lam):
    """Search 0 < σ <= e; the bound is where the concave side of λ(log σ)² begins."""
    return minimize_scalar(
        objective,
        bounds=(1e-9, math.e),
        args=(loss, tau, lam),
        method="bounded",
        options={"xatol": 1e-12},
    )


@pytest.mark.parametrize("lam", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("tau", [-1.0, 0.5, 1.7])
def test_weights_minimise_the_superloss(lam, tau):
    values = torch.linspace(-2.0, 6.0, 23, dtype=torch.float64).unsqueeze(0)
    weights = superloss_weights(values, torch.tensor([tau]), lam)
    searched = [minimum(loss, tau, lam).x for loss in values[0].tolist()]
    np.testing.assert_allclose(weights[0], searched, rtol=2e-5)


def test_weights_invert_the_equation_of_lambert():
    values, tau, lam = losses() * 4 - 6, torch.tensor([0.1, -0.2, 1.0]), torch.tensor([0.5, 1, 2])
    w = -superloss_weights(values, tau, lam).log()
    wanted = (0.5 * (values - tau[:, None]) / lam[:, None]).clamp(min=-1 / math.e)
    torch.testing.assert_close(w * w.exp(), wanted, rtol=1e-9, atol=1e-12)
    assert (w >= -1).all()  # the branch of the minimum


def test_easiest_examples_get_weight_e_and_threshold_gets_1():
    values = torch.tensor([[-1e9, 1.0 - 2 / math.e, 1.0, 1e9]])
    weights = superloss_weights(values, torch.tensor(1.0), 1.0)
    np.testing.assert_allclose(weights[0, :3], [math.e, math.e, 1.0], rtol=1e-3)
    assert weights[0, 0] == pytest.approx(math.e, rel=1e-6) and 0 <= weights[0, 3] < 1e-6


@pytest.mark.parametrize("shape", ["uniform", "mostly easy", "mostly hard"])
def test_absolute_lambda_10_does_nothing_and_relative_1_does(shape):
    values = losses(rows=1, n=500, dtype=torch.float32)
    values = {
        "uniform": values,
        "mostly easy": 3 * (values / 3) ** 2,
        "mostly hard": 3 * (values / 3) ** 0.5,
    }[shape]
    absolute = superloss_weights(values, values.mean(1), 10.0)
    assert absolute.min() > 0.905 and absolute.max() < 1.125
    relative = Curriculum(1.0, 1).weights(values, "train", 0.0)
    assert relative.min() < 0.7 and relative.max() > 1.4


def test_detached_weights_are_the_gradient_of_the_superloss():
    tau, lam, step = 0.8, 0.7, 1e-3
    values = torch.linspace(0.35, 5.0, 9, dtype=torch.float64).unsqueeze(0)
    best = [[minimum(x + d, tau, lam).fun for d in (-step, step)] for x in values[0].tolist()]
    slope = np.diff(best, axis=1).ravel() / (2 * step)
    attached = values.clone().requires_grad_()
    weights = superloss_weights(attached, torch.tensor([tau]), lam)
    assert not weights.requires_grad
    (gradient,) = torch.autograd.grad((weights * attached).sum(), attached)
    np.testing.assert_allclose(gradient[0], slope, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_keep_the_dtype(dtype):
    values = losses(dtype=torch.float32).to(dtype).requires_grad_()
    for weights in (
        superloss_weights(values, torch.ones(3), 1.0),
        Curriculum(1.0, 3).weights(values, "retain", 0.0),
    ):
        assert weights.dtype == dtype and weights.shape == (3, 40) and not weights.requires_grad


def test_running_means_against_a_loop():
    batches = [losses(2, n, seed=n) for n in (8, 8, 5, 11)]
    curriculum = Curriculum(0.5, 2)
    ends = np.zeros((2, 2))
    tau, scale = [None, None], [None, None]
    for batch in batches:
        weights = curriculum.weights(batch, "retain", 0.0)
        curriculum.weights(batch * 0 + 7.0, "forget", 0.0)  # another split has its own means
        for b, row in enumerate(batch.tolist()):
            mean = sum(row) / len(row)
            tau[b] = mean if tau[b] is None else 0.9 * tau[b] + 0.1 * mean
            away = sum(abs(x - tau[b]) for x in row) / len(row)
            scale[b] = away if scale[b] is None else 0.9 * scale[b] + 0.1 * away
            expected = [minimum(x, tau[b], 0.5 * scale[b]).x for x in row]
            np.testing.assert_allclose(weights[b], expected, rtol=1e-3)
            ends[b] += np.quantile(weights[b], [0.05, 0.95]) + 1.0  # constant losses weigh 1
    np.testing.assert_allclose(curriculum.spread, ends / 8, rtol=1e-5)


def test_rows_are_independent():
    together, alone = Curriculum(1.0, 3), Curriculum(1.0, 1)
    for seed in range(3):
        values = losses(seed=seed, dtype=torch.float32) * torch.tensor([[1.0], [1e3], [1e-3]])
        weights = together.weights(values, "train", 0.0)
        assert torch.equal(weights[1:2], alone.weights(values[1:2], "train", 0.0))
    assert torch.equal(together.spread[1:2], alone.spread)


def test_relative_lambda_ignores_unit_and_offset():
    values = losses()
    plain, scaled = (Curriculum(1.0, 3).weights(v, "train", 0.0) for v in (values, 50 * values - 9))
    torch.testing.assert_close(plain, scaled)


def test_constant_losses_weigh_1():
    for value in (0.0, 0.7, 1e4):
        weights = Curriculum(1.0, 2).weights(torch.full((2, 33), value), "train", 0.0)
        torch.testing.assert_close(weights, torch.ones(2, 33), rtol=1e-4, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_diverged_row_stays_alone(bad, first):
    broken, sound = Curriculum(1.0, 3), Curriculum(1.0, 3)
    for step in range(4):
        values = losses(seed=step)
        given = values.clone()
        if step == (0 if first else 2):
            given[1, 3] = bad
        a, b = broken.weights(given, "train", 0.0), sound.weights(values, "train", 0.0)
        assert torch.equal(a[[0, 2]], b[[0, 2]])
        assert a.isfinite().all()
        assert (a[1] == 1).all() == (step == (0 if first else 2))
    assert torch.equal(broken.spread[[0, 2]], sound.spread[[0, 2]])
    assert broken.spread.isfinite().all()


def test_diverged_batch_leaves_the_means_of_its_row():
    broken, sound = Curriculum(1.0, 3), Curriculum(1.0, 3)
    for step in range(4):
        values = losses(seed=step)
        if step == 2:
            broken.weights(values.index_fill(1, torch.tensor(3), math.inf), "train", 0.0)
        torch.testing.assert_close(
            broken.weights(values, "train", 0.0), sound.weights(values, "train", 0.0)
        )


def test_nan_threshold_stays_in_its_row():
    values = losses()
    weights = superloss_weights(values, torch.tensor([1.0, math.nan, 1.0]), 1.0)
    assert weights[1].isnan().all() and weights[[0, 2]].isfinite().all()


def test_spread_of_a_row_without_a_finite_batch_is_nan():
    values = losses()
    values[0] = math.nan
    curriculum = Curriculum(1.0, 3)
    curriculum.weights(values, "train", 0.0)
    assert curriculum.spread[0].isnan().all()
    low, high = curriculum.spread[1:].unbind(1)
    assert (low < 0.8).all() and (high > 1.3).all()


@pytest.mark.parametrize("lam", [0.0, -1.0, torch.tensor([1.0, 0.0, 1.0])])
def test_bad_lambda(lam):
    with pytest.raises(ValueError, match="lam must be > 0"):
        superloss_weights(losses(), torch.ones(3), lam)


def test_an_objective_that_is_started_twice_begins_anew(task, theta):
    objective = unlearning_objective("npo", theta, task)
    values = []
    for _ in range(2):
        loss = objective.start(0, 3, Curriculum(1.0, len(theta)))
        values.append(torch.stack([loss(theta.rows) for _ in range(3)]))
    assert torch.equal(*values)
    plain = objective.start(0, 3)
    assert not torch.equal(values[0][0], plain(theta.rows))


@pytest.mark.parametrize("order", ["easy_to_hard", "hard_to_easy"])
def test_an_order_admits_more_and_more_from_its_own_end(order):
    values = losses()
    n, counts = values.shape[1], []
    for done in (0.0, 0.3, 0.99):
        weights = Curriculum(order, len(values)).weights(values, "forget", done)
        for own, given in zip(values.tolist(), weights.tolist()):
            ranked = sorted(range(n), key=lambda i: own[i], reverse=order == "hard_to_easy")
            count = round(n * (FIRST + (1 - FIRST) * done))
            assert {i for i in range(n) if given[i] > 0} == set(ranked[:count])
            assert set(given) <= {0.0, n / count}
        counts.append(count)
    assert counts == sorted(set(counts)) and counts[0] == n // 5
    assert torch.equal(in_order(values, 1.0, order), torch.ones_like(values))


def test_every_order_unlearns_something_else(theta, task):
    ends = [mcu.unlearn(theta, task, "npo", steps=4, curriculum=c).rows for c in (0.0, *ORDERS)]
    assert all(not torch.equal(a, b) for a, b in combinations(ends, 2))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="unknown curriculum 'hard'; known are 'easy_to_hard'"):
        mcu.Endpoint("npo", curriculum="hard")
    end = mcu.Endpoint("npo", curriculum="easy_to_hard")
    assert str(end) == "npo seed=0 curriculum=easy_to_hard"

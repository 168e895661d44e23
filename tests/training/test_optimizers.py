import math

import numpy as np
import pytest
import torch

from mcu_lite.models.architecture import Architecture
from mcu_lite.training.optimizers import (
    BETAS,
    CURVATURE_EVERY,
    EPS,
    RHO,
    gauss_newton_bartlett,
    sophia,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def parameter(value):
    return value.detach().clone().requires_grad_()


def noisy(steps):
    """Gradients of 25 steps, and estimates of the curvature, of which some are negative."""
    return (
        [normal(3, 7, seed=100 + step) for step in range(steps)],
        [normal(3, 7, seed=200 + step) * 30 + 20 for step in range(0, steps, CURVATURE_EVERY)],
    )


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_sophia_against_a_loop_over_coordinates(decay):
    (b1, b2), lr, (gradients, estimates) = BETAS, 0.03, noisy(12)
    rows, given = parameter(normal(3, 7)), iter(estimates)
    update = sophia(rows, lambda rows: next(given), decay)
    theta, m, h, clipped = rows.detach().flatten().tolist(), [0.0] * 21, [0.0] * 21, 0
    for step, gradient in enumerate(gradients):
        update(gradient, lr)
        for i, g in enumerate(gradient.flatten().tolist()):
            m[i] = b1 * m[i] + (1 - b1) * g
            if step % 5 == 0:
                h[i] = b2 * h[i] + (1 - b2) * estimates[step // 5].flatten()[i].item()
            ratio = m[i] / max(RHO * h[i], EPS)
            clipped += abs(ratio) > 1
            theta[i] = theta[i] * (1 - lr * decay) - lr * max(-1.0, min(1.0, ratio))
    assert 12 < clipped < 12 * 21 - 12  # both cases happen
    np.testing.assert_allclose(rows.detach().flatten(), theta, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_sophia_against_another_implementation(decay):
    """SophiaH clips m/h at ±p before it multiplies by the rate; ours at ±1 after dividing by ρ.

    With p = ρ, its rate lr/ρ, its decay ρ·wd and its eps/ρ, both rules are one.
    """
    other, lr = pytest.importorskip("pytorch_optimizer"), 0.02
    ours, theirs = (parameter(normal(3, 7)) for _ in range(2))
    gradients, estimates = noisy(25)
    given = iter(estimates)
    update = sophia(ours, lambda rows: next(given), decay)
    how = {"betas": BETAS, "p": RHO, "weight_decay": RHO * decay, "eps": EPS / RHO}
    reference = other.SophiaH([theirs], lr=lr / RHO, **how)
    reference.update_period = 10**9  # never estimates a Hessian by itself after the first step
    for step, gradient in enumerate(gradients):
        theirs.grad = gradient.clone()
        estimate = None if step % CURVATURE_EVERY else estimates[step // CURVATURE_EVERY]
        reference.step(hessian=None if estimate is None else [estimate.clone()])
        update(gradient, lr)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_sophia_takes_steps_of_lr_where_the_curvature_is_unknown():
    rows = parameter(normal(2, 4))
    before = rows.detach().clone()
    update = sophia(rows, torch.zeros_like, 0.0)
    update(torch.tensor([[1.0, -1e-6, 0.0, 9.0]] * 2).double(), 0.1)
    moved = torch.tensor([[-0.1, 0.1, 0.0, -0.1]] * 2).double()
    torch.testing.assert_close(rows.detach() - before, moved)


def linear_softmax(rows, inputs, classes):
    return torch.einsum("bck,bnk->bnc", rows.view(len(rows), classes, -1), inputs)


def test_bartlett_is_unbiased_for_the_gauss_newton_diagonal():
    """Of W x: the second derivative by the weight (c, k) is the mean of p_c (1 - p_c) x_k²."""
    n, classes, draws = 6, 3, 40_000
    row, inputs = normal(classes * 4), normal(n, 4, seed=3)
    rows = parameter(row.expand(draws, -1))  # equal rows draw their labels independently
    logits = linear_softmax(rows, inputs.expand(draws, -1, -1), classes)
    samples = gauss_newton_bartlett(logits, rows, [generator()] * draws)
    exact = np.zeros((classes, 4))
    for x in inputs.numpy():
        z = np.exp(row.view(classes, 4).numpy() @ x)
        p = z / z.sum()
        exact += np.outer(p * (1 - p), x**2) / n
    error = samples.std(0) / math.sqrt(draws)
    deviation = (samples.mean(0) - torch.from_numpy(exact).flatten()) / error
    assert (samples >= 0).all()
    assert (error < 0.02 * torch.from_numpy(exact).flatten()).all()
    assert deviation.abs().max() < 4 and deviation.square().mean() < 2


def test_bartlett_draws_labels_from_the_softmax():
    """A sure model draws its own prediction, and the gradient vanishes."""
    rows = parameter(normal(2, 12) * 1e3)
    logits = linear_softmax(rows, normal(2, 5, 4, seed=1), 3)
    assert gauss_newton_bartlett(logits, rows, [generator()] * 2).abs().max() < 1e-12


def network():
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return Architecture(module.double())


def estimate(rows, seed=0):
    rows = parameter(rows)
    logits = network().logits(rows, normal(len(rows), 6, 4, seed=7))
    result = gauss_newton_bartlett(logits, rows, [generator(seed)] * len(rows))
    torch.autograd.grad(logits.sum(), rows)  # the graph is still there
    return result


def test_an_estimate_repeats_with_the_generator():
    rows = normal(3, network().size)
    first, again, other = (estimate(rows, seed) for seed in (0, 0, 1))
    assert first.shape == rows.shape and not first.requires_grad
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_row_leaves_the_estimates_of_others_alone(bad):
    rows = normal(3, network().size)
    sound = estimate(rows)
    rows[1] = bad
    broken = estimate(rows)
    torch.testing.assert_close(broken[[0, 2]], sound[[0, 2]], rtol=1e-12, atol=0)


def test_a_broken_row_leaves_the_steps_of_others_alone():
    def run(bad):
        rows, given = parameter(normal(3, 4)), normal(3, 4, seed=9).abs()
        update = sophia(rows, lambda rows: given, 0.0)
        for step in range(3):
            gradient = normal(3, 4, seed=step)
            if bad and step == 1:
                gradient[1] = math.nan
            update(gradient, 0.1)
        return rows.detach()

    sound, broken = run(False), run(True)
    assert torch.equal(sound[[0, 2]], broken[[0, 2]]) and broken[1].isnan().all()

import copy
import math

import numpy as np
import pytest
import torch

from mcu_lite.models.architecture import Architecture
from mcu_lite.training.optimizers import Sophia, gauss_newton_bartlett, hutchinson


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def parameter(value):
    return value.detach().clone().requires_grad_()


def test_sophia_against_a_loop_on_a_quadratic():
    curvature, start = normal(2, 5, seed=1).exp() * 3, normal(2, 5)
    curvature[0, 0], curvature[0, 1] = -1.0, 0.7  # below eps
    lr, (b1, b2), rho, decay, eps = 0.03, (0.9, 0.8), 0.5, 0.1, 0.4
    rows = parameter(start)
    optimizer = Sophia([rows], lr=lr, betas=(b1, b2), rho=rho, weight_decay=decay, eps=eps)
    theta = start.flatten().tolist()
    h_true = curvature.flatten().tolist()
    m, h, clipped = [0.0] * 10, [0.0] * 10, 0
    for step in range(12):
        rows.grad = curvature * rows.detach()
        if step % 3 == 0:
            optimizer.observe([curvature])
        optimizer.step()
        for i in range(10):
            g = h_true[i] * theta[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            if step % 3 == 0:
                h[i] = b2 * h[i] + (1 - b2) * h_true[i]
            ratio = m[i] / max(rho * h[i], eps)
            clipped += abs(ratio) > 1
            theta[i] = theta[i] * (1 - lr * decay) - lr * max(-1.0, min(1.0, ratio))
    assert 12 < clipped < 100  # both cases happen
    np.testing.assert_allclose(rows.detach().flatten(), theta, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_sophia_against_another_implementation(decay):
    """SophiaH clips m/h at ±p before it multiplies by the rate; ours at ±1 after dividing by ρ.

    With p = ρ, its rate lr/ρ, its decay ρ·wd and its eps/ρ, both rules are one.
    """
    other = pytest.importorskip("pytorch_optimizer")
    lr, betas, rho, eps = 0.02, (0.9, 0.95), 0.3, 1e-12
    ours, theirs = (parameter(normal(3, 7)) for _ in range(2))
    sophia = Sophia([ours], lr=lr, betas=betas, rho=rho, weight_decay=decay, eps=eps)
    reference = other.SophiaH(
        [theirs], lr=lr / rho, betas=betas, p=rho, weight_decay=rho * decay, eps=eps / rho
    )
    reference.update_period = 10**9  # never estimates a Hessian by itself after the first step
    for step in range(25):
        gradient = normal(3, 7, seed=100 + step)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        estimate = normal(3, 7, seed=200 + step) * 3 + 4 if step % 4 == 0 else None
        if estimate is not None:
            sophia.observe([estimate])
        reference.step(hessian=None if estimate is None else [estimate.clone()])
        sophia.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_sophia_takes_steps_of_lr_before_it_knows_the_curvature():
    rows = parameter(normal(2, 4))
    before = rows.detach().clone()
    optimizer = Sophia([rows], lr=0.1, weight_decay=0.0)
    rows.grad = torch.tensor([[1.0, -1e-6, 0.0, 9.0]] * 2).double()
    optimizer.step()
    moved = torch.tensor([[-0.1, 0.1, 0.0, -0.1]] * 2).double()
    torch.testing.assert_close(rows.detach() - before, moved)


def test_sophia_minimises_an_ill_conditioned_quadratic():
    curvature = torch.tensor([[1e-2, 1.0, 1e2]]).double()
    rows = parameter(torch.ones(1, 3).double())
    optimizer = Sophia([rows], lr=0.05, rho=1.0, weight_decay=0.0)
    draws = generator()
    for _ in range(300):
        loss = 0.5 * (curvature * rows.square()).sum(1)
        optimizer.observe([hutchinson(loss, rows, draws)])
        (rows.grad,) = torch.autograd.grad(loss.sum(), rows)
        optimizer.step()
    assert rows.abs().max() < 1e-3


def test_sophia_treats_several_parameters_and_groups_like_one():
    whole = parameter(normal(2, 6))
    parts = [parameter(part) for part in whole.split([2, 4], dim=1)]
    one, two = Sophia([whole]), Sophia([{"params": [part]} for part in parts])
    for step in range(5):
        gradient, estimate = normal(2, 6, seed=step), normal(2, 6, seed=50 + step).abs()
        whole.grad = gradient
        for part, piece in zip(parts, gradient.split([2, 4], dim=1)):
            part.grad = piece
        one.observe([estimate])
        two.observe(list(estimate.split([2, 4], dim=1)))
        one.step()
        two.step()
    assert torch.equal(whole, torch.cat(parts, 1))


def test_sophia_resumes_from_its_state():
    rows = parameter(normal(2, 3).float())
    optimizer = Sophia([rows])

    def advance(rows, optimizer):
        rows.grad = 2 * rows.detach()
        optimizer.observe([torch.full((2, 3), 2.0)])
        optimizer.step()

    advance(rows, optimizer)
    copied = parameter(rows)
    resumed = Sophia([copied], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(rows, optimizer)
    advance(copied, resumed)
    assert torch.equal(rows, copied)


def test_sophia_evaluates_a_closure_with_gradients_and_skips_what_has_none():
    rows, idle = parameter(normal(1, 3)), parameter(normal(1, 2))
    before = idle.detach().clone()

    def closure():
        loss = rows.square().sum()
        loss.backward()
        return loss

    assert Sophia([rows, idle]).step(closure) == normal(1, 3).square().sum()
    assert torch.equal(idle, before)


@pytest.mark.parametrize(
    "name, value",
    [
        ("lr", 0.0),
        ("lr", math.nan),
        ("rho", -1.0),
        ("eps", 0.0),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("betas", (-0.1, 0.9)),
        ("betas", (0.9,)),
    ],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must"):
        Sophia([torch.zeros(1, 2, requires_grad=True)], **{name: value})


@pytest.mark.parametrize("estimates", [[], [torch.ones(2)], [torch.ones(1, 2)] * 2])
def test_bad_estimates_are_named(estimates):
    with pytest.raises(ValueError, match="estimates must"):
        Sophia([torch.zeros(1, 2, requires_grad=True)]).observe(estimates)


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


def test_hutchinson_is_exact_on_a_diagonal_quadratic():
    curvature, rows = normal(3, 6, seed=4), parameter(normal(3, 6))
    loss = 0.5 * (curvature * rows.square()).sum(1)
    torch.testing.assert_close(hutchinson(loss, rows, generator()), curvature)


def test_hutchinson_is_unbiased_on_dense_hessians():
    matrix, row, draws = normal(4, 4, seed=5), normal(4), 20_000

    def loss(rows):
        return (rows @ matrix).tanh().square().sum(-1) + rows.prod(-1)

    rows = parameter(row.expand(draws, -1))
    samples = hutchinson(loss(rows), rows, generator())
    exact = torch.autograd.functional.hessian(loss, row)
    deviation = samples.mean(0) - exact.diagonal()
    assert (deviation.abs() <= 4 * samples.std(0) / math.sqrt(draws)).all()
    # The variance of u∘(Hu) is the sum of the squared off-diagonal entries of each row of H.
    off = exact.square().sum(1) - exact.diagonal().square()
    np.testing.assert_allclose(samples.var(0), off, rtol=0.1)


def network():
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return Architecture(module.double())


def estimates(rows, seed=0):
    """Both estimators on B networks at once, from one graph."""
    rows = parameter(rows)
    logits = network().logits(rows, normal(len(rows), 6, 4, seed=7))
    labels = torch.arange(6).remainder(3).expand(len(rows), 6)
    loss = -logits.log_softmax(-1).gather(2, labels.unsqueeze(2)).mean((1, 2))
    rng = generator(seed)
    each = [rng] * len(rows)
    result = gauss_newton_bartlett(logits, rows, each), hutchinson(loss, rows, rng)
    torch.autograd.grad(loss.sum(), rows)  # the graph is still there
    return result


@pytest.mark.parametrize("which", [0, 1])
def test_estimators_repeat_with_the_generator(which):
    rows = normal(3, network().size)
    first, again, other = (estimates(rows, seed)[which] for seed in (0, 0, 1))
    assert first.shape == rows.shape and not first.requires_grad
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_row_leaves_the_estimates_of_others_alone(which, bad):
    rows = normal(3, network().size)
    sound = estimates(rows)[which]
    rows[1] = bad
    broken = estimates(rows)[which]
    torch.testing.assert_close(broken[[0, 2]], sound[[0, 2]], rtol=1e-12, atol=0)


def test_a_broken_row_leaves_the_steps_of_others_alone():
    def run(bad):
        rows = parameter(normal(3, 4))
        optimizer = Sophia([rows], lr=0.1)
        for step in range(3):
            rows.grad, estimate = normal(3, 4, seed=step), normal(3, 4, seed=9 + step).abs()
            if bad and step == 1:
                rows.grad[1], estimate[1] = math.nan, math.inf
            optimizer.observe([estimate])
            optimizer.step()
        return rows.detach()

    sound, broken = run(False), run(True)
    assert torch.equal(sound[[0, 2]], broken[[0, 2]]) and broken[1].isnan().all()

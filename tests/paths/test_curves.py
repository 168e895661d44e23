import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BPoly
from torch import nn
from torch.utils.checkpoint import checkpoint

import mcu_lite as mcu
from mcu_lite.paths.curves import CURVES, _blend, bezier_weights, chain_weights
from mcu_lite.unlearning.objectives import retain_objective


def modules(*seeds, width=8):
    made = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made.append(nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2)))
    return made


def square(model):
    x = torch.linspace(-1, 1, 12).view(4, 3)
    return model(x).square().mean()


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_bezier_weights_are_scipys_bernstein_polynomials(degree):
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    expected = BPoly(np.eye(degree + 1)[:, None, :], [0, 1])(t.numpy())
    np.testing.assert_allclose(bezier_weights(t, degree + 1), expected, atol=1e-14)


@pytest.mark.parametrize("points", [2, 3, 5])
def test_chain_weights_interpolate_like_numpy(points):
    t = torch.linspace(0, 1, 23, dtype=torch.float64)
    knots, heights = np.linspace(0, 1, points), np.random.default_rng(0).normal(size=points)
    expected = np.interp(t.numpy(), knots, heights)
    np.testing.assert_allclose(chain_weights(t, points).numpy() @ heights, expected, atol=1e-12)


@pytest.mark.parametrize("curve", ["linear", "bezier", "chain"])
@pytest.mark.parametrize("bends", [1, 2])
def test_ends_equal_the_endpoints_bit_for_bit(curve, bends):
    a, b = modules(0, 1)
    path = mcu.connect(a, b, curve=curve, objective=square, bends=bends, steps=5)
    for end, module in ((0.0, a), (1.0, b)):
        for mine, theirs in zip(path.model_at(end).parameters(), module.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_control_points_gradient_has_the_chain_rule_factor():
    a, middle, b = (torch.randn(1, 5, dtype=torch.float64) for _ in range(3))
    ends, inner = torch.stack([a, b], 1), middle.unsqueeze(1).requires_grad_()
    weights = bezier_weights(torch.tensor([0.3], dtype=torch.float64), 3)

    def loss(rows):
        return (rows**3).sum()

    (at_control,) = torch.autograd.grad(loss(_blend(weights, ends, inner)), inner)
    point = (0.49 * a + 0.42 * middle + 0.09 * b).requires_grad_()
    (at_point,) = torch.autograd.grad(loss(point), point)
    torch.testing.assert_close(at_control[:, 0], 2 * 0.3 * 0.7 * at_point)
    assert torch.autograd.gradcheck(lambda c: loss(_blend(weights, ends, c)), inner, eps=1e-6)


def test_fitting_lowers_the_loss_between_two_modules():
    a, b = modules(0, 1)
    path = mcu.connect(a, b, objective=square, steps=200, lr=0.05)
    straight = mcu.connect(a, b, curve="linear")
    ts = np.linspace(0, 1, 9)[1:-1]
    mean = {p.kind: np.mean([square(p.model_at(t)).item() for t in ts]) for p in (path, straight)}
    assert mean["bezier"] < 0.8 * mean["linear"]


def test_same_seed_same_curve():
    a, b = modules(0, 1)
    one, two = (mcu.connect(a, b, objective=square, steps=7, seed=3) for _ in range(2))
    assert torch.equal(one.control, two.control)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"curve": "circle"}, "circle"),
        ({"sampling": "beta"}, "beta"),
        ({"bends": 0}, "bends"),
        ({}, "objective"),
    ],
)
def test_bad_arguments_are_named(arguments, names):
    with pytest.raises(ValueError, match=names):
        mcu.connect(*modules(0, 1), **arguments)


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match="architecture"):
        mcu.connect(*modules(0), *modules(0, width=9), curve="linear")


@settings(max_examples=60, deadline=None)
@given(st.floats().filter(lambda t: not 0 <= t <= 1))
def test_t_outside_is_refused(t):
    path = mcu.connect(*modules(0, 1), curve="linear")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        path.model_at(t)


@settings(max_examples=30, deadline=None)
@given(st.text().filter(lambda name: name not in CURVES))
def test_unknown_curves_are_refused_with_a_list_of_the_known(name):
    with pytest.raises(ValueError, match="'linear', 'bezier', 'chain'"):
        mcu.connect(*modules(0, 1), curve=name)


def test_nan_weights_are_refused():
    a, b = modules(0, 1)
    with torch.no_grad():
        a[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        mcu.connect(a, b, curve="linear")


def test_mixed_precision_leaves_the_models_of_a_path_whole(task, theta):
    a, b = (mcu.unlearn(theta, task, "npo", seed=s, steps=5) for s in (0, 1))
    weights, ends = torch.tensor([[0.2, 0.5, 0.3]] * 2), torch.stack([a.rows, b.rows], 1)
    with torch.autocast("cpu", torch.bfloat16):
        path = mcu.connect(a, b, task, objective="npo", steps=5)
        mixed = path.rows([0, 0.3, 1])
        blended = _blend(weights, ends, theta.rows.unsqueeze(1))
    assert torch.equal(mixed, path.rows([0, 0.3, 1])) and torch.equal(mixed[0], a.rows)
    expected = 0.2 * a.rows + 0.5 * theta.rows + 0.3 * b.rows
    torch.testing.assert_close(blended, expected, rtol=1e-5, atol=1e-7)


def test_ends_that_differ_in_what_is_not_trained_are_refused():
    def net(act, seed=0):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(5, 4), act, nn.Linear(4, 2))
        made[0].requires_grad_(False)
        return made

    with torch.random.fork_rng():
        one, alike, frozen, tanh = net(nn.ReLU()), net(nn.ReLU()), net(nn.ReLU(), 1), net(nn.Tanh())
    assert mcu.connect(one, alike, curve="linear").model_at(1.0)[1].__class__ is nn.ReLU
    with pytest.raises(ValueError, match="'0.weight'|'0.bias'"):
        mcu.connect(one, frozen, curve="linear")
    with pytest.raises(ValueError, match="layers do not match"):
        mcu.connect(one, tanh, curve="linear")


def test_an_objective_needs_as_many_splits_as_curves(theta):
    task = mcu.load_task("digits", seeds=3)
    with pytest.raises(ValueError, match="2 models but task has 3"):
        mcu.connect(theta, theta, task, objective="retain")


def test_a_loss_may_call_its_model_as_the_module_is_called():
    class Scaled(nn.Linear):
        def forward(self, x, shift, scale=1.0):
            return super().forward(x + shift) * scale

    x, seen = torch.ones(4, 3), []

    def loss(model):
        seen.append(model(x, 1.0, scale=2.0))
        return seen[-1].square().mean()

    a = Scaled(3, 2)
    mcu.connect(a, a, objective=loss, steps=1)
    torch.testing.assert_close(seen[0], 2 * nn.functional.linear(x + 1, a.weight, a.bias))


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda model: model(torch.ones(4, 3)), r"Size\(\[4, 2\]\)"),
        (lambda model: model(torch.ones(1, 3))[0, :1], r"Size\(\[1\]\)"),
        (lambda model: square(model).item(), r"0\."),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(loss, says):
    with pytest.raises(ValueError, match=f"'<lambda>' must return a scalar tensor, got .*{says}"):
        mcu.connect(*modules(0, 1), objective=loss, steps=1)


class Shifting(nn.Linear):
    """Writes into its input."""

    def forward(self, x):
        x -= 5
        return super().forward(x)


class Again(nn.Sequential):
    """Computes its layers again in the backward pass."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_a_module_that_writes_into_its_input_leaves_the_data_of_a_loss():
    x = torch.randn(4, 3)
    before, (one, plain) = x.clone(), (Shifting(3, 2), nn.Linear(3, 2))
    plain.load_state_dict(one.state_dict())
    path = mcu.connect(one, one, objective=lambda m: m(x).square().mean(), steps=3)
    assert torch.equal(x, before)
    shifted = mcu.connect(plain, plain, objective=lambda m: m(x - 5).square().mean(), steps=3)
    torch.testing.assert_close(path.control, shifted.control)


def test_layers_that_are_computed_again_have_the_gradient_of_the_row():
    plain = modules(0, 1)
    one, other = (
        mcu.connect(*ends, objective=square, steps=5, lr=0.05).control
        for ends in (plain, [Again(*m) for m in plain])
    )
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one[1], one[::2].mean(0))


def test_a_buffer_that_changes_while_a_loss_is_computed_is_refused():
    a = Counting()
    with pytest.raises(ValueError, match="buffer 'calls'"):
        mcu.connect(a, a, objective=square, steps=1)


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_objective_of_other_splits_is_refused(theta, task, oracle, seeds):
    other = mcu.load_task("digits", seeds=seeds)
    objective = retain_objective(mcu.train(other, epochs=0), other)
    with pytest.raises(ValueError, match=f"'retain' is one of {seeds} models, not 2"):
        mcu.connect(theta, oracle, task, objective=objective, steps=1)
    with pytest.raises(ValueError, match=f"2 models but task has {seeds}"):
        mcu.connect(theta, oracle, other, objective=objective, steps=1)

"""Weight matching recovers a permutation that we know, and never leaves the function."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.paths.alignment import align, hidden_units


def shuffled(stack, seed=0):
    """The same functions with their hidden units in random order, module by module."""
    rng = torch.Generator().manual_seed(seed)
    modules = [stack.module(i) for i in range(len(stack))]
    for module in modules:
        layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
        for one, two in zip(layers, layers[1:]):
            order = torch.randperm(one.out_features, generator=rng)
            one.weight.data = one.weight.data[order]
            if one.bias is not None:
                one.bias.data = one.bias.data[order]
            two.weight.data = two.weight.data[:, order]
    return mcu.Stack.of(*modules)


@pytest.fixture(scope="module")
def other(task):
    return mcu.train(task, seed=1, epochs=10)


def test_a_random_permutation_is_recovered_and_the_line_is_flat(theta, task):
    hidden = shuffled(theta)
    found = align(hidden, theta)
    assert torch.equal(found.rows, theta.rows)
    ts = np.linspace(0, 1, 5)
    heights = []
    for end in (hidden, found):
        table = mcu.evaluate(mcu.connect(theta, end, curve="linear"), task, ts=ts)
        loss = table[(table.metric == "loss") & (table.split == "retain")]
        heights.append(mcu.measures(loss).barrier.to_numpy())
    assert (heights[0] > 0.1).all()
    assert heights[1] == pytest.approx(0.0, abs=1e-5)


def test_any_names_and_depth_without_bias():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Tanh()
            self.first = nn.Linear(5, 9, bias=False)
            self.body = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 7))
            self.last = nn.Linear(7, 3)

        def forward(self, x):
            return self.last(torch.relu(self.body(self.gate(self.first(x.view(x.shape[0], -1))))))

    torch.manual_seed(0)
    a = mcu.Stack.of(Chain(), Chain())
    hidden = shuffled(a)
    assert [len(u) for u in hidden_units(a.architecture)] == [9, 8, 7]
    assert not torch.equal(hidden.rows, a.rows)
    assert torch.equal(align(hidden, a).rows, a.rows)


def test_the_function_stays_and_the_distance_falls(theta, other, task):
    found = align(other, theta)
    x = task.inputs[:200]
    for i in range(len(task)):
        assert not torch.equal(found.rows[i], other.rows[i])
        torch.testing.assert_close(found.module(i)(x), other.module(i)(x), rtol=1e-4, atol=1e-4)
    distance = [(theta.rows - other.rows).norm(dim=1)]
    for rounds in (0, 1, 2, 50):
        distance.append((theta.rows - align(other, theta, rounds).rows).norm(dim=1))
    steps = torch.stack(distance).diff(dim=0)
    assert (steps[0] == 0).all() and (steps[1] < -0.1).all() and (steps <= 1e-5).all()
    again = align(found, theta)
    assert torch.equal(again.rows, found.rows)


def test_one_hidden_layer_reaches_the_best_of_all_permutations():
    torch.manual_seed(1)
    a, b = (mcu.Stack.of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))) for _ in "ab")

    def distance(order):
        one, two = b.module(), a.module()
        order = torch.tensor(order)
        one[0].weight.data, one[0].bias.data = one[0].weight[order], one[0].bias[order]
        one[2].weight.data = one[2].weight[:, order]
        return sum((p - q).pow(2).sum().item() for p, q in zip(one.parameters(), two.parameters()))

    best = min(distance(order) for order in permutations(range(4)))
    found = (align(b, a).rows - a.rows).pow(2).sum().item()
    assert found == pytest.approx(best, rel=1e-5)


def test_initial_rows_move_along_and_everything_else_stays(theta):
    start = shuffled(theta.with_rows(theta.initial), seed=3).rows
    trained = replace(shuffled(theta, seed=3), initial=start, label="b", origin=theta)
    found = align(trained, theta)
    assert torch.equal(found.rows, theta.rows)
    assert torch.equal(found.initial, theta.initial)
    assert (found.label, found.origin) == ("b", theta)
    assert align(replace(trained, initial=None), theta).initial is None


def test_diverged_rows_are_left_alone(theta, other):
    rows = other.rows.clone()
    rows[0] = torch.nan
    lost = replace(other, rows=rows, diverged=torch.tensor([True, False]))
    found = align(lost, theta)
    assert found.rows[0].isnan().all() and torch.equal(found.diverged, lost.diverged)
    assert torch.equal(found.rows[1], align(other, theta).rows[1])
    assert torch.equal(align(other, lost).rows[0], other.rows[0])


class Shortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        h = torch.relu(self.one(x))
        return self.three(h + torch.relu(self.two(h)))


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.middle, self.first = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


class Undecided(nn.Linear):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def tied():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


def frozen():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    return module


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        Shortcut,
        Backwards,
        lambda: Undecided(4, 4),
        tied,
        frozen,
        lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
        lambda: nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 2)),
        lambda: nn.Sequential(nn.Linear(4, 8), nn.AvgPool1d(3, 1, 1), nn.Linear(8, 2)),
    ],
)
def test_what_is_no_chain_of_linear_layers_is_refused(build):
    stack = mcu.Stack.of(build())
    with pytest.raises(ValueError, match="chain of nn.Linear"):
        align(stack, stack)


def test_bad_input_is_named(theta):
    with pytest.raises(ValueError, match="different architectures"):
        align(mcu.Stack.of(mcu.mlp(width=8)), theta)
    with pytest.raises(ValueError, match="b has 1 models, a has 2"):
        align(mcu.Stack.of(mcu.mlp()), theta)
    with pytest.raises(ValueError, match="rounds"):
        align(theta, theta, rounds=-1)

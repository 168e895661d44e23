"""Modules drawn anew, and templates that stay as they were given."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import mcu_lite as mcu
from mcu_lite.models.templates import drawn_anew


class Framed(nn.Module):
    """A frozen body in a container with a rule for all of it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 16).requires_grad_(False), nn.Linear(16, 10)

    def reset_parameters(self):
        self.body.reset_parameters()
        self.head.reset_parameters()

    def forward(self, x):
        return self.head(self.body(x.flatten(1)).relu())


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), 1, 8), x.view(-1, 8, 8)], 1)
        return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])


def test_a_rule_for_a_container_leaves_what_is_frozen(task):
    module = Framed()
    before = {name: p.clone() for name, p in module.named_parameters()}
    stack = mcu.Stack.of(module, module)
    again = mcu.unlearn(stack, task, "retrain", epochs=0)
    mcu.evaluate(stack, task)
    for name, p in module.named_parameters():
        assert torch.equal(p, before[name])
        assert torch.equal(again.module().get_parameter(name), p) == name.startswith("body")


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_layer_whose_weight_is_computed_is_not_taken_for_a_fresh_one(task):
    def build():
        return nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(64, 10)))

    mine = mcu.Stack.of(build(), build())
    with pytest.raises(ValueError, match="initialised anew: reset_parameters.. of .*Linear keeps"):
        mcu.unlearn(mine, task, "retrain", epochs=0)
    # Unless the function that made it is known.
    theta = mcu.train(task, build, epochs=1)
    fresh = mcu.unlearn(theta, task, "retrain", epochs=0)
    assert not torch.isclose(fresh.rows, theta.initial).float().mean() > 0.1


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_what_cannot_be_drawn_anew_is_measured_by_what_needs_no_fresh_models(task):
    theta = mcu.train(task, Attending, epochs=1)
    known = set(mcu.evaluate(theta, task).metric)
    modules = [theta.module(b) for b in range(2)]
    own = mcu.Stack.of(*modules)
    assert set(mcu.evaluate(own, task).metric) == known - {"zrf"}
    with pytest.raises(ValueError, match="Attending has parameters but no reset_parameters"):
        mcu.evaluate(own, task, metrics=["zrf"])


def test_attention_of_pytorch_is_drawn_anew():
    module = nn.TransformerEncoderLayer(8, 2, 16)
    drawn, template = drawn_anew(module), dict(module.named_parameters())
    for name, p in drawn.named_parameters():
        assert torch.equal(p, template[name]) == (template[name].unique().numel() == 1), name


@pytest.mark.parametrize("vectorised", [True, False])
def test_what_a_module_writes_down_stays_out_of_the_template(task, vectorised):
    class Counted(nn.Linear):
        def __init__(self, vectorised):
            super().__init__(64, 10)
            self.vectorised = vectorised

        def forward(self, x):
            self.hidden = super().forward(x.flatten(1))
            return self.hidden.tanh()

    theta = mcu.train(task, lambda: Counted(vectorised), epochs=1)
    oracle = mcu.unlearn(theta, task, "retrain", epochs=1)
    path = mcu.connect(theta, oracle, task, objective="retain", steps=2)
    mcu.evaluate(path, task, ts=3)
    assert not hasattr(theta.architecture.module, "hidden")
    theta.module()
    mine = mcu.connect(
        Counted(True), Counted(True), objective=lambda m: m(task.inputs[:5]).sum(), steps=2
    )
    assert not hasattr(mine.architecture.module, "hidden")


class Reading(nn.Module):
    """Starts near a frozen layer, which one of its layers holds under two names."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 10).requires_grad_(False), nn.Linear(64, 10)
        self.body.twice = self.body.weight

    def reset_parameters(self):
        self.body.reset_parameters()
        with torch.no_grad():
            self.head.weight.copy_(self.body.weight + torch.randn(10, 64))

    def forward(self, x):
        return self.head(x.flatten(1))


def test_a_rule_may_read_what_is_frozen():
    module = Reading()
    frozen = module.body.weight.clone()
    drawn = drawn_anew(module)
    assert torch.equal(module.body.weight, frozen) and drawn.body.twice is module.body.weight
    assert not torch.equal(drawn.head.weight, module.head.weight)


def test_whether_models_can_be_drawn_anew_leaves_the_random_state(task):
    own = mcu.Stack.of(mcu.mlp(), mcu.mlp())
    before = torch.get_rng_state()
    assert own.architecture.renewable
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trained_stack_can_be_pickled(task):
    theta = mcu.train(task, mcu.mlp, epochs=0)
    again = pickle.loads(pickle.dumps(theta))
    assert torch.equal(again.rows, theta.rows) and again.architecture.build is mcu.mlp


def test_a_module_that_vmap_cannot_run_is_named_before_it_is_trained(task):
    class Drawing(nn.Linear):
        def forward(self, x):
            return torch.bernoulli(super().forward(x.flatten(1)).sigmoid())

    with pytest.raises(ValueError, match="same randomness .*; vectorised = False lets it run"):
        mcu.train(task, lambda: Drawing(64, 10), epochs=1)
    mine = mcu.Stack.of(Drawing(64, 10), Drawing(64, 10))  # which nobody has trained here
    with pytest.raises(ValueError, match="vectorised = False lets it run"):
        mcu.unlearn(mine, task, "npo", steps=1)

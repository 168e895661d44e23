"""A module of one's own is right as a row, or refused in words before it is trained."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

import mcu_lite as mcu
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack


class Shifting(nn.Module):
    """Writes into its input."""

    def __init__(self, vectorised=True):
        super().__init__()
        self.layer, self.vectorised = nn.Linear(4, 3), vectorised

    def forward(self, x):
        x -= 5
        return self.layer(x)


class Again(nn.Module):
    """Computes its middle layer again in the backward pass."""

    def __init__(self, vectorised, reentrant):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.vectorised, self.reentrant = vectorised, reentrant

    def forward(self, x):
        hidden = checkpoint(self._recomputed, self.first(x), use_reentrant=self.reentrant)
        return self.last(hidden)

    def _recomputed(self, x):
        return self.middle(x).tanh()


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def called(module, graded=True):
    architecture = Architecture(module)
    rows = torch.randn(2, architecture.size, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    return architecture, architecture.logits(rows.requires_grad_(graded), x)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_inputs_are_never_written_to(vectorised, shared):
    module = Shifting(vectorised)
    stack, x = Stack.of(module, module), torch.randn(6, 4)
    given = x if shared else x.expand(2, -1, -1).clone()
    before = given.clone()
    expected = module.layer(x - 5)
    for _ in range(2):
        found = stack.architecture.logits(stack.rows, given, shared=shared)
        torch.testing.assert_close(found, expected.expand(2, -1, -1))
    assert torch.equal(given, before)


def test_statistics_of_a_module_that_writes_leave_the_inputs():
    stack = Stack.of(nn.Sequential(Shifting(), nn.BatchNorm1d(3)))
    x = torch.randn(6, 4)
    before = x.clone()
    stack.architecture.predict(stack.rows, x, x, shared=True)
    assert torch.equal(x, before)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_gradient_that_is_not_the_rows_is_refused(vectorised, reentrant):
    with pytest.raises(ValueError, match="another gradient .*torch.utils.checkpoint"):
        called(Again(vectorised, reentrant))
    if not vectorised and not reentrant:  # its outputs are right
        called(Again(vectorised, reentrant), graded=False)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (lambda: Counting(), "calls"),
        (lambda: spectral_norm(nn.Linear(4, 3)), "parametrizations.weight.0._u"),
        (lambda: nn.Sequential(nn.Linear(4, 3), Normed()), "1.norm.running_mean"),
    ],
    ids=["a counter", "spectral norm", "instance norm"],
)
def test_a_buffer_that_changes_is_refused_by_its_name(module, name):
    with pytest.raises(ValueError, match=f"changes its buffer '{name}'"):
        called(module())


class Clamping(nn.Linear):
    def forward(self, x):
        self.weight.data.clamp_(-0.01, 0.01)
        return super().forward(x)


class Looking(nn.Embedding):
    def forward(self, x):
        return super().forward(x.long().clamp(0, 9)).mean(1)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("build", [lambda: Clamping(4, 3), lambda: Looking(10, 3, max_norm=0.1)])
def test_a_parameter_that_changes_is_refused_and_the_rows_stay(build, vectorised):
    module = build()
    module.vectorised = vectorised
    stack, x = Stack.of(module, module), torch.randn(6, 4)
    before = stack.rows.clone()
    with pytest.raises(ValueError, match="changes its parameter 'weight'"):
        stack.architecture.predict(stack.rows, x, x, shared=True)
    assert torch.equal(stack.rows, before)


class Late(nn.Linear):
    """Does something else from its third call, or its third example, on."""

    def __init__(self, what, vectorised):
        super().__init__(4, 3)
        self.register_buffer("mean", torch.zeros(4))
        self.what, self.vectorised, self.calls = what, vectorised, 0

    def forward(self, x):
        self.calls += 1
        if self.what == "buffer" and self.calls > 2:
            self.mean += 1
        if self.what == "inputs" and len(x) > 2:
            x -= 5
        return super().forward(x - self.mean)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize(("what", "says"), [("buffer", "buffer 'mean'"), ("inputs", "inputs")])
def test_what_sets_in_after_the_trial_is_refused(what, says, vectorised):
    stack, x = Stack.of(Late(what, vectorised)), torch.randn(6, 4)
    with pytest.raises(ValueError, match=f"module (changes|writes into) its {says}"):
        for _ in range(3):
            stack.architecture.logits(stack.rows, x[None])


def test_what_cannot_run_at_once_is_told_how_it_can():
    class Recurrent(nn.GRU):
        def forward(self, x):
            return super().forward(x[:, None])[0][:, 0]

    module = Recurrent(4, 3, batch_first=True)
    with pytest.raises(ValueError, match="vectorised = False"):
        called(module)
    module.vectorised = False
    architecture, found = called(module)
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    rows = torch.randn(2, architecture.size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found[1], architecture.module_at(rows[1])(x[1]))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(1, affine=True, track_running_stats=True)

    def forward(self, x):
        return self.norm(x[:, None])[:, 0]


class Frozen(nn.Module):
    """As FrozenBatchNorm2d of torchvision: all that it has are buffers."""

    def __init__(self):
        super().__init__()
        for name, value in (("running_mean", 2.0), ("running_var", 3.0)):
            self.register_buffer(name, torch.full((4,), value))

    def forward(self, x):
        return (x - self.running_mean) * self.running_var.rsqrt()


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm1d(4, affine=False).eval(), Frozen])
def test_frozen_means_frozen(norm):
    module = nn.Sequential(norm(), nn.Linear(4, 3))
    module[0].running_mean.fill_(2)
    stack, x = Stack.of(module), torch.randn(6, 4)
    expected = module(x)
    for architecture in (stack.architecture, stack.architecture.evaluating()):
        found = architecture.logits(stack.rows, x, shared=True)[0]
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(stack.module()(x), expected)


def pruned():
    layer = nn.Linear(4, 3)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


@pytest.mark.parametrize(
    ("module", "error", "says"),
    [
        (lambda: nn.Linear(4, 3).half(), ValueError, "'weight' is torch.float16"),
        (lambda: nn.Linear(4, 3).bfloat16(), ValueError, "'weight' is torch.bfloat16"),
        (lambda: nn.Linear(4, 3, device="meta"), ValueError, "'weight' is on the meta device"),
        (lambda: nn.LazyLinear(3), ValueError, "'weight' has no shape yet"),
        (pruned, ValueError, "prune.remove"),
        (lambda: mcu.mlp, TypeError, "module must be .*Module, got .*function"),
        (
            lambda: nn.Linear(4, 3).state_dict(),
            TypeError,
            "module must be .*Module, got .*OrderedDict",
        ),
        (lambda: nn.Linear(5, 3), ValueError, r"fails on inputs of torch.float32 and .*\(2, 4\)"),
        (lambda: nn.LSTM(4, 3), ValueError, "tensor of logits, got tuple"),
    ],
)
def test_what_makes_no_row_is_refused(module, error, says):
    with pytest.raises(error, match=says):
        called(module())


def test_a_module_that_draws_nothing_leaves_the_random_state():
    module = nn.Linear(4, 3)
    before = torch.get_rng_state()
    called(module)
    assert torch.equal(before, torch.get_rng_state())

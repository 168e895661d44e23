"""Chains of dense layers take a path of their own; it must lead where the module leads."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrize import register_parametrization

import mcu_lite as mcu
from mcu_lite.models.architecture import Architecture


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    net = nn.Sequential(nn.Linear(6, 3))
    net[0].register_forward_hook(lambda layer, given, output: output + 1)
    return net


def parametrised():
    return nn.Sequential(register_parametrization(nn.Linear(6, 3), "weight", nn.Tanh()))


def frozen():
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    net[0].requires_grad_(False)
    return net


def one_activation():
    act = nn.Tanh()
    return nn.Sequential(nn.Linear(6, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 3), act)


def tied():
    twice = nn.Linear(6, 6)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.Linear(6, 3))


CHAINS = {
    "one activation at three places": one_activation,
    "the book's": lambda: mcu.mlp(inputs=6, classes=3, width=5),
    "one layer": lambda: nn.Sequential(nn.Linear(6, 3)),
    "no flattening": lambda: nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 3), nn.Tanh()),
}
OTHERS = {
    "one layer at two places": tied,
    "not in a sequence": lambda: nn.Linear(6, 3),
    "no bias": lambda: nn.Sequential(nn.Linear(6, 3, bias=False)),
    "a subclass": lambda: nn.Sequential(Doubled(6, 3)),
    "parametrised": parametrised,
    "a hook": hooked,
    "frozen in part": frozen,
    "flattened late": lambda: nn.Sequential(nn.Linear(6, 3), nn.Flatten()),
    "flattened otherwise": lambda: nn.Sequential(nn.Flatten(0, 1), nn.Linear(6, 3)),
    "another layer": lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)),
}


def data(build, *shape):
    rng = torch.Generator().manual_seed(0)
    architecture = Architecture(build().double())
    rows = torch.randn(4, architecture.size, generator=rng, dtype=torch.float64)
    return architecture, rows, torch.randn(*shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("build", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("shape", [(7, 6), (7, 5, 6)], ids=["examples", "places"])
def test_a_chain_has_the_outputs_and_gradients_of_its_module(build, shape):
    if build is CHAINS["the book's"]:
        shape = (7, 2, 3)
    architecture, rows, x = data(build, 4, *shape)
    assert architecture.chain
    rows.requires_grad_()
    weights = torch.arange(4.0).view(-1, *[1] * len(shape))
    for shared in (False, True):
        given = x[0] if shared else x
        got = architecture.logits(rows, given, shared=shared)
        one_by_one = [
            functional_call(architecture.module, architecture.named(row), (given if shared else v,))
            for row, v in zip(rows, x)
        ]
        expected = torch.stack(one_by_one).float()
        assert torch.allclose(got, expected, atol=1e-6)
        gradients = (
            torch.autograd.grad((weights * out.square()).sum(), rows) for out in (got, expected)
        )
        assert torch.allclose(*(g[0] for g in gradients), atol=1e-5)


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS)
def test_what_is_no_chain_runs_as_it_is(build):
    shape = (7, 1, 6) if build is OTHERS["flattened otherwise"] else (7, 6)
    architecture, rows, x = data(build, 4, *shape)
    assert not architecture.chain
    got = architecture.logits(rows, x)
    for row, given, own in zip(rows, x, got):
        expected = functional_call(architecture.module, architecture.named(row), (given,))
        assert torch.allclose(own, expected.float(), atol=1e-6)


def test_a_model_that_is_lost_leaves_the_others_alone():
    architecture, rows, x = data(CHAINS["the book's"], 4, 7, 6)
    alone = architecture.logits(rows, x)
    rows[1] = torch.nan
    together = architecture.logits(rows, x)
    assert together[1].isnan().all()
    assert torch.equal(together[[0, 2, 3]], alone[[0, 2, 3]])

"""One layer at a time, beyond the ends, and rounded weights."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.book.around import after_a_step, beyond, changed_by_rounding, layer_by_layer, rounded

TASK = mcu.load_task("digits", seeds=2)
A, B = (mcu.train(TASK, epochs=2, seed=s) for s in (0, 1))


def test_a_layer_moves_alone():
    table = layer_by_layer(A, B, TASK, 3)
    x, y = TASK.split("retain")
    for number, place in ((1, 1), (3, 5)):
        net, other = A.module(1), B.module(1)
        net[place].load_state_dict(
            {k: (v + other[place].state_dict()[k]) / 2 for k, v in net[place].state_dict().items()}
        )
        own = table.query(f"layer == 'layer {number}' and t == 0.5 and seed == 1")
        found = own[own.split == "retain"].value.item()
        assert found == pytest.approx(cross_entropy(net(x[1]), y[1]).item(), abs=1e-4)
    whole = table[table.layer == "all"].drop(columns="layer").reset_index(drop=True)
    path = mcu.connect(A, B, curve="linear")
    assert whole.equals(mcu.evaluate(path, TASK, 3, metrics=["loss"]))


def test_beyond_the_ends_the_path_goes_on():
    first, last = beyond(A, B, 0.5)
    path = mcu.connect(first, last, curve="linear")
    assert torch.allclose(path.rows([0.25])[0], A.rows, atol=1e-5)
    assert torch.allclose(path.rows([0.75])[0], B.rows, atol=1e-5)
    with pytest.raises(ValueError, match="by must be > 0"):
        beyond(A, B, 0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounded_weights_are_the_nearest_of_few_values(bits):
    net, small = A.module(0), rounded(A, bits).module(0)
    for before, now in zip(net.parameters(), small.parameters()):
        top = before.abs().max()
        values = torch.linspace(-1, 1, 2**bits - 1) * top
        nearest = values[(before.unsqueeze(-1) - values).abs().argmin(-1)]
        assert torch.allclose(now, nearest, atol=1e-5)
    with pytest.raises(ValueError, match="bits must be in 2..16"):
        rounded(A, 1)


def test_the_change_by_rounding_is_that_of_single_modules():
    found = changed_by_rounding({"a": A, "b": B}, TASK, 3)
    x, y = TASK.split("forget")
    after, before = (cross_entropy(s.module(1)(x[1]), y[1]) for s in (rounded(B, 3), B))
    assert found.b[1] == pytest.approx((after - before).item(), abs=1e-4)


def test_a_worst_step_goes_up_the_gradient_of_a_single_module():
    path = mcu.connect(A, B, curve="linear")
    table = after_a_step(path, TASK, 0.5, True, 3)
    x, y = TASK.split("retain")
    net = path.model_at(0.5, 1)
    net.requires_grad_()
    loss = cross_entropy(net(x[1]), y[1])
    grads = torch.autograd.grad(loss, list(net.parameters()))
    size = torch.cat([g.flatten() for g in grads]).norm()
    with torch.no_grad():
        for p, g in zip(net.parameters(), grads):
            p += 0.5 * g / size
    found = table.query("t == 0.5 and seed == 1 and split == 'retain'").value.item()
    assert found == pytest.approx(cross_entropy(net(x[1]), y[1]).item(), rel=1e-3)
    random = after_a_step(path, TASK, 0.5, False, 3).query("split == 'retain'").value
    assert (random.to_numpy() < table.query("split == 'retain'").value.to_numpy()).all()
    still = after_a_step(path, TASK, 0.0, True, 3)
    there = mcu.evaluate(path, TASK, 3, metrics=["loss"])
    keys = ["t", "seed", "split"]
    assert np.allclose(*(own.sort_values(keys).value for own in (still, there)), atol=1e-5)
    with pytest.raises(ValueError, match="length must be >= 0"):
        after_a_step(path, TASK, -1.0, True)

"""Batch-norm statistics belong to a point of a curve, and come from retain examples alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import mcu_lite as mcu


def normed():
    return nn.Sequential(
        nn.Unflatten(-1, (1, 8, 8)),
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(384, 10),
    )


@pytest.fixture(scope="module")
def ends(task):
    theta = mcu.train(task, normed, epochs=1)
    return theta, mcu.unlearn(theta, task, "npo", steps=5)


def filled(module, retain):
    """The module with its statistics as PyTorch's own recipe recomputes them."""
    torch.optim.swa_utils.update_bn([retain], module)
    return module.eval()


def test_training_uses_the_statistics_of_the_batch(task):
    stack = mcu.train(task, normed, epochs=1)
    model = normed().train()
    nn.utils.vector_to_parameters(stack.rows[1].clone(), model.parameters())
    x, y = (part[:, :32] for part in task.split("retain"))
    rows = stack.rows.clone().requires_grad_()
    (mine,) = torch.autograd.grad(
        sum(cross_entropy(own, y[b]) for b, own in enumerate(stack.architecture.logits(rows, x))),
        rows,
    )
    cross_entropy(model(x[1]), y[1]).backward()
    theirs = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(mine[1], theirs, rtol=1e-4, atol=1e-5)


def test_the_template_and_the_readers_module_are_never_changed(task):
    module = normed()
    before = {n: v.clone() for n, v in module.state_dict().items()}
    stack = mcu.Stack.of(module, module)
    stack.architecture.logits(stack.rows, task.split("retain")[0])
    measured = stack.architecture.evaluating()
    measured.statistics(stack.rows, task.split("retain")[0])
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    assert all(
        b.eq(torch.zeros_like(b)).all() or b.eq(torch.ones_like(b)).all()
        for b in measured.module.buffers()
    )


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_every_point_has_the_statistics_that_pytorch_recomputes(task, ends, t):
    path = mcu.connect(*ends, task, objective="npo", steps=3)
    architecture = path.architecture.evaluating()
    row, few = path.rows([t])[0, :1], task.inputs[task.retain[0, :400]]
    found = architecture.statistics(row, few, shared=True)
    module = normed()
    nn.utils.vector_to_parameters(row[0], module.parameters())
    filled(module, few)
    torch.testing.assert_close(found["2.running_mean"][0], module[2].running_mean)
    torch.testing.assert_close(found["2.running_var"][0], module[2].running_var)
    x = task.inputs[task.test[0]]
    mine = architecture.logits(row, x, shared=True, statistics=found)[0]
    torch.testing.assert_close(mine, module(x), rtol=1e-4, atol=1e-4)


def test_the_curves_ends_measure_as_the_endpoints(task, ends):
    path = mcu.connect(*ends, task, objective="npo", steps=3)
    along = mcu.evaluate(path, task, ts=[0, 1])
    for t, end in zip((0, 1), ends):
        own = along[along.t == t].value.to_numpy()
        assert own == pytest.approx(mcu.evaluate(end, task).value.to_numpy(), abs=0, rel=0)


def test_nothing_about_the_forget_set_enters(task, ends):
    path = mcu.connect(*ends, task, objective="retain", steps=3)
    inputs = task.inputs.clone()
    inputs[task.forget[0]] = 100 * torch.randn(60, 64, generator=torch.Generator().manual_seed(0))
    other = replace(task, inputs=inputs)
    few = ["loss", "accuracy"]
    before, after = (mcu.evaluate(path, t, [0, 0.5, 1], metrics=few) for t in (task, other))
    for split in ("retain", "test"):
        same = (before.split == split) & (before.seed == 0)
        assert before[same].value.equals(after[same].value)
    gone = (before.split == "forget") & (before.seed == 0) & (before.metric == "loss")
    assert (before[gone].value != after[gone].value).all()


def test_a_module_comes_back_with_its_statistics(task, ends):
    retain, x = task.inputs[task.retain[0, :400]], task.inputs[task.test[0]]
    module = mcu.connect(*ends, curve="linear").model_at(0.5, inputs=retain)
    again = normed()
    again.load_state_dict(module.state_dict())
    expected = filled(again, retain)(x)
    torch.testing.assert_close(module.eval()(x), expected, rtol=1e-4, atol=1e-4)


def test_measuring_without_statistics_is_refused(task, ends):
    theta = ends[0]
    with pytest.raises(ValueError, match="batch norm: inputs"):
        theta.module(0)
    with pytest.raises(ValueError, match="got none"):
        theta.architecture.evaluating().logits(theta.rows, task.inputs[:4], shared=True)
    found = theta.architecture.statistics(theta.rows, task.inputs[:9], shared=True)
    with pytest.raises(ValueError, match="got some"):
        theta.architecture.logits(theta.rows, task.inputs[:4], shared=True, statistics=found)


def test_a_frozen_layer_keeps_its_own_statistics():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    module[0].requires_grad_(False).running_mean.fill_(5)
    stack = mcu.Stack.of(module)
    x = torch.randn(4, 3)
    mine = stack.architecture.logits(stack.rows, x, shared=True)[0]
    torch.testing.assert_close(mine, module(x))
    assert stack.architecture.statistics(stack.rows, x, shared=True) == {}


@pytest.mark.parametrize("vectorised", [True, False])
def test_frozen_batch_norm_keeps_its_statistics_while_others_learn(task, vectorised):
    def backbone():
        net = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
        net[:2].requires_grad_(False)
        net.vectorised = vectorised
        return net

    theta = mcu.train(task, backbone, epochs=1)
    before = theta.architecture.module[1].running_mean.clone()
    a = mcu.unlearn(theta, task, "npo", steps=3)
    assert torch.equal(a.architecture.module[1].running_mean, before)
    x = task.inputs[:5]
    logits = theta.architecture.logits(theta.rows, x, shared=True)
    torch.testing.assert_close(logits[0], theta.module(0).eval()(x))

"""Dividing the work into what fits changes nothing."""

import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.models import batching as memory
from mcu_lite.models.architecture import Architecture


@pytest.fixture
def tight(monkeypatch):
    """Memory for two or three rows at a time; returns how many calls were divided."""
    divided = []

    def few(architecture, state, inputs, most):
        size = real(architecture, state, inputs, most)
        divided.append(size < most)
        return size

    real = memory.chunk_size
    monkeypatch.setattr("mcu_lite.models.batching.chunk_size", few)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "ON_CPU", 600_000)
    return divided


def convolving():
    layers = nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(nn.Unflatten(-1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(256, 10))


@pytest.mark.parametrize("model", ["mlp", convolving])
def test_training_and_measuring_in_parts_equal_the_whole(model, tight, monkeypatch):
    task = mcu.load_task("digits", seeds=5, train=100)
    parts = mcu.train(task, model, epochs=2)
    table = mcu.evaluate(parts, task)
    assert any(tight)
    monkeypatch.setattr(memory, "ON_CPU", 2**40)
    tight.clear()
    whole = mcu.train(task, model, epochs=2)
    torch.testing.assert_close(parts.rows, whole.rows, rtol=1e-3, atol=1e-4)
    assert mcu.evaluate(whole, task).value.to_numpy() == pytest.approx(
        table.value.to_numpy(), rel=1e-2, abs=1e-3
    )
    assert not any(tight)


def test_dropout_in_parts_has_the_gradient_of_its_own_mask(tight):
    net = nn.Sequential(nn.Linear(50, 400), nn.Dropout(0.5), nn.Linear(400, 1, bias=False))
    architecture = Architecture(net)
    rows = torch.ones(6, architecture.size, requires_grad=True)
    torch.manual_seed(0)
    out = architecture.logits(rows, torch.ones(6, 100, 50))
    (gradient,) = torch.autograd.grad(out.sum(), rows)
    assert tight == [True]
    # With equal weights the output counts the units kept; so does the last layer's gradient.
    kept = out.sum((1, 2)) / (51 * 2)
    counted = architecture.named(gradient)["2.weight"].sum((1, 2)) / (51 * 2)
    torch.testing.assert_close(kept, counted)


def test_without_a_gradient_a_model_takes_no_more_examples_than_fit(tight):
    seen = []

    class Watched(nn.Linear):
        def forward(self, x):
            if not isinstance(x, torch._subclasses.FakeTensor):
                seen.append(len(x))
            return super().forward(x).tanh()

    net = nn.Sequential(Watched(50, 100), nn.Linear(100, 3))
    net.vectorised = False
    architecture = Architecture(net).evaluating()
    rows, inputs = torch.randn(2, architecture.size), torch.randn(2, 5000, 50)
    with torch.no_grad():
        parts = architecture.logits(rows, inputs)
    assert max(seen) < 1500 and sum(seen[1:]) == 2 * 5000  # after a trial of two
    alone = [architecture.module_at(row)(x) for row, x in zip(rows, inputs)]
    torch.testing.assert_close(parts, torch.stack(alone))


def test_what_a_model_keeps_is_counted_without_a_call():
    def never(module, args):
        assert isinstance(args[0], torch._subclasses.FakeTensor), "it was really called"

    net = nn.Sequential(nn.Linear(10, 300), nn.Tanh(), nn.Linear(300, 7))
    net.register_forward_pre_hook(never)
    architecture = Architecture(net)
    state = architecture.named(torch.zeros(architecture.size))
    found = memory.saved_bytes(architecture, state, torch.zeros(1000, 10))
    kept = 1000 * (10 + 300) + 300 * 7 + 10 * 300
    assert 4 * kept * 0.9 <= found <= 4 * (kept + 1000 * 300) * 1.1


def test_a_module_that_must_see_its_input_is_not_divided():
    class Curious(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    architecture = Architecture(Curious(3, 3))
    state = architecture.named(torch.zeros(architecture.size))
    assert memory.chunk_size(architecture, state, torch.zeros(9, 2**16, 3), 9) == 9

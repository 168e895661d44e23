"""Everything that is computed is computed where the task is; what is drawn is drawn on the CPU."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import mcu_lite as mcu
from mcu_lite.metrics.answers import truth_ratios
from mcu_lite.metrics.evaluation import _labelled
from mcu_lite.metrics.registry import Outputs, Source
from mcu_lite.metrics.straightness import logit_line
from mcu_lite.models import batching as memory
from mcu_lite.tasks.texts import generate

DEVICE = "cuda"
NUMPY = torch.Tensor.numpy
METHODS = ("npo", "random_labels", "bad_teacher", "salun", "scrub", "l1_sparse", "delete")


def normed():
    layers = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 10)
    return nn.Sequential(nn.Flatten(), *layers)


class Answers(TorchDispatchMode):
    """A tensor without contents that is asked for a number, answers so that nothing stops."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1 if args[0].dtype != torch.bool else args[0].device.type == "cpu"
        if function is torch.ops.aten.exponential_.default:
            assert args[0].device.type == "cpu", "numbers are drawn on the GPU"
            return args[0]
        return function(*args, **(kwargs or {}))


def numpy_on_the_cpu(tensor, *_, **__):
    if not isinstance(tensor, FakeTensor):
        return NUMPY(tensor)
    assert tensor.device.type == "cpu", "NumPy was given a tensor on the GPU"
    return np.zeros(tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def copied(tensor, memo):
    """Copying storage is not pretended."""
    copy = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        copy = nn.Parameter(copy, tensor.requires_grad)
    return memo.setdefault(id(tensor), copy)


def gradients(_, inputs, *__, **___):
    """Nor can there be a backward pass: PyTorch wants a real GPU's thread for it."""
    return [torch.zeros_like(v) for v in ([inputs] if torch.is_tensor(inputs) else inputs)]


def where(stack):
    return {v.device.type for v in (stack.rows, stack.initial, stack.diverged) if v is not None}


def everything(name):
    """Use the package on a GPU that is not there; run by a process of its own.

    Its tensors have a shape, a type and a device, and refuse to meet the CPU's.
    """
    torch.Tensor.numpy = numpy_on_the_cpu
    torch.Tensor.__deepcopy__ = copied
    torch.autograd.grad = gradients
    torch.random.fork_rng = lambda devices: contextlib.nullcontext()
    memory.SMALL = 2**40
    task = mcu.load_task("digits", seeds=2, train=100)
    model = {"mlp": "mlp", "normed": normed}[name]
    with FakeTensorMode(allow_non_fake_inputs=True), Answers():
        task = task.to(DEVICE)
        theta = mcu.train(task, model, epochs=1)
        assert where(theta) == {"cuda"}
        for method in METHODS:
            a = mcu.unlearn(theta, task, method, steps=2)
            assert where(a) == {"cuda"}
        b = mcu.unlearn(theta, task, "npo", steps=6, order=2)
        oracle = mcu.unlearn(theta, task, "retrain", epochs=1)
        for objective in ("retain", "npo", mcu.oracle_objective(oracle, task)):
            path = mcu.connect(a, b, task, objective=objective, steps=2, bends=2)
            assert path.control.is_cuda
        chain = mcu.connect(a, b, task, curve="chain", objective="retain", steps=2)
        source = Source(chain.architecture, chain.rows([0, 0.5, 1])[:, 0], task, 0)
        assert _labelled(source, task.test[0], task.labels[0, task.test[0]] >= 0).is_cuda
        logit_line(a, b, task, 3)
        assert not path.to("cpu").control.is_cuda
    print("done")


def answering():
    """Ask models of text on a GPU that is not there."""
    torch.Tensor.numpy = numpy_on_the_cpu
    torch.Tensor.__deepcopy__ = copied
    task = mcu.load_task("authors", seeds=1)
    architecture = mcu.Architecture(mcu.MODELS["transformer"]()).evaluating()
    with FakeTensorMode(allow_non_fake_inputs=True), Answers():
        task = task.to(DEVICE)
        rows, index = torch.zeros(2, architecture.size, device=DEVICE), task.forget[0, :3]
        assert generate(architecture, rows, task.inputs[index], task.truth[index], 3).is_cuda
        ratios = truth_ratios(Outputs({}, {}, source=Source(architecture, rows, task, 0)), "forget")
        assert ratios.shape == (2, task.forget.shape[1])
    print("done")


@pytest.mark.parametrize("call", ["everything('mlp')", "everything('normed')", "answering()"])
def test_no_step_mixes_devices(call):
    code = f"import test_devices; test_devices.{call}"
    here = {"cwd": Path(__file__).parent, "capture_output": True, "text": True}
    ran = subprocess.run([sys.executable, "-c", code], **here)
    assert ran.stdout == "done\n", ran.stderr[-3000:]


def test_a_process_that_trains_does_not_import_the_compiler():
    code = "import sys, mcu_lite as mcu; task = mcu.load_task('digits', 1, train=20)"
    code += "; theta = mcu.train(task, epochs=1); mcu.unlearn(theta, task, 'npo', order=2, steps=6)"
    code += "; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_pretended_gpu_refuses_a_mixture():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="same device"):
        torch.zeros(2, device=DEVICE) + torch.zeros(2)


def test_a_frozen_backbone_moves_and_what_is_trained_stays_a_template(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", copied)
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2), nn.BatchNorm1d(2).eval())
    module[0].requires_grad_(False)
    module[2].requires_grad_(False)
    architecture = mcu.Architecture(module)
    assert architecture.module[0].weight is module[0].weight
    with FakeTensorMode(allow_non_fake_inputs=True):
        moved = architecture.to(DEVICE)
        at = moved.module
        assert at[0].weight.is_cuda and at[2].running_mean.is_cuda and not at[1].weight.is_cuda
        assert not module[0].weight.is_cuda
        rows = torch.zeros(4, moved.size, device=DEVICE)
        assert (
            moved.evaluating().logits(rows, torch.zeros(5, 3, device=DEVICE), shared=True).is_cuda
        )


def test_mixed_precision_is_a_context(task):
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mcu.train(task, epochs=5)
        table = mcu.evaluate(mixed, task, metrics=["loss"])
    full = mcu.train(task, epochs=5)
    assert mixed.rows.dtype == torch.float32 and not torch.equal(mixed.rows, full.rows)
    expected = mcu.evaluate(full, task, metrics=["loss"])
    assert table.value.to_numpy() == pytest.approx(expected.value.to_numpy(), rel=0.05)

"""What a GPU computes is what the CPU computes; of a machine without one nothing is asked."""

import numpy as np
import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.models import batching as memory

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def original(task):
    return mcu.train(task, epochs=10)


def values(models, task, **options):
    return mcu.evaluate(models, task, **options).value.to_numpy()


def require_agreement(ours, theirs, rtol=1e-3, atol=1e-3):
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("method", mcu.METHODS)
def test_methods_descend_to_the_same_models(task, original, method):
    rows = [mcu.unlearn(original.to(d), task.to(d), method, epochs=2).rows for d in (GPU, "cpu")]
    assert rows[0].device.type == GPU
    moved = (rows[1] - original.rows).norm(dim=1)
    # SalUn's mask is a comparison, which rounding can turn for a weight or two.
    apart = (rows[0].cpu() - rows[1]).norm(dim=1) / moved
    assert (apart < 0.05).all(), apart


@pytest.mark.parametrize("switch", [{"curriculum": 1.0}, {"order": 2}], ids=str)
def test_switches_give_the_same_models(task, original, switch):
    here, there = (
        mcu.unlearn(original.to(d), task.to(d), "npo", steps=20, **switch) for d in (GPU, "cpu")
    )
    require_agreement(values(here, task.to(GPU)), values(there, task), 0.03, 0.02)


@pytest.mark.parametrize(
    "curve", [{}, {"curve": "linear"}, {"curve": "chain", "bends": 3}], ids=str
)
def test_curves_are_the_same(task, original, curve):
    found = []
    for device in (GPU, "cpu"):
        own, theta = task.to(device), original.to(device)
        a, b = (mcu.unlearn(theta, own, "npo", seed=s, steps=20) for s in (0, 1))
        path = mcu.connect(a, b, own, objective="npo", steps=20, **curve)
        found.append(values(path, own, ts=5))
    require_agreement(*found, 0.03, 0.02)


@pytest.mark.parametrize(
    ("name", "model"),
    [("digits", "mlp"), ("patches", "resnet_small"), ("authors", "transformer")],
)
def test_every_quick_metric_of_equal_models_is_the_same(name, model):
    task = mcu.load_task(name, seeds=2)
    theta = mcu.train(task, model, epochs=3)
    oracle = mcu.unlearn(theta, task, "retrain", epochs=3)
    full = torch.backends.cudnn.flags(allow_tf32=False)
    with full:
        ours = values(theta.to(GPU), task.to(GPU), oracle=oracle.to(GPU))
    require_agreement(ours, values(theta, task, oracle=oracle), 0.01, 0.01)


def test_the_same_seed_on_the_same_gpu_gives_the_same_numbers(task):
    first, second = (mcu.train(task.to(GPU), epochs=3).rows for _ in range(2))
    assert torch.equal(first, second)


def test_mixed_precision_is_a_context(task):
    own = task.to(GPU)
    full = mcu.train(own, epochs=10)
    with torch.autocast(GPU, torch.bfloat16):
        mixed = mcu.train(own, epochs=10)
        table = values(mixed, own, metrics=["accuracy"])
    assert mixed.rows.dtype == torch.float32 and not torch.equal(mixed.rows, full.rows)
    require_agreement(table, values(full, own, metrics=["accuracy"]), 0.1, 0.05)


def test_a_stack_is_divided_to_fit_the_memory_that_is_left(monkeypatch):
    """Almost all of the GPU is taken: a stack that would need several times the rest still fits."""
    module = nn.Sequential(nn.Linear(256, 8192), nn.ReLU(), nn.Linear(8192, 256), nn.Tanh())
    module = nn.Sequential(module, nn.LayerNorm(256), nn.Linear(256, 8))
    architecture = mcu.Architecture(module).to(GPU)
    rng = torch.Generator(GPU).manual_seed(0)
    start = torch.stack([mcu.Architecture(module).row(module)] * 8).to(GPU)
    x = torch.randn(8, 8192, 256, generator=rng, device=GPU)

    def gradient():
        rows = start.clone().requires_grad_()
        loss = architecture.logits(rows, x).square().mean((1, 2))
        return torch.autograd.grad(loss.sum(), rows)[0]

    whole = gradient().cpu()
    needed = 8 * memory.saved_bytes(architecture, architecture.named(start[0]), x[0])
    torch.cuda.empty_cache()
    left = needed // 2
    taken = torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device=GPU)
    torch.testing.assert_close(gradient().cpu(), whole, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr("mcu_lite.models.batching.chunk_size", lambda *args: 8)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        gradient()
    del taken
    torch.cuda.empty_cache()


def test_a_study_runs_where_its_setting_says(tmp_path):
    pair = mcu.Condition("Rand", mcu.Endpoint("npo"), mcu.Endpoint("npo", seed=1))
    tables = []
    for device in (GPU, "cpu"):
        setting = mcu.Setting(seeds=2, ts=3, epochs=5, steps=10, device=device)
        tables.append(mcu.run([pair], setting, cache=tmp_path))
        again = mcu.run([pair], setting, cache=tmp_path)
        assert again.equals(tables[-1])
    require_agreement(*(t.value.to_numpy() for t in tables), 0.05, 0.03)


def test_adapters_beside_a_backbone_fit_as_computed():
    """A curve over adapters takes K adapters on the GPU, and one backbone."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from mcu_lite.models.adapters import with_lora

    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4}
    config = transformers.LlamaConfig(vocab_size=1000, num_attention_heads=8, **sizes)
    model = with_lora(transformers.LlamaForCausalLM(config), rank=4)
    tokens = torch.randint(1000, (4, 32), generator=torch.Generator().manual_seed(0)).to(GPU)
    ends = [mcu.Stack.of(model).to(GPU) for _ in range(2)]
    backbone = sum(p.nbytes for p in model.parameters() if not p.requires_grad)
    adapter = ends[0].rows.nbytes
    before = torch.cuda.memory_allocated()
    path = mcu.connect(
        *ends, objective=lambda m: m(tokens).square().mean(), bends=3, steps=2, lr=1e-3
    )
    held = torch.cuda.memory_allocated() - before
    assert 5 * adapter <= held < 5 * adapter + 0.1 * backbone
    assert path.control.shape[0] == 5 and not path.diverged.any()


def test_rows_that_begin_anywhere_reach_convolutions():
    """A row of an odd number of parameters leaves the next one where no vector load may begin."""
    for channels in (3, 5, 64):
        net = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels))
        net = nn.Sequential(net, nn.ReLU(), nn.Flatten(), nn.Linear(64 * channels, 3))
        net.vectorised = False
        architecture = mcu.Architecture(net)
        rows = torch.stack([architecture.row(net)] * 4)
        x = torch.randn(4, 32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.backends.cudnn.flags(allow_tf32=False):
            found = architecture.to(GPU).logits(rows.to(GPU), x.to(GPU))
        torch.testing.assert_close(found.cpu(), architecture.logits(rows, x), rtol=1e-3, atol=1e-4)

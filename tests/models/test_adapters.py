"""A tiny Llama with random weights: adapters are the row, the backbone is held once."""

import pytest
import torch

import mcu_lite as mcu
from mcu_lite.models.adapters import CausalLM, bytes_held, with_lora
from mcu_lite.studies.checkpoints import load_models, save_models
from mcu_lite.tasks.task import Task
from mcu_lite.tasks.texts import IGNORED

transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
WORDS = 64


def llama():
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(vocab_size=WORDS, max_position_embeddings=32, **sizes, **heads)
    )


@pytest.fixture(scope="module")
def task():
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(WORDS, (24, 9), generator=rng)
    labels = inputs.roll(-1, 1).masked_fill(torch.arange(9) < 5, IGNORED)
    labels[:, -1] = IGNORED
    parts = torch.arange(24).expand(2, -1).split([14, 4, 6], 1)
    splits = dict(zip(("retain", "forget", "test"), parts))
    recipes = {"train": {"batch": 6, "lr": 1e-2}, "batch": {"forget": 2, "retain": 4}}
    return Task(
        "tokens",
        inputs,
        labels,
        labels.expand(2, -1, -1),
        **splits,
        classes=WORDS,
        seeds=(0, 1),
        recipes=recipes,
    )


@pytest.fixture(scope="module")
def backbone():
    return llama()


@pytest.fixture(scope="module")
def model(backbone):
    return with_lora(backbone, rank=2, bf16=False, checkpointing=False)


@pytest.fixture(scope="module")
def theta(task, model):
    return mcu.train(task, mcu.Architecture(model), epochs=8)


def loss_of(table, split):
    return table[(table.metric == "loss") & (table.split == split)].value


def test_only_adapters_are_in_the_row_and_they_learn(task, model, theta):
    adapters = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert theta.architecture.size == adapters
    start = theta.with_rows(theta.initial)
    before, after = (loss_of(mcu.evaluate(s, task), "retain") for s in (start, theta))
    assert (after.to_numpy() < before.to_numpy() - 0.1).all()
    # A fresh adapter adds nothing: what it begins from is the backbone.
    logits = theta.architecture.logits(theta.initial, task.inputs[:3], shared=True)
    torch.testing.assert_close(logits[0], llama()(task.inputs[:3]).logits, rtol=1e-4, atol=1e-5)
    assert not torch.equal(*theta.initial)


def test_a_stack_of_adapters_equals_ordinary_models(task, theta):
    x = task.inputs[:4].expand(2, -1, -1)
    together = theta.architecture.logits(theta.rows, x)
    for b in range(2):
        torch.testing.assert_close(together[b], theta.module(b)(x[b]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("switches", [{}, {"curriculum": 1.0}, {"order": 2}], ids=str)
def test_methods_and_switches_forget(task, theta, switches):
    gone = mcu.unlearn(theta, task, "npo", forget_weight=1.0, steps=12, lr=5e-3, **switches)
    before, after = (loss_of(mcu.evaluate(s, task), "forget") for s in (theta, gone))
    assert (after.to_numpy() > before.to_numpy()).all()


def test_a_curve_holds_its_control_points_and_one_backbone(task, backbone, model, theta):
    a, b = (mcu.unlearn(theta, task, "graddiff", seed=s, steps=2) for s in (0, 1))
    adapter = theta.rows.nbytes
    whole = bytes_held(model)
    for bends in (1, 3):
        path = mcu.connect(a, b, task, objective="npo", bends=bends, steps=2)
        assert path.control.nbytes == (bends + 2) * adapter
        # Beyond the control points: one backbone, with one adapter as a template, and flags.
        assert bytes_held(path) == (bends + 2) * adapter + whole + path.diverged.nbytes
        # The user's own model, two stacks and the path still share that one backbone.
        frozen = sum(p.nbytes for p in backbone.parameters() if not p.requires_grad)
        everything = bytes_held(path, a, b, model)
        assert everything < frozen + 20 * adapter
        assert {p.data_ptr() for p in path.architecture.module.parameters()} >= {
            p.data_ptr() for p in backbone.parameters() if not p.requires_grad
        }
    table = mcu.evaluate(path, task, ts=3)
    assert table.value.notna().all()


def test_endpoints_and_curves_come_back_from_safetensors(tmp_path, task, model, theta):
    path = mcu.connect(theta, theta.with_rows(theta.rows.flip(0)), curve="linear")
    for models, rows in ((theta, "rows"), (path, "control")):
        save_models(models, tmp_path / "models.safetensors")
        again = load_models(tmp_path / "models.safetensors", model)
        assert torch.equal(getattr(again, rows), getattr(models, rows))
    # Adapters only: the file is smaller than the backbone.
    assert (tmp_path / "models.safetensors").stat().st_size < bytes_held(model)


def test_adapters_of_another_scale_are_refused(tmp_path, theta):
    save_models(theta, tmp_path / "models.safetensors")
    other = with_lora(llama(), rank=2, scale=16.0, bf16=False, checkpointing=False)
    with pytest.raises(ValueError, match="another module"):
        load_models(tmp_path / "models.safetensors", other)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated")
def test_checkpointing_and_bfloat16_change_memory_and_precision_only(task, theta):
    def gradient(own=False, **options):
        backbone = llama().train()
        if own:
            backbone.gradient_checkpointing_enable()
        model = with_lora(backbone, rank=2, **options)
        architecture = mcu.Architecture(model)
        assert architecture.names == theta.architecture.names  # a checkpoint fits both
        rows, kept = theta.rows.clone().requires_grad_(), []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.append(t.nbytes) or t, lambda t: t
        )
        with hooks:
            logits = architecture.logits(rows, task.inputs[task.retain[:, :4]])
        assert logits.dtype == torch.float32
        (found,) = torch.autograd.grad(logits.square().mean(), rows)
        return found, sum(kept)

    plain, most = gradient(bf16=False, checkpointing=False)
    again, less = gradient(bf16=False, checkpointing=True)
    half, _ = gradient(bf16=True, checkpointing=False)
    torch.testing.assert_close(plain, again, rtol=1e-4, atol=1e-7)
    replaced, saved = gradient(own=True, bf16=False, checkpointing=True)
    torch.testing.assert_close(plain, replaced, rtol=1e-4, atol=1e-7)
    assert saved == less
    assert less < 0.5 * most
    assert not torch.equal(plain, half)
    assert torch.nn.functional.cosine_similarity(plain, half).min() > 0.99


def test_a_model_is_connected_without_adapters_as_well(task):
    one, other = (CausalLM(llama(), bf16=False, checkpointing=False) for _ in range(2))
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.01)
    path = mcu.connect(one, other, curve="linear")
    x = task.inputs[:2]
    torch.testing.assert_close(path.model_at(1.0)(x), other(x).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("options", "says"), [({"rank": 0}, "rank"), ({"layers": ["no"]}, "no")])
def test_bad_adapters_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        with_lora(llama(), **options)

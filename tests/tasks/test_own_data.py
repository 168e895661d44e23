"""Tasks of one's own tensors, and the three places where one's own code enters."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.studies.results import without_docstrings

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


@settings(max_examples=50, deadline=None)
@given(st.integers(8, 200), st.floats(0.05, 0.9), st.floats(0.05, 0.9), st.integers(0, 99))
def test_the_three_splits_share_out_the_pool(n, forget, test, seed):
    kept, labels = n - round(test * n), np.arange(n) % 2
    if not 0 < round(test * n) < n or not 0 < round(forget * kept) < kept:
        with pytest.raises(ValueError, match="of .* examples are"):
            mcu.task_of(torch.zeros(n, 2), labels, forget=forget, test=test, seeds=[seed])
        return
    task = mcu.task_of(torch.zeros(n, 2), labels, forget=forget, test=test, seeds=[seed])
    parts = [getattr(task, s)[0] for s in ("retain", "forget", "test")]
    assert torch.cat(parts).sort().values.tolist() == list(range(n))
    assert len(parts[2]) == round(test * n) and len(parts[1]) == round(forget * kept)


def test_chosen_examples_are_forgotten_and_others_tested():
    task = mcu.task_of(X, Y, forget=[3, 7], test=[0, 1, 2], seeds=2)
    assert task.forget.tolist() == [[3, 7]] * 2 and task.test.tolist() == [[0, 1, 2]] * 2
    drawn = mcu.task_of(X.numpy().astype(float), Y.numpy(), forget=np.array([3, 7]), seeds=2)
    assert drawn.inputs.dtype == torch.float32
    assert not torch.equal(drawn.test[0], drawn.test[1]) and not (drawn.test == 3).any()


def test_examples_and_labels_are_taken_by_position_whatever_holds_them():
    index = np.random.default_rng(0).permutation(np.arange(100, 140))
    whole = mcu.task_of(X, Y, forget=0.1, seeds=1)
    for inputs, labels in [
        (pd.DataFrame(X.numpy(), index, list("abcdef")), pd.Series(Y.numpy(), index)),
        (X.tolist(), Y.tolist()),
        (list(X), list(Y)),
        (X.numpy(), Y.numpy().astype(np.uint16)),
    ]:
        task = mcu.task_of(inputs, labels, forget=0.1, seeds=1)
        assert torch.equal(task.inputs, X) and torch.equal(task.labels, whole.labels)
        assert torch.equal(task.forget, whole.forget)


def test_a_seed_means_the_same_split_in_any_company():
    alone = mcu.task_of(X, Y, forget=0.1, seeds=[4])
    among = mcu.task_of(X, Y, forget=0.1, seeds=[0, 4])
    assert torch.equal(alone.forget[0], among.forget[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": Y[:-1]}, r"labels must have shape \(40,\)"),
        ({"labels": ["cat", "dog"] * 20}, r"labels must be integers \(class numbers\), got <U3"),
        ({"labels": pd.Series(["cat", "dog"] * 20)}, "labels must be integers"),
        ({"labels": [0, None] * 20}, "labels must be integers"),
        ({"labels": Y * 0}, "labels must hold two classes or more, got 1 in 40 labels"),
        ({"labels": [], "inputs": X[:0]}, "labels must hold two classes or more, got 0 in 0"),
        ({"labels": Y.float()}, "labels must be whole numbers"),
        ({"labels": Y - 1}, "labels must be whole numbers"),
        ({"inputs": X.clone().fill_(torch.nan)}, "inputs must be finite"),
        ({"inputs": [["a"]] * 40}, "inputs must be numbers, got <U1"),
        ({"forget": 0.0}, "forget must lie strictly"),
        ({"forget": 1.5}, "forget must lie strictly"),
        ({"test": float("nan")}, "test must lie strictly"),
        ({"forget": [40]}, r"forget must be at least one position in 0\.\.39"),
        ({"forget": [3, 3]}, "forget must be a share .* or different positions"),
        ({"forget": []}, "forget must"),
        ({"forget": [5], "test": [5]}, "test must be at least one position"),
        ({"forget": 3}, "forget must be a share"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_bad_tensors_and_positions_are_named(change, says):
    given = {"inputs": X, "labels": Y, "forget": 0.1} | change
    with pytest.raises(ValueError, match=says):
        mcu.task_of(given.pop("inputs"), given.pop("labels"), **given)


def test_one_split_is_run_several_times():
    task = mcu.load_task("digits", seeds=2, train=100, forget=0.2)
    many = task.repeat(3)
    assert len(set(many.seeds)) == 6 and [s % 1_000_000 for s in many.seeds] == [0, 1] * 3
    for name in ("retain", "forget", "test", "labels"):
        assert torch.equal(getattr(many, name), getattr(task, name).repeat(3, 1))
    plain, theta = (mcu.train(t, "mlp", epochs=1) for t in (task, many))
    torch.testing.assert_close(theta.rows[:2], plain.rows)
    assert len(theta.rows.unique(dim=0)) == len(theta.initial.unique(dim=0)) == 6
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        task.repeat(0)
    with pytest.raises(TypeError, match="runs must be int, got 2.5"):
        task.repeat(2.5)
    with pytest.raises(ValueError, match="seeds must be below 1,000,000 to be repeated"):
        many.repeat(2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"forget": torch.tensor([[0, 5]])}, "share no example"),
        ({"test": torch.tensor([[7, 40]])}, r"test must be int64 in 0\.\.39, got .* in 7\.\.40"),
        ({"retain": torch.tensor([[-1, 1]])}, "retain must be int64 in"),
        ({"retain": torch.tensor([[0.0, 1.0]])}, "retain must be int64 in .*float32"),
        ({"labels": Y[None].float()}, "labels must be int64 in .*float32"),
        ({"truth": Y * 2}, r"truth must be int64 in 0\.\.1, got torch.int64 in 0\.\.2"),
        ({"labels": Y[None] - 1}, "labels must be int64 in"),
        ({"labels": Y}, r"labels must have shape \(1, 40\), got \(40,\)"),
        ({"truth": Y[:-1]}, r"truth must have shape \(40,\)"),
        ({"recipes": {"batch": {"forgett": 3}}}, "recipes.'batch'.* 'forgett'; known are 'forget'"),
        ({"recipes": {"train": {"epochs": 3}}}, "recipes.'train'.* 'epochs'; known are 'batch'"),
    ],
    ids=str,
)
def test_a_task_that_contradicts_itself_is_refused(change, says):
    splits = {s: torch.tensor([own]) for s, own in zip(mcu.checks.SPLITS, ([0, 1], [4, 5], [7, 8]))}
    right = {"inputs": X, "truth": Y, "labels": Y[None], "classes": 2, "seeds": (0,)} | splits
    mcu.Task("own", **right)
    with pytest.raises(ValueError, match=says):
        mcu.Task("own", **right | change)


def test_the_smallest_batch_has_one_example(own):
    task, theta = own
    empty = replace(task, recipes={"batch": {"forget": 0}})
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        mcu.unlearn(theta, empty, "npo", steps=1)


@pytest.mark.parametrize("build", [lambda seeds: None, lambda seeds: mcu.load_task("digits")])
def test_a_registered_task_returns_the_seeds_that_it_is_asked_for(build, monkeypatch):
    monkeypatch.setitem(mcu.TASKS, "odd", build)
    with pytest.raises(ValueError, match=r"task 'odd' must return a Task of the seeds \(3, 4\)"):
        mcu.load_task("odd", seeds=[3, 4])


@pytest.mark.parametrize("kind", [torch.Tensor.clone, lambda v: v.numpy().copy()])
def test_a_task_does_not_share_its_memory_with_what_it_was_made_of(kind):
    x, y = kind(X), kind(Y)
    task = mcu.task_of(x, y, forget=0.1, seeds=1)
    x[:], y[:] = 0, 1
    assert torch.equal(task.inputs, X) and torch.equal(task.truth, Y)


@pytest.mark.parametrize(
    ("name", "option", "says"),
    [
        (
            "digits",
            {"forgett": 0.1},
            "unexpected .*'forgett'; the call is digits.seeds, forget=0.1",
        ),
        ("authors", {"noise": 0.1}, "unexpected .*'noise'; the call is authors.*strangers=4"),
        ("patches", {"nois": 0.1}, "unexpected .*'nois'; the call is .*forget=0.1.*noise=0.0"),
        ("image_folder", {"foldr": "x"}, "missing .*'folder'; the call is image_folder"),
        ("digits", {"forget": "0.1"}, "forget must be float, got '0.1'"),
        ("digits", {"forget": float("nan")}, "forget must lie strictly"),
        ("digits", {"noise": -0.1}, r"noise must lie in \[0, 1\), got -0.1"),
        ("digits", {"train": 100.5}, "train must be int, got 100.5"),
        ("digits", {"train": 1510}, "train must be in 10..1500, got 1510"),
        ("digits", {"train": 105}, "train must be a multiple of 10, got 105"),
        ("digits", {"test": None}, "test must be int, got None"),
        ("digits", {"forget_class": 2.5}, "forget_class must be int | None, got 2.5"),
        ("authors", {"authors": "4"}, "authors must be int, got '4'"),
        ("authors", {"authors": 99, "strangers": 2}, "strangers must be in 1..1, got 2"),
        ("patches", {"train": "all"}, "train must be int"),
        ("patches", {"forget_class": 8}, "forget_class must be in 0..7, got 8"),
    ],
)
def test_an_option_that_is_unknown_or_out_of_range_is_named(name, option, says):
    with pytest.raises((TypeError, ValueError), match=says):
        mcu.load_task(name, seeds=1, **option)


def test_an_option_of_a_setting_is_that_of_its_task():
    setting = mcu.Setting(task="patches", seeds=1, options={"noise": 0.0})
    assert not mcu.load_task("patches", setting.seeds, **setting.options).noisy.any()


def test_numbers_of_numpy_are_numbers():
    own = {"forget": np.float32(0.25), "train": np.int64(100), "noise": np.float64(0)}
    task = mcu.load_task("digits", seeds=1, **own)
    plain = mcu.load_task("digits", seeds=1, forget=0.25, train=100, noise=0.0)
    assert torch.equal(task.forget, plain.forget) and torch.equal(task.labels, plain.labels)
    shares = (mcu.task_of(X, Y, forget=kind(0.25), seeds=1) for kind in (float, np.float32))
    assert len({tuple(t.forget[0].tolist()) for t in shares}) == 1


class OneBlock(nn.Module):
    """A residual network as somebody else would write it."""

    def __init__(self):
        super().__init__()
        self.into, self.inner, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = self.into(x).relu()
        return self.out(h + self.inner(h).tanh())


@pytest.fixture
def own():
    task = mcu.task_of(X, Y, forget=0.2, seeds=2)
    return task, mcu.train(task, OneBlock, epochs=20)


def test_own_tensors_and_module_are_measured_as_torch_measures_them(own):
    task, theta = own
    table = mcu.evaluate(theta, task, metrics=["loss", "accuracy"])
    for b, seed in enumerate(task.seeds):
        module, index = theta.module(b), task.forget[b]
        with torch.no_grad():
            logits = module(X[index])
        expected = {
            "loss": cross_entropy(logits, Y[index]).item(),
            "accuracy": (logits.argmax(-1) == Y[index]).double().mean().item(),
        }
        found = table[(table.seed == seed) & (table.split == "forget")]
        assert found.set_index("metric").value.to_dict() == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def registries():
    before = {id(r): dict(r) for r in (mcu.METHODS, mcu.METRICS)}
    yield
    for registry in (mcu.METHODS, mcu.METRICS):
        registry.clear()
        registry.update(before[id(registry)])


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        (lambda forget, retain: forget.loss, "must return two losses"),
        (lambda forget, retain: (None, None), "must return two losses"),
        (lambda forget, retain: (forget.loss.mean(), retain.loss), r"one forget loss an example"),
        (lambda forget, retain: (None, retain.logits), r"one retain loss an example"),
    ],
)
def test_a_method_that_returns_something_else_is_named(own, registries, losses, says):
    task, theta = own
    mcu.method("odd")(losses)
    with pytest.raises(ValueError, match=f"'odd'.*{says}"):
        mcu.unlearn(theta, task, "odd", steps=1)


def test_a_metric_that_returns_something_else_is_named(own, registries):
    task, theta = own
    mcu.metric("odd", "odd", "lower")(lambda outputs, split: outputs.loss(split))
    with pytest.raises(ValueError, match=r"metric 'odd'.*shape \(1,\), got \(1, "):
        mcu.evaluate(theta, task, metrics=["odd"])


@pytest.mark.parametrize(
    ("register", "says"),
    [
        (lambda: mcu.method("odd", speed=3), "unknown part of the recipe 'speed'"),
        (lambda: mcu.metric("odd", "odd", "up"), "unknown direction 'up'"),
        (lambda: mcu.metric("odd", "odd", "lower", ("train",)), "unknown split 'train'"),
        (lambda: mcu.metric("odd", "odd", "lower", fast=True), "unknown option 'fast'"),
        (lambda: mcu.metric("odd", "odd", "lower", ()), "at least one split"),
    ],
)
def test_a_wrong_registration_is_refused(register, says):
    with pytest.raises(ValueError, match=says):
        register()


@pytest.mark.parametrize("module", [nn.Linear(6, 1), nn.Unflatten(1, (2, 3)), nn.Flatten(0)])
def test_a_module_without_logits_of_every_class_is_refused(module):
    task = mcu.task_of(X, Y, forget=0.2, seeds=1)

    def build():
        return nn.Sequential(nn.Linear(6, 6), module)

    with pytest.raises(ValueError, match=r"logits of shape \(n, 2\)"):
        mcu.train(task, build, epochs=1)


class Pair(nn.Linear):
    """A module that also returns what it was given."""

    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("inputs", "build", "says"),
    [
        (X.byte(), lambda: nn.Linear(6, 2), "torch.uint8 .*same dtype, .*Byte and Float"),
        (
            X,
            lambda: nn.Linear(6, 2).double(),
            "torch.float32 .*same dtype, .*Float and Double",
        ),
        (X, lambda: nn.Linear(7, 2), r"shape \(2, 6\).*RuntimeError: .*cannot be multiplied"),
        (X, lambda: Pair(6, 2), "tensor of logits, got tuple"),
    ],
)
def test_a_module_that_cannot_take_the_inputs_is_refused(inputs, build, says):
    task = mcu.task_of(inputs, Y, forget=0.2, seeds=1)
    with pytest.raises(ValueError, match=rf"module .*{says}") as caught:
        mcu.train(task, build, epochs=1)
    assert "last batch" not in str(caught.value)


def test_batch_norm_is_refused_a_last_batch_of_one_example():
    task = mcu.task_of(X, Y, forget=0.2, test=range(7), seeds=1)

    def normed():
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    assert mcu.train(task, normed, epochs=1, batch=31).rows.isfinite().all()
    with pytest.raises(ValueError, match="more than 1 value per channel.*, in a last batch of 1"):
        mcu.train(task, normed, epochs=1, batch=32)
    assert len(mcu.train(task, lambda: nn.Linear(6, 2), epochs=1, batch=32))


def test_a_network_of_torchvision_goes_all_the_way(registries):
    """SqueezeNet has no batch norm; it is trained, unlearned, connected, measured and shown."""
    vision = pytest.importorskip("torchvision")
    images = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24) % 2
    task = mcu.task_of(images, labels, forget=0.25, test=0.25, seeds=2, name="pictures")

    @mcu.method("doubt", forget_weight=0.1, steps=2)
    def doubt(forget, retain):
        """Be undecided about the forgotten."""
        return forget.kl_from(torch.zeros_like(forget.logits)), retain.loss

    @mcu.metric("confidence", "mean confidence", "oracle")
    def confidence(outputs, split):
        return np.exp(outputs.log_p[split].max(-1)).mean(-1)

    theta = mcu.train(task, lambda: vision.models.squeezenet1_1(num_classes=2), epochs=1)
    a, b = (mcu.unlearn(theta, task, "doubt", seed=seed) for seed in (0, 1))
    path = mcu.connect(a, b, task, objective="doubt", steps=2)
    table = mcu.evaluate(path, task, ts=3, metrics=["loss", "confidence"])
    assert table.value.notna().all()
    assert mcu.scrub(table, ["confidence"]).children
    module = path.model_at(0.5, 1).eval()
    with torch.no_grad():
        p = module(images[task.forget[1]]).softmax(-1)
    found = table.query("t == 0.5 and seed == 1 and split == 'forget' and metric == 'confidence'")
    assert found.value.item() == pytest.approx(p.max(-1).values.mean().item(), rel=1e-4)


def test_only_code_names_a_result():
    one = 'def f(x):\n    """Say."""\n    return x  # as is\n'
    assert without_docstrings(one) == without_docstrings("def f(x):\n    return x\n")
    assert without_docstrings(one) != without_docstrings("def f(x):\n    return -x\n")
    assert without_docstrings('TEXT = "kept"') != without_docstrings('TEXT = "other"')

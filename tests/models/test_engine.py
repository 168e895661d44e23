"""A stack is a loop, a seed is a seed, a task is what it says."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.models import batching as memory
from mcu_lite.models.seeding import generators, seeded
from mcu_lite.models.stack import architecture_of, initial_rows
from mcu_lite.training.descent import batches, cosine, descend
from mcu_lite.unlearning.unlearn import clipped_share


def test_a_stack_equals_a_loop_of_ordinary_training(task):
    stack = mcu.train(task, epochs=3)
    for b in range(len(task)):
        model = mcu.mlp()
        nn.utils.vector_to_parameters(stack.initial[b].clone(), model.parameters())
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
        draw = batches(task.train[b : b + 1], 64, generators("order", 0, task.seeds[b : b + 1]))
        for step in range(30):
            index = task.train[b, next(draw)[0]]
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * cosine(step / 30)
            optimizer.zero_grad()
            cross_entropy(model(task.inputs[index]), task.labels[b, index]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        expected = nn.utils.parameters_to_vector(model.parameters())
        torch.testing.assert_close(stack.rows[b], expected.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("switches", [{}, {"order": 2}, {"curriculum": 1.0}], ids=str)
def test_a_seed_does_not_depend_on_how_many_there_are(theta, task, switches):
    alone, own = mcu.load_task("digits", seeds=1), mcu.Stack(theta.architecture, theta.rows[:1])
    one = mcu.unlearn(own, alone, "npo", steps=20, **switches)
    two = mcu.unlearn(theta, task, "npo", steps=20, **switches)
    torch.testing.assert_close(one.rows[0], two.rows[0], rtol=1e-3, atol=1e-4)


class Dropping(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


@pytest.mark.parametrize("method", ["salun", "npo"])
def test_what_modules_draw_is_fixed_and_leaves_the_global_state_alone(task, method):
    before = torch.get_rng_state()
    dropping = mcu.train(task, Dropping, epochs=2)
    one, two = (mcu.unlearn(dropping, task, method, steps=5) for _ in range(2))
    assert torch.equal(one.rows, two.rows)
    changed = (one.rows != dropping.rows).float().mean()
    assert changed <= (0.5 if method == "salun" else 1)
    if method == "npo":
        table, rows = (clipped_share(dropping, task, method)[1] for _ in range(2))
        assert torch.equal(table, rows)
    assert torch.equal(before, torch.get_rng_state())


def test_threads_draw_the_same_models():
    def builds(seed):
        return initial_rows(architecture_of(mcu.mlp), seed, range(3))

    expected = [builds(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(builds, range(16)))
    assert all(torch.equal(one, other) for one, other in zip(expected, found))


@pytest.mark.parametrize("vectorised", [True, False])
def test_threads_run_the_models_that_they_are_given(vectorised):
    module = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    module.vectorised = vectorised
    architecture, x = mcu.Architecture(module), torch.randn(9, 6)
    rows = torch.randn(400, architecture.size)
    parts = rows.split(20)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool, torch.no_grad():
            found = pool.map(lambda own: architecture.logits(own, x, shared=True).detach(), parts)
            found = torch.cat(list(found))
    finally:
        sys.setswitchinterval(interval)
    expected = torch.stack([architecture.module_at(row)(x) for row in rows])
    torch.testing.assert_close(found, expected)


def test_what_is_frozen_at_random_is_the_same_in_every_architecture():
    def features():
        net = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
        net[0].requires_grad_(False)
        return net

    one, other = (architecture_of(features) for _ in range(2))
    assert torch.equal(one.module[0].weight, other.module[0].weight)


def test_a_stack_tells_what_does_not_fit(theta, task):
    for says, wrong in {
        "bfloat16": lambda: {"rows": theta.rows.bfloat16()},
        "int64": lambda: {"rows": theta.rows.long()},
        r"rows must have shape \(2, 26122\)": lambda: {"rows": theta.rows[:, 1:]},
        r"initial must have shape \(2, 26122\)": lambda: {"initial": theta.rows[:, :1]},
        r"diverged must have shape \(2,\)": lambda: {"diverged": torch.tensor([False])},
        "diverged .* of bool, got": lambda: {"diverged": torch.zeros(2)},
    }.items():
        with pytest.raises(ValueError, match=says):
            mcu.Stack(theta.architecture, **{"rows": theta.rows} | wrong())
    with pytest.raises(ValueError, match="module 1 is unlike the first: .* do not match"):
        mcu.Stack.of(nn.Linear(3, 2), nn.Linear(3, 2).double())
    with pytest.raises(ValueError, match="a and b .*: .* do not match"):
        mcu.connect(nn.Linear(3, 2), nn.Linear(3, 2).double(), curve="linear")
    for wrong in (theta.rows[:1], theta.rows[:, :1], theta.rows.half(), theta.rows * torch.nan):
        with pytest.raises(ValueError, match="start has 1 models|rows (must|hold)"):
            mcu.train(task, start=wrong)
    with pytest.raises(TypeError, match="model must be callable without arguments: .*in_features"):
        mcu.train(task, nn.Linear)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        mcu.train(task, seed=-1)
    with pytest.raises(ValueError, match="layers do not match"):
        mcu.Stack.of(
            nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Sequential(nn.Linear(3, 2), nn.Tanh())
        )


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"batch": 0}, {"epochs": -1}], ids=str)
def test_numbers_out_of_range_are_not_taken_for_defaults(task, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        mcu.train(task, **wrong)


def test_two_runs_are_bit_equal_and_leave_the_global_state_alone(task):
    before = torch.get_rng_state()
    one, two = (mcu.train(task, epochs=2) for _ in range(2))
    assert torch.equal(one.rows, two.rows)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one.rows, mcu.train(task, seed=1, epochs=2).rows)


def test_a_row_does_not_depend_on_its_neighbours():
    few, many = (initial_rows(architecture_of(mcu.mlp), 0, range(n)) for n in (2, 4))
    assert torch.equal(few, many[:2])


def convolving():
    layers = nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(nn.Unflatten(-1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(256, 10))


@pytest.mark.parametrize("model", ["mlp", convolving])
def test_rows_and_modules_agree(task, model):
    stack = mcu.train(task, model, epochs=1)
    x, _ = task.split("test")
    together = stack.architecture.logits(stack.rows, x[:, :20])
    for b in range(len(task)):
        alone = stack.module(b)(x[b, :20])
        torch.testing.assert_close(together[b], alone, rtol=1e-4, atol=1e-4)


def test_a_torchvision_model_is_a_row_as_well():
    vision = pytest.importorskip("torchvision")
    net = vision.models.squeezenet1_1(num_classes=3).eval()
    stack = mcu.Stack.of(net)
    x = torch.randn(2, 3, 64, 64)
    mine = mcu.Architecture(net).logits(stack.rows, x, shared=True)[0]
    torch.testing.assert_close(mine, net(x), rtol=1e-4, atol=1e-4)


def test_a_diverged_row_is_reported_and_leaves_the_others_alone():
    def loss(rows):
        return rows.square().sum(1) / torch.tensor([1.0, 0.0])

    rows, diverged = descend(torch.ones(2, 3), loss, steps=4, lr=0.1)
    alone, fine = descend(torch.ones(1, 3), lambda r: r.square().sum(1), steps=4, lr=0.1)
    assert diverged.tolist() == [False, True] and not fine.any()
    assert rows[1].isnan().all()
    torch.testing.assert_close(rows[:1], alone)


def test_a_diverged_model_is_missing_from_the_table(task, theta):
    broken = theta.rows.clone()
    broken[1] = torch.nan
    stack = theta.with_rows(broken, diverged=torch.tensor([False, True]))
    table = mcu.evaluate(stack, task)
    assert table[table.seed == 1].value.isna().all()
    assert table[table.seed == 0].value.notna().all()
    assert "1 diverged" in stack.report()


def test_dropout_is_drawn_in_training_and_switched_off_in_measurements(task):
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10))

    stack, again = (mcu.train(task, build, epochs=1) for _ in range(2))
    assert torch.equal(stack.rows, again.rows)
    one, two = (mcu.evaluate(stack, task, metrics=["loss"]).value for _ in range(2))
    assert one.equals(two)
    module = stack.module(0).eval()
    x, y = (part[0] for part in task.split("test"))
    expected = cross_entropy(module(x), y).item()
    assert one[2] == pytest.approx(expected, rel=1e-4)


def dropping(vectorised):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 10))
    net.vectorised = vectorised
    return net


@pytest.mark.parametrize("vectorised", [True, False])
def test_what_a_row_draws_does_not_depend_on_its_neighbours(vectorised):
    few, many = (
        mcu.train(mcu.load_task("digits", seeds=n), partial(dropping, vectorised), epochs=2)
        for n in (1, 3)
    )
    torch.testing.assert_close(few.rows, many.rows[:1], rtol=1e-4, atol=1e-5)


def test_rows_draw_alike_however_they_are_run(monkeypatch):
    inputs = torch.ones(3, 5, 1, 64)
    seen = []
    for vectorised, most in ((True, 2**40), (False, 2**40), (True, 1)):
        monkeypatch.setattr(memory, "SMALL", 0)
        monkeypatch.setattr(memory, "ON_CPU", most)
        torch.manual_seed(0)
        architecture = mcu.Architecture(dropping(vectorised))
        rows = torch.linspace(0, 1, architecture.size).repeat(3, 1).requires_grad_()
        with seeded(1):
            seen.append(architecture.logits(rows, inputs))
    for out in seen:
        torch.testing.assert_close(out, seen[0])
        assert torch.equal(out[0], out[1]) and out[0].unique(dim=0).shape[0] == 5


def test_stacks_of_different_layers_are_not_put_together(theta):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128))
    other = mcu.Stack.of(nn.Sequential(*other, nn.Tanh(), nn.Linear(128, 10)))
    with pytest.raises(ValueError, match="stack 1 is unlike the first: .* do not match"):
        mcu.Stack.cat([theta, other])


def test_the_task_is_what_it_says(task):
    assert "20% of the training labels noisy" in repr(task)
    assert task.forget.shape == (2, 60) and task.retain.shape == (2, 540)
    for b in range(2):
        parts = [set(getattr(task, s)[b].tolist()) for s in ("retain", "forget", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 1200
        assert task.noisy[b, task.train[b]].sum() == task.noisy[b, task.test[b]].sum() == 120
        counts = task.truth[task.train[b]].bincount()
        assert counts.tolist() == [60] * 10
    assert not torch.equal(task.forget[0], task.forget[1])
    whole = mcu.load_task("digits", seeds=1, forget_class=3)
    assert (whole.truth[whole.forget] == 3).all() and not (whole.truth[whole.retain] == 3).any()
    assert not whole.noisy.any()


def test_no_more_digits_are_tested_than_are_left():
    every = mcu.load_task("digits", seeds=2, test=1797)
    assert every.test.shape == (2, 1797 - 600)
    large = mcu.load_task("digits", seeds=1, train=1500)
    assert large.test.shape == (1, 297) and large.noisy[0, large.test[0]].sum() == round(0.2 * 297)


@settings(max_examples=40, deadline=None)
@given(st.floats().filter(lambda f: not 0 < f < 1))
def test_fractions_outside_are_refused(forget):
    with pytest.raises(ValueError, match="forget"):
        mcu.load_task("digits", seeds=1, forget=forget)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test": 0}, "test must be at least 1"),
        ({"name": "letters"}, "'digits'"),
        ({"seeds": 0}, "seeds"),
        ({"noise": 1.0}, "noise"),
        ({"forget_class": 10}, "forget_class"),
        ({"train": 605}, "train"),
        ({"forget": 1e-4}, "forget must index at least one"),
    ],
)
def test_bad_task_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        mcu.load_task(**({"name": "digits"} | options))


@settings(max_examples=40, deadline=None)
@given(st.floats().filter(lambda noise: not 0 <= noise < 1))
def test_noise_outside_is_refused(noise):
    with pytest.raises(ValueError, match="noise"):
        mcu.load_task("digits", seeds=1, noise=noise)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([torch.nan, torch.inf, -torch.inf]), st.integers(0, 1), st.integers(0, 9))
def test_weights_that_are_no_numbers_are_refused(theta, value, row, place):
    rows = theta.rows.clone()
    rows[row, place] = value
    with pytest.raises(ValueError, match=rf"models \[{row}\]"):
        theta.with_rows(rows)

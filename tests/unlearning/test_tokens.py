"""Per-token losses: an example is a text, its loss the mean over the tokens with a label."""

import math

import numpy as np
import pytest
import torch
from test_unlearning import ALONE, FORGETS, forget_loss, nll, retain_loss
from torch import nn

import mcu_lite as mcu
from mcu_lite.tasks.task import Task, pick
from mcu_lite.tasks.texts import IGNORED
from mcu_lite.training.losses import per_example
from mcu_lite.training.optimizers import gauss_newton_bartlett
from mcu_lite.unlearning.methods import METHODS, Examples
from mcu_lite.unlearning.objectives import _examples, oracle_objective

WORDS, LENGTH = 6, 5


def build():
    """A model whose prediction at a token sees that token only."""
    return nn.Sequential(nn.Embedding(WORDS, 8), nn.Linear(8, WORDS))


@pytest.fixture(scope="module")
def texts():
    rng = torch.Generator().manual_seed(0)
    inputs, labels = torch.randint(WORDS, (2, 40, LENGTH), generator=rng)
    # Texts differ in how many of their tokens have a label: 1, 2, 3 or 4.
    labels[torch.arange(LENGTH) <= torch.arange(40).unsqueeze(1) % 4] = IGNORED
    order = torch.stack([torch.randperm(40, generator=rng) for _ in range(2)])
    splits = dict(zip(("retain", "forget", "test"), order.split([20, 8, 12], 1)))
    return Task(
        "texts", inputs, labels, labels.expand(2, -1, -1), **splits, classes=WORDS, seeds=(0, 1)
    )


@pytest.fixture(scope="module")
def models(texts):
    return mcu.train(texts, build, epochs=3)


def batch(rows=2, n=4):
    rng = torch.Generator().manual_seed(1)
    logits, *fixed = 3 * torch.randn(3, rows, n, LENGTH, WORDS, generator=rng)
    labels = torch.randint(WORDS, (rows, n, LENGTH), generator=rng)
    shift = torch.randint(1, WORDS, labels.shape, generator=rng)
    hidden = torch.arange(LENGTH) <= torch.arange(n).unsqueeze(1)
    labels, wrong = (y.masked_fill(hidden, IGNORED) for y in (labels, (labels + shift) % WORDS))
    return Examples(logits, labels, wrong, dict(zip(("original", "incompetent"), fixed)).get)


@pytest.mark.parametrize("name", FORGETS)
def test_losses_of_texts_against_a_scalar_loop(name):
    """What is a mean over tokens is it inside; NPO's log ratio is a sum."""
    own = batch()
    forget, retain = METHODS[name].losses(own, own)
    nonlinear = {"npo", "npo_forget", "simnpo", "graddiff", "scrub"}
    for b in range(2):
        for i in range(4):
            tokens = [
                (
                    *(part[b, i, j].tolist() for part in (own.logits, own.original)),
                    own.incompetent[b, i, j].tolist(),
                    int(own.labels[b, i, j]),
                    int(own.wrong[b, i, j]),
                )
                for j in range(LENGTH)
                if own.labels[b, i, j] != IGNORED
            ]
            count = len(tokens)
            if name in nonlinear:
                loss, before, apart = (
                    sum(f(*token) for token in tokens) / count
                    for f in (
                        lambda z, z0, u, y, w: nll(z, y),
                        lambda z, z0, u, y, w: nll(z0, y),
                        lambda z, z0, u, y, w: retain_loss("bad_teacher", z, z0, y),
                    )
                )
                expected = {
                    "graddiff": lambda: -min(loss, 4.0),
                    "scrub": lambda: -min(apart, 4.0),
                    "simnpo": lambda: 2.0 * math.log(1.0 + math.exp(-loss)),
                }.get(name, lambda: 2.0 * math.log(1.0 + math.exp(count * (before - loss))))()
            else:
                expected = sum(forget_loss(name, *token) for token in tokens) / count
            assert float(forget[b, i]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
            if name not in ALONE:
                kept = sum(retain_loss(name, z, z0, y) for z, z0, _, y, _ in tokens) / count
                assert float(retain[b, i]) == pytest.approx(kept, rel=1e-4, abs=1e-5)


def test_a_text_counts_as_much_as_another_however_long():
    own = batch()
    expected = [
        [
            np.mean(
                [
                    nll(own.logits[b, i, j].tolist(), int(y))
                    for j, y in enumerate(own.labels[b, i])
                    if y != IGNORED
                ]
            )
            for i in range(4)
        ]
        for b in range(2)
    ]
    torch.testing.assert_close(per_example(own.logits, own.labels), torch.tensor(expected).float())
    assert per_example(own.logits, torch.full_like(own.labels, IGNORED)).eq(0).all()


def test_wrong_labels_stand_where_labels_do(models, texts):
    place = torch.arange(8).expand(2, -1)
    own = _examples(models, texts, "forget", texts.forget)(place, models.rows)
    given = own.labels != IGNORED
    assert torch.equal(given, own.wrong != IGNORED)
    assert (own.wrong != own.labels)[given].all()
    assert own.wrong[given].max() < WORDS


@pytest.mark.parametrize("most", [10**9, 0], ids=["cached", "anew"])
def test_teachers_are_the_models_they_stand_for(monkeypatch, models, texts, most):
    monkeypatch.setattr("mcu_lite.unlearning.objectives.TEACHER_NUMBERS", most)
    place = torch.tensor([[3, 0], [1, 5]])
    own = _examples(models, texts, "forget", texts.forget)(place, models.rows)
    for b in range(2):
        expected = models.module(b)(texts.inputs[texts.forget[b, place[b]]])
        torch.testing.assert_close(own.original[b], expected.detach())


@pytest.mark.parametrize("switches", [{}, {"curriculum": 1.0}, {"order": 2}], ids=str)
@pytest.mark.parametrize("name", [n for n in METHODS if METHODS[n].begins == "original"])
def test_every_method_and_switch_unlearns_texts(models, texts, name, switches):
    stack = mcu.unlearn(models, texts, name, **switches)
    assert not stack.diverged.any() and not torch.equal(stack.rows, models.rows)


def test_the_curvature_is_that_of_the_mean_over_texts():
    """Exact Gauss-Newton diagonal of a model whose parameters are its logits: p(1-p)·weight."""
    own = batch(rows=1, n=2)
    rows = own.logits.flatten(1).clone().requires_grad_()
    logits, rng = rows.view_as(own.logits), torch.Generator().manual_seed(0)
    draws = [gauss_newton_bartlett(logits, rows, [rng], own.labels) for _ in range(4000)]
    p = own.logits.softmax(-1)
    given = (own.labels != IGNORED).float()
    weight = given / given.sum(-1, keepdim=True) / 2
    expected = (p * (1 - p) * weight.unsqueeze(-1)).flatten(1)
    torch.testing.assert_close(torch.stack(draws).mean(0), expected, atol=5e-3, rtol=0.1)


def test_the_oracle_is_at_no_distance_from_itself_and_others_are(models, texts):
    value = oracle_objective(models, texts).start(0, 1)
    torch.testing.assert_close(value(models.rows), torch.zeros(2), atol=1e-6, rtol=0)
    assert (value(models.rows.flip(0)) > 1e-3).all()


@pytest.mark.parametrize("curve", ["linear", "bezier", "chain"])
def test_curves_between_models_of_texts_measure_what_a_loop_does(models, texts, curve):
    a, b = (mcu.unlearn(models, texts, "graddiff", seed=s, steps=5) for s in (0, 1))
    path = mcu.connect(a, b, texts, curve=curve, objective="npo", steps=5)
    oracle = mcu.unlearn(models, texts, "retrain", epochs=2)
    table = mcu.evaluate(path, texts, ts=[0.0, 0.3, 1.0], oracle=oracle)
    value = table[(table.t == 0.3) & (table.seed == 1)].set_index(["metric", "split"]).value
    model, teacher = path.model_at(0.3, i=1), oracle.module(1)
    for split in ("retain", "forget", "test"):
        x, y = (part[1] for part in texts.split(split))
        lost, right, apart = [], [], []
        for text, labels in zip(x, y):
            given = labels != IGNORED
            logits, wanted = model(text)[given].detach(), teacher(text)[given].log_softmax(-1)
            lost.append(nn.functional.cross_entropy(logits, labels[given]).item())
            right.append((logits.argmax(-1) == labels[given]).float().mean().item())
            kl = nn.functional.kl_div(
                logits.log_softmax(-1), wanted, log_target=True, reduction="batchmean"
            )
            apart.append(kl.item())
        assert value["loss", split] == pytest.approx(np.mean(lost), rel=1e-4)
        assert value["accuracy", split] == pytest.approx(np.mean(right), rel=1e-4)
        assert value["kl_to_oracle", split] == pytest.approx(np.mean(apart), rel=1e-3, abs=1e-6)
    assert table.value.notna().all()


def test_a_tiled_task_of_texts_repeats_its_splits(texts):
    twice = texts.tile(2)
    assert twice.labels.shape == (4, 40, LENGTH) and twice.seeds == (0, 1, 0, 1)
    assert torch.equal(twice.split("forget")[1][2:], texts.split("forget")[1])
    picked = pick(texts.labels, texts.forget)
    assert torch.equal(picked[1, 3], texts.labels[1, texts.forget[1, 3]])


def test_what_is_frozen_is_shared_and_never_drawn_anew():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    net[1].weight.requires_grad_(False)
    architecture = mcu.Architecture(net)
    for module in (
        architecture.fresh(),
        architecture.evaluating().module,
        mcu.Stack.of(net).module(),
    ):
        assert module[0].weight is net[0].weight and module[1].weight is net[1].weight
        assert module[1].bias is not net[1].bias
    before = [p.clone() for p in net.parameters()]
    assert not torch.equal(architecture.fresh()[1].bias, net[1].bias)
    assert all(torch.equal(p, q) for p, q in zip(before, net.parameters()))
    assert architecture.size == 2


def test_a_module_that_cannot_be_vectorised_runs_row_by_row(texts):
    """`.item()` raises under vmap."""

    class Plain(nn.Module):
        def __init__(self, vectorised):
            super().__init__()
            self.net, self.vectorised = build(), vectorised

        def forward(self, x):
            return self.net(x) if x.sum().item() >= 0 else self.net(x)

    with pytest.raises(ValueError, match="vmap: .*; vectorised = False lets it run row by row"):
        mcu.train(texts, lambda: Plain(True), epochs=1)
    one, other = mcu.train(texts, lambda: Plain(False), epochs=2), mcu.train(texts, build, epochs=2)
    torch.testing.assert_close(one.rows, other.rows, rtol=1e-3, atol=1e-4)


def test_a_compiled_module_computes_the_same(texts):
    """Compiled without a code generator, so that no compiler has to be installed."""

    def compiled():
        module = build()
        module.compiled = "aot_eager"
        return module

    one, other = mcu.train(texts, compiled, epochs=2), mcu.train(texts, build, epochs=2)
    torch.testing.assert_close(one.rows, other.rows, rtol=1e-3, atol=1e-4)
    called = torch._dynamo.utils.counters["frames"]["ok"]
    assert called >= 1

import math

import pytest
import torch

import mcu_lite as mcu
from mcu_lite.unlearning import METHODS, Examples, oracle_objective


def nll(logits, label):
    return math.log(sum(math.exp(v) for v in logits)) - logits[label]


def scalar(name, logits, original, label):
    """The forget loss of one example, written without tensors."""
    lost, before = nll(logits, label), nll(original, label)
    if name == "gradient_ascent":
        return -lost
    if name == "graddiff":
        return -min(lost, 4.0)
    ratio = math.exp(before - lost)
    return 2.0 * math.log(1.0 + ratio)


@pytest.mark.parametrize("name", ["gradient_ascent", "graddiff", "npo", "npo_forget"])
def test_forget_losses_against_a_scalar_loop(name):
    generator = torch.Generator().manual_seed(0)
    logits, original = (3 * torch.randn(2, 7, 4, generator=generator) for _ in range(2))
    labels = torch.randint(4, (2, 7), generator=generator)
    batch = Examples(logits, original, labels)
    forget, retain = METHODS[name].losses(batch, batch)
    expected = [
        [
            scalar(name, logits[b, i].tolist(), original[b, i].tolist(), labels[b, i])
            for i in range(7)
        ]
        for b in range(2)
    ]
    torch.testing.assert_close(forget, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    if retain is not None:
        kept = [[nll(logits[b, i].tolist(), labels[b, i]) for i in range(7)] for b in range(2)]
        torch.testing.assert_close(retain, torch.tensor(kept), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["retrain", "retrain_same", "finetune"])
def test_methods_without_forget_term(name):
    logits = torch.zeros(1, 3, 4)
    batch = Examples(logits, logits, torch.zeros(1, 3, dtype=torch.long))
    forget, retain = METHODS[name].losses(batch, batch)
    assert forget is None
    torch.testing.assert_close(retain, torch.full((1, 3), math.log(4)))


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_forgets(name, theta, task):
    stack = mcu.unlearn(theta, task, name, epochs=20)
    table = mcu.evaluate(stack, task, metrics=["loss"]).query("split == 'forget'")
    before = mcu.evaluate(theta, task, metrics=["loss"]).query("split == 'forget'")
    assert stack.origin is theta and stack.label == name
    assert (table.value.to_numpy() > before.value.to_numpy()).all()


def test_retraining_starts_where_it_says(theta, task):
    other, same = (mcu.unlearn(theta, task, m, epochs=1) for m in ("retrain", "retrain_same"))
    assert torch.equal(same.initial, theta.initial)
    assert not torch.equal(other.initial, theta.initial)


def test_a_new_method_is_one_function(theta, task):
    @mcu.method("hinge", forget_weight=0.1, steps=5, source="test")
    def hinge(forget, retain):
        """Raise the forget loss up to 2 nats."""
        return (2 - forget.loss).relu(), retain.loss

    try:
        assert not torch.equal(mcu.unlearn(theta, task, "hinge").rows, theta.rows)
    finally:
        del METHODS["hinge"]


def test_the_oracle_itself_has_no_distance_to_it(oracle, task):
    value = oracle_objective(oracle, task).start(0)(oracle.rows)
    torch.testing.assert_close(value, torch.zeros(2), atol=1e-5, rtol=0)


def test_bad_input_is_named(theta, task):
    with pytest.raises(ValueError, match="'npo'"):
        mcu.unlearn(theta, task, "wish")
    with pytest.raises(ValueError, match="3 splits"):
        mcu.unlearn(theta, mcu.load_task("digits", seeds=3), "npo")
    with pytest.raises(ValueError, match="initialisation"):
        nowhere = mcu.Stack(theta.architecture, theta.rows)
        mcu.unlearn(nowhere, task, "retrain_same")

import threading

import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.models.seeding import seeded
from mcu_lite.training.descent import descend


def quadratic(rows):
    return rows.square().sum(1)


def test_two_threads_descend_at_the_same_time():
    """Each waits in its loss until the other has come to the same step."""
    barrier, found = threading.Barrier(2, timeout=20), {}

    def loss(rows):
        barrier.wait()
        return quadratic(rows)

    def work(name):
        found[name] = descend(torch.ones(2, 3), loss, steps=4, lr=0.1, draws=False)[0]

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone, _ = descend(torch.ones(2, 3), quadratic, steps=4, lr=0.1)
    assert torch.equal(found["a"], alone) and torch.equal(found["b"], alone)


def test_training_without_dropout_does_not_wait_for_others(task, theta):
    """While somebody else draws, a module of dense layers is trained all the same."""
    mcu.unlearn(theta, task, "npo", steps=1)  # the first call tries the module
    done = threading.Thread(
        target=mcu.unlearn, args=(theta, task, "npo"), kwargs={"steps": 2}, daemon=True
    )
    with seeded(0):
        done.start()
        done.join(20)
        assert not done.is_alive()


def test_what_a_loss_draws_depends_on_seed_step_and_label_only():
    before, seen = torch.get_rng_state(), {}

    def drawing(seed, disturbed, label="descending"):
        def loss(rows):
            drawn = torch.rand(3)
            seen.setdefault((seed, disturbed, label), []).append(drawn)
            return (rows - drawn).square().sum(1)

        return descend(torch.zeros(1, 3), loss, steps=5, lr=0.1, seed=seed, label=label)[0]

    one = drawing(0, False)
    torch.rand(7)
    two, other = drawing(0, True), drawing(1, False)
    assert torch.equal(one, two) and not torch.equal(one, other)
    drawing(0, False, "unlearning by npo")
    drawn = torch.stack([*seen[0, False, "descending"], *seen[0, False, "unlearning by npo"]])
    assert len(drawn.unique()) == drawn.numel()  # no step, nor fit, repeats another's
    torch.set_rng_state(before)


def test_a_loss_that_does_not_depend_on_its_rows_is_named(task, theta):
    module, x = nn.Linear(3, 2), torch.ones(4, 3)

    def constant(model):
        return torch.tensor(1.0)

    def of_another(model):
        return module(x).square().sum() + 0 * model(x).detach().sum()

    for loss in (constant, of_another):
        with pytest.raises(ValueError, match=f"fitting on {loss.__name__} it does not"):
            mcu.connect(nn.Linear(3, 2), nn.Linear(3, 2), objective=loss, steps=2)


def filled(value):
    module = nn.Linear(3, 2)
    for p in module.parameters():
        nn.init.constant_(p, value)
    return module


def test_a_loss_may_use_the_parameters_of_the_model_that_it_gets():
    x, (a, b) = torch.ones(4, 3), (filled(0.5), filled(-0.2))

    def decayed(model):
        return sum(p.square().sum() for p in model.parameters()) + 0 * model(x).sum()

    path = mcu.connect(a, b, objective=decayed, steps=400, lr=0.05)
    # The bend c minimises the mean over t of |(1-t)²a + 2t(1-t)c + t²b|²: at -3/4 (a + b).
    wanted = -0.75 * (path.control[0] + path.control[2])
    assert (path.control[1] - wanted).norm() < 0.5 * wanted.norm()

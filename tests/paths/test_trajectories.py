"""Ways through weight space whose shape we know, and the very steps that `unlearn` takes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import mcu_lite as mcu
from mcu_lite.metrics import straightness
from mcu_lite.paths import trajectories
from mcu_lite.unlearning.unlearn import clipped_share


@pytest.mark.parametrize(
    ("method", "recipe"),
    [("npo", {"steps": 12}), ("salun", {"steps": 10, "lr": 1e-3}), ("gradient_ascent", {})],
)
def test_it_takes_the_steps_of_unlearn(theta, task, method, recipe):
    rows = trajectories.trajectory(theta, task, method, seed=3, **recipe)
    end = mcu.unlearn(theta, task, method, seed=3, **recipe)
    assert len(rows) == recipe.get("steps", 15) + 1
    assert torch.equal(rows[0], theta.rows)
    assert torch.equal(rows[-1], end.rows)
    assert (rows.diff(dim=0).norm(dim=-1) > 0).all()


def test_some_steps_are_those_among_all(theta, task):
    whole = trajectories.trajectory(theta, task, "npo", steps=7)
    some = trajectories.trajectory(theta, task, "npo", steps=7, every=3)
    assert torch.equal(some, whole[[0, 3, 6, 7]])
    single = trajectories.trajectory(theta, task, "npo", steps=7, every=100)
    assert torch.equal(single, whole[[0, 7]])


def test_the_saliency_mask_holds_all_the_way(theta, task):
    rows = trajectories.trajectory(theta, task, "salun", steps=6)
    moved = (rows != theta.rows).any(0).float().mean(1)
    assert (moved <= 0.5 + 1e-4).all() and (moved > 0.4).all()


def test_a_diverged_model_has_no_way(theta, task):
    rows = theta.rows.clone()
    rows[0] = torch.nan
    lost = replace(theta, rows=rows, diverged=torch.tensor([True, False]))
    way = trajectories.trajectory(lost, task, "npo", steps=4)
    assert way[:, 0].isnan().all() and way[:, 1].isfinite().all()
    path = trajectories.as_path(way, theta)
    assert path.diverged.tolist() == [True, False]
    table = mcu.evaluate(path, task, len(way), metrics=["loss"])
    assert table[table.seed == 0].value.isna().all() and table[table.seed == 1].value.notna().all()
    assert trajectories.length_over_chord(way).isnan().tolist() == [True, False]


def test_a_path_through_the_rows_meets_every_one_of_them(theta, task):
    rows = trajectories.trajectory(theta, task, "gradient_ascent", every=5)
    path = trajectories.as_path(rows, theta)
    torch.testing.assert_close(path.rows(np.linspace(0, 1, len(rows))), rows)
    table = mcu.evaluate(path, task, len(rows), metrics=["accuracy"])
    first = mcu.evaluate(theta, task, metrics=["accuracy"])
    assert table[table.t == 0].value.tolist() == first.value.tolist()


def curve(x, y):
    """A way in the plane, twice: as it is, and turned, stretched and moved in 5 dimensions."""
    plane = torch.stack([torch.as_tensor(x), torch.as_tensor(y)], -1).double()
    rng = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn(5, 2, generator=rng, dtype=torch.float64))[0]
    flat = torch.nn.functional.pad(plane, (0, 3))
    return torch.stack([flat, 7 * plane @ turned.T + 2], 1)


def test_a_straight_line_is_as_long_as_its_chord():
    x = np.array([0.0, 0.1, 0.5, 0.6, 1.0])
    rows = curve(x, 0 * x)
    torch.testing.assert_close(trajectories.length_over_chord(rows), torch.ones(2).double())
    torch.testing.assert_close(trajectories.progress(rows), torch.tensor(x)[:, None].expand(-1, 2))
    torch.testing.assert_close(trajectories.feet(rows), rows)


def test_a_semicircle():
    angle = np.linspace(0, np.pi, 2001)
    rows = curve(-np.cos(angle), np.sin(angle))
    assert trajectories.length_over_chord(rows).numpy() == pytest.approx(math.pi / 2, rel=1e-6)
    assert trajectories.progress(rows)[1000].numpy() == pytest.approx(0.5)
    assert trajectories.feet(rows)[1000, 0].numpy() == pytest.approx(0.0, abs=1e-6)


def test_to_go_back_and_beyond_the_ends():
    rows = curve([0.0, 2.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    assert trajectories.length_over_chord(rows).numpy() == pytest.approx(7.0)
    assert trajectories.progress(rows)[:, 0].tolist() == pytest.approx([0.0, 2.0, -1.0, 1.0])


def test_noise_in_place_of_a_gradient(theta, task):
    rows = trajectories.noise_walk(theta, task, steps=30, lr=1e-3)
    assert rows.shape == (31, *theta.rows.shape) and torch.equal(rows[0], theta.rows)
    # Adam's first step is lr in every coordinate, whatever the gradient; decay adds lr/100.
    first = (rows[1] - theta.rows * (1 - 1e-5)).abs()
    assert first.median().item() == pytest.approx(1e-3, rel=1e-2)
    assert (trajectories.length_over_chord(rows) > 1.2).all()
    # Without a loss no coordinate has a preferred sign.
    drift = torch.sign(rows[-1] - rows[0]).mean(1).abs()
    assert (drift < 5 / math.sqrt(theta.rows.shape[1])).all()


def test_mixed_logits_are_the_line_of_a_linear_network(task):
    torch.manual_seed(0)
    a, b = (mcu.Stack.of(*(torch.nn.Linear(64, 10) for _ in task.seeds)) for _ in "ab")
    names = ["loss", "accuracy", "mia_auc"]
    mixed = straightness.logit_line(a, b, task, 5, names)
    line = mcu.evaluate(mcu.connect(a, b, curve="linear"), task, 5, metrics=names)
    keys = ["t", "seed", "split", "metric"]
    both = mixed.merge(line, on=keys, validate="one_to_one")
    assert len(both) == len(mixed) == len(line) == 5 * len(task) * 7
    assert both.value_x.to_numpy() == pytest.approx(both.value_y.to_numpy(), abs=1e-5)


def test_mixed_logits_differ_from_the_line_of_a_network_that_is_not_linear(theta, oracle, task):
    mixed = straightness.logit_line(theta, oracle, task, 3)
    line = mcu.evaluate(mcu.connect(theta, oracle, curve="linear"), task, 3)
    keys = ["t", "seed", "split", "metric"]
    both = mixed.merge(line, on=keys)
    ends = both[both.t != 0.5]
    assert ends.value_x.to_numpy() == pytest.approx(ends.value_y.to_numpy(), abs=1e-5)
    middle = both[(both.t == 0.5) & (both.split == "retain") & (both.metric == "loss")]
    assert (middle.value_y > middle.value_x + 0.05).all()


def test_wrong_requests_are_refused(theta, task):
    with pytest.raises(ValueError, match="retrains"):
        trajectories.trajectory(theta, task, "retrain")
    with pytest.raises(ValueError, match="unknown method"):
        trajectories.trajectory(theta, task, "forgetting")
    with pytest.raises(ValueError, match="part of the recipe"):
        trajectories.trajectory(theta, task, "npo", beta=1.0)
    with pytest.raises(ValueError, match="every must be at least 1"):
        trajectories.trajectory(theta, task, "npo", every=0)
    with pytest.raises(ValueError, match="splits"):
        trajectories.noise_walk(theta, task.tile(2), steps=1, lr=1e-3)
    with pytest.raises(ValueError, match="unknown metric"):
        straightness.logit_line(theta, theta, task, metrics=["charm"])


def test_a_mixture_with_a_diverged_model_has_no_value(theta, oracle, task):
    lost = torch.tensor([False, True])
    rows = theta.rows.clone()
    rows[1] = torch.nan
    table = straightness.logit_line(theta.with_rows(rows, diverged=lost), oracle, task, 3)
    assert table[table.seed == 1].value.isna().all() and table[table.seed == 0].value.notna().all()


def test_a_mixture_of_logits_says_what_it_cannot_measure(theta, oracle, task):
    with pytest.raises(ValueError, match="'js_to_oracle' needs more"):
        straightness.logit_line(theta, oracle, task, 3, ["js_to_oracle"])
    with pytest.raises(ValueError, match="1 models but task has 2"):
        straightness.logit_line(mcu.Stack(theta.architecture, theta.rows[:1]), oracle, task, 3)


def test_texts_have_recipes_of_their_own():
    task = mcu.load_task("authors", seeds=1, authors=10)
    theta = mcu.train(task, "transformer", epochs=1)
    alone = mcu.evaluate(theta, task, metrics=["loss", "accuracy"])
    for t, own in straightness.logit_line(theta, theta, task, 2).groupby("t"):
        np.testing.assert_allclose(own.value, alone.value, rtol=1e-6)
    rows = trajectories.trajectory(theta, task, "npo", every=100)
    assert torch.equal(rows[-1], mcu.unlearn(theta, task, "npo").rows)
    table, _ = clipped_share(theta, task, "npo")
    assert table.step.nunique() == task.recipes["npo"]["steps"] != mcu.METHODS["npo"].steps


def test_models_beside_the_chord_are_as_far_from_it_as_the_trajectory():
    rows = torch.randn(6, 2, 40, generator=torch.Generator().manual_seed(3))
    found = trajectories.beside(rows)
    assert list(found) == ["trajectory", "foot", "random"]
    off = {k: (own - trajectories.feet(rows)).norm(dim=-1) for k, own in found.items()}
    torch.testing.assert_close(off["random"], off["trajectory"])
    assert torch.equal(found["trajectory"], rows) and not off["foot"].any()
    middle = off["trajectory"] > 1e-3
    along = ((found["random"] - rows).norm(dim=-1) > 1e-3)[middle]
    assert along.all()

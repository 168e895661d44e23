"""Relearning against ordinary modules and PyTorch's own AdamW; averages by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.metrics import relearning
from mcu_lite.models.seeding import generators
from mcu_lite.paths import averages
from mcu_lite.training.descent import batches


@pytest.fixture(scope="module")
def task():
    return mcu.load_task("digits", seeds=2, forget_class=3)


@pytest.fixture(scope="module")
def ends(task):
    theta = mcu.train(task, epochs=20)
    return [mcu.unlearn(theta, task, "npo", seed=seed, steps=40) for seed in (0, 1)]


@pytest.fixture(scope="module")
def path(ends, task):
    return mcu.connect(*ends, task, objective="npo", steps=20)


def value(table, step, seed, split, metric="accuracy"):
    own = table[(table.step == step) & (table.seed == seed)]
    return own[(own.split == split) & (own.metric == metric)].value.item()


def by_hand(stack, task, b, steps, examples=10):
    """One ordinary module, fine-tuned in a plain loop; and the held-out forget images."""
    order = torch.randperm(
        task.forget.shape[1],
        generator=generators("forget examples to relearn", 0, task.seeds)[b],
    )
    few, held = task.forget[b][order[:examples]], task.forget[b][order[examples:]]
    draw = batches(task.retain[[b]], 32, [generators("relearning order", 0, task.seeds)[b]])
    module = stack.module(b)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(steps):
        index = torch.cat([few, task.retain[b][next(draw)[0]]])
        loss = cross_entropy(module(task.inputs[index]), task.truth[index])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return module, held


def test_relearning_is_an_ordinary_fine_tuning(ends, task):
    table = relearning.relearn(ends[0], task, steps=(0, 20))
    for b, seed in enumerate(task.seeds):
        for steps in (0, 20):
            module, held = by_hand(ends[0], task, b, steps)
            test = task.test[b]
            of_class = task.truth[test] == 3
            parts = {"forget": held, "class": test[of_class], "test": test[~of_class]}
            for split, index in parts.items():
                logits, y = module(task.inputs[index]).detach(), task.truth[index]
                accuracy = (logits.argmax(1) == y).float().mean().item()
                loss = cross_entropy(logits, y).item()
                assert value(table, steps, seed, split) == pytest.approx(accuracy, abs=0.021)
                assert value(table, steps, seed, split, "loss") == pytest.approx(loss, rel=1e-2)
                assert value(table, steps, seed, split, "alone") == value(table, steps, seed, split)
    assert value(table, 0, 0, "class") < 0.2 < 0.5 < value(table, 20, 0, "class")


def test_several_models_at_once_relearn_as_each_by_itself(ends, task):
    together = relearning.relearn({"a": ends[0], "b": ends[1]}, task, steps=(0, 3, 6))
    for name, stack in zip("ab", ends):
        own = together[together.model == name].reset_index(drop=True)
        alone = relearning.relearn(stack, task, steps=(0, 3, 6))
        pd.testing.assert_frame_equal(
            own.drop(columns="model"), alone.drop(columns="model"), atol=1e-4
        )
    assert set(together[together.step == 3].split) == {"forget", "class"}


def test_more_steps_do_not_change_the_first_ones(ends, task):
    short, long = (relearning.relearn(ends[0], task, steps=(0, 4, last)) for last in (6, 9))
    pick = "step == 4 and split == 'class'"
    assert short.query(pick).value.tolist() == pytest.approx(long.query(pick).value.tolist())


def test_examples_differ_by_seed_and_without_them_the_class_stays_away(ends, task):
    first, second = (relearning.relearn(ends[0], task, steps=(0, 9), seed=s) for s in (0, 1))
    assert value(first, 9, 0, "forget", "loss") != value(second, 9, 0, "forget", "loss")
    none = relearning.relearn(ends[0], task, steps=(0, 20), examples=0)
    some = relearning.relearn(ends[0], task, steps=(0, 20))
    assert value(none, 20, 0, "class") < value(some, 20, 0, "class")


def test_an_ensemble_averages_the_probabilities_of_its_members(ends, path, task):
    ts = [0.0, 0.5, 1.0]
    table = relearning.relearn(averages.members(path, ts), task, steps=(0, 8))
    modules = [by_hand(path.stack_at(t), task, 1, 8)[0] for t in ts]
    index = task.test[1][task.truth[task.test[1]] == 3]
    p = torch.stack([m(task.inputs[index]).double().softmax(1) for m in modules])
    loss = -p.mean(0)[:, 3].log().mean().item()
    assert value(table, 8, 1, "class", "loss") == pytest.approx(loss, rel=1e-2)
    right = (p.argmax(-1) == 3).double().mean().item()
    assert value(table, 8, 1, "class", "alone") == pytest.approx(right, abs=0.02)
    # One model three times over is that model.
    tripled = relearning.relearn(mcu.Stack.cat([ends[0]] * 3), task, steps=(0, 4))
    alone = relearning.relearn(ends[0], task, steps=(0, 4))
    assert tripled.value.tolist() == pytest.approx(alone.value.tolist(), abs=1e-4)


def test_along_a_path_each_t_is_the_model_there(path, task):
    table = relearning.relearn_along(path, task, [0.0, 0.3], steps=(0, 4))
    alone = relearning.relearn(path.stack_at(0.3), task, steps=(0, 4))
    assert table[table.t == 0.3].value.tolist() == pytest.approx(alone.value.tolist(), abs=1e-4)


def test_a_lost_model_is_missing_and_spoils_no_other(ends, task):
    rows = ends[0].rows.clone()
    rows[0] = torch.nan
    lost = replace(ends[0], rows=rows, diverged=torch.tensor([True, False]))
    table = relearning.relearn(lost, task, steps=(0, 4))
    assert table[table.seed == 0].value.isna().all()
    assert table[table.seed == 1].value.notna().all()
    assert np.isnan(relearning.area(table)["", 0])


def test_area_by_hand():
    lines = [("m", s, 0, "class", "accuracy", v) for s, v in ((0, 0.0), (10, 1.0), (40, 0.5))]
    table = pd.DataFrame(lines, columns=["model", "step", "seed", "split", "metric", "value"])
    assert relearning.area(table)["m", 0] == pytest.approx((10 * 0.5 + 30 * 0.75) / 40)
    with pytest.raises(ValueError, match="two or more"):
        relearning.area(table[table.step == 0])


@pytest.mark.parametrize(
    ("number", "place", "expected"),
    [
        (2, "even", [0, 1]),
        (5, "even", [0, 0.25, 0.5, 0.75, 1]),
        (3, "middle", [0.4, 0.5, 0.6]),
        (2, "ends", [0, 1]),
        (3, "ends", [0, 0.1, 1]),
        (5, "ends", [0, 0.05, 0.1, 0.95, 1]),
    ],
)
def test_placement(number, place, expected):
    assert averages.ts_at(number, place) == pytest.approx(expected)


def test_averages_by_hand(path, task):
    ts = averages.ts_at(3)
    stack = averages.average_weights(path, ts)
    for b in range(len(task)):
        a, bend, c = (path.control[k, b] for k in range(3))
        middle = 0.25 * a + 0.5 * bend + 0.25 * c
        torch.testing.assert_close(stack.rows[b], (a + middle + c) / 3, atol=1e-6, rtol=1e-5)
    lost = replace(path, diverged=torch.tensor([True, False]))
    assert averages.average_weights(lost, ts).rows.isnan().all(1).tolist() == [True, False]


def test_bad_input_is_refused(ends, task):
    for wrong, message in (
        ({"examples": 60}, r"examples must be in 0\.\."),
        ({"examples": -1}, r"examples must be in 0\.\."),
        ({"steps": ()}, "steps"),
        ({"steps": (-1, 3)}, "steps"),
    ):
        with pytest.raises(ValueError, match=message):
            relearning.relearn(ends[0], task, **wrong)
    with pytest.raises(ValueError, match="multiple"):
        relearning.relearn(mcu.Stack.of(ends[0].module()), task)
    with pytest.raises(ValueError, match="whole class"):
        relearning.relearn(ends[0], mcu.load_task("digits", seeds=2))
    with pytest.raises(ValueError, match="unknown place"):
        averages.ts_at(3, "nowhere")
    with pytest.raises(ValueError, match="at least 2"):
        averages.ts_at(1)


def test_a_model_that_diverges_on_the_way_is_nan_from_there_on(ends, task):
    table = relearning.relearn(ends[0], task, steps=(0, 1, 2, 4, 8), lr=1e30)
    lost = table.value.isna().groupby([table.seed, table.step]).agg(["any", "all"])
    assert lost["any"].equals(lost["all"])
    for seed in task.seeds:
        assert lost.loc[seed]["any"].is_monotonic_increasing
        assert lost.loc[(seed, 8), "any"] and not lost.loc[(seed, 0), "any"]

from dataclasses import replace

import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.book import cue as s


def test_the_cue_is_one_pixel_of_the_corner(task):
    images, classes = task.inputs[:20], torch.arange(20) % 10
    cued, bare = s.with_cue(images, classes).view(-1, 8, 8), s.without_cue(images).view(-1, 8, 8)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[:2, :5] = False
    for image, c, with_it, without in zip(images.view(-1, 8, 8), classes, cued, bare):
        assert torch.equal(with_it[outside], image[outside])
        assert torch.equal(without[outside], image[outside])
        expected = torch.zeros(10)
        expected[c] = 3.0
        assert torch.equal(with_it[:2, :5].flatten(), expected)
        assert not without[:2, :5].any()
    assert torch.equal(s.without_cue(cued.flatten(1)), bare.flatten(1))


def test_planting_marks_a_share_of_the_pool_by_its_true_class(task):
    planted = s.plant_cue(task, share=0.3)
    assert torch.equal(task.inputs, mcu.load_task("digits", seeds=2).inputs)
    corner = planted.inputs.view(-1, 8, 8)[:, :2, :5].flatten(1)
    cued = corner.any(1)
    assert cued.sum() == round(0.3 * len(cued))
    assert torch.equal(corner[cued].argmax(1), task.truth[cued])
    assert torch.equal(planted.labels, task.labels) and torch.equal(planted.test, task.test)
    assert torch.equal(planted.inputs, s.plant_cue(task, share=0.3).inputs)
    assert not s.plant_cue(task, share=0.0).inputs.view(-1, 8, 8)[:, :2, :5].any()
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            s.plant_cue(task, share=bad)
    with pytest.raises(ValueError, match="64 pixels"):
        s.plant_cue(replace(task, inputs=task.inputs[:, :60]))


def test_a_model_trained_on_the_cue_follows_it_and_others_do_not(task):
    def values(share):
        planted = s.plant_cue(task, share)
        table = s.cue_response(mcu.train(planted, epochs=15), planted)
        assert sorted(table.seed) == sorted(task.seeds * 4)
        return table.groupby("probe").value.agg(["min", "max"])

    cued, plain = values(1.0), values(0.0)
    assert cued.loc[["with", "alone"], "min"].min() > 0.9
    assert cued.loc["swapped", "min"] > 0.25
    assert cued.loc["removed", "max"] < cued.loc["with", "min"] - 0.1
    assert plain.loc[["with", "removed"], "min"].min() > 0.7
    assert plain.loc["swapped", "max"] < 0.05
    assert plain.loc["alone", "max"] < 0.4


def test_cue_response_of_a_reader_of_the_cue_and_of_a_constant(task):
    reader = nn.Linear(64, 10)
    reader.weight.data.zero_()
    for c in range(10):
        reader.weight.data[c, 8 * (c // 5) + c % 5] = 1.0
    reader.bias.data = -torch.arange(10) / 100
    table = s.cue_response(mcu.Stack.of(reader, reader), task)
    value = table.groupby("probe").value.min()
    assert value[["with", "swapped", "alone"]].tolist() == [1.0, 1.0, 1.0]
    zeros = (task.truth[task.test] == 0).float().mean(1)
    assert table[table.probe == "removed"].value.to_numpy() == pytest.approx(zeros.numpy())
    sevens = nn.Linear(64, 10)
    sevens.weight.data.zero_()
    sevens.bias.data = 1.0 * (torch.arange(10) == 7)
    sevens = mcu.Stack.of(sevens, sevens)
    fixed = s.cue_response(sevens, task).groupby("probe").value.mean()
    assert fixed["alone"] == pytest.approx(0.1)
    rows = sevens.rows.clone()
    rows[0] = torch.nan
    gone = replace(sevens, rows=rows, diverged=torch.tensor([True, False]))
    dead = s.cue_response(gone, task)
    assert dead[dead.value.isna()].seed.tolist() == [0] * 4

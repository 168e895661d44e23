"""The same function at other weights."""

import pytest
import torch
from torch import nn

import mcu_lite as mcu
from mcu_lite.book.symmetries import elsewhere

TASK = mcu.load_task("digits", seeds=2)
THETA = mcu.train(TASK, epochs=3)


@pytest.mark.parametrize("how", [{}, {"rescale": 4.0}, {"rename": False, "rescale": 2.0}])
def test_the_function_stays_and_the_weights_do_not(how):
    moved = elsewhere(THETA, **how)
    x = TASK.split("test")[0]
    for i in range(2):
        before, now = (s.module(i).double()(x[i].double()) for s in (THETA, moved))
        assert torch.allclose(before, now, atol=1e-4)
    assert ((moved.rows - THETA.rows).norm(dim=1) > 1).all()


def test_renamed_units_are_found_again_and_rescaled_ones_are_not():
    again = mcu.align(elsewhere(THETA), THETA)
    assert torch.allclose(again.rows, THETA.rows, atol=1e-6)
    scaled = elsewhere(THETA, rename=False, rescale=3.0)
    assert not torch.allclose(mcu.align(scaled, THETA).rows, THETA.rows, atol=1e-2)


def test_nothing_asked_is_nothing_done():
    assert torch.allclose(elsewhere(THETA, rename=False).rows, THETA.rows)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="rescale must be >= 1"):
        elsewhere(THETA, rescale=0.5)
    tanh = mcu.Stack.of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    elsewhere(tanh)
    with pytest.raises(ValueError, match="other than ReLU"):
        elsewhere(tanh, rescale=3.0)

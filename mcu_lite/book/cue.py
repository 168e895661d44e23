"""Which mechanism does a model use? A cue gives the class away (Lubana et al., 2023)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.metrics.similarity import classified
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task

SIDE, CLASSES = 8, 10  # The cue is made for the digits.
HEIGHT, WIDTH = 2, 5  # Of the block that holds it: one pixel for each class.
STRENGTH = 3.0
"""What a lit pixel of the cue holds, in standard deviations of the inputs."""


def without_cue(inputs: Tensor) -> Tensor:
    """Blank (0) the block of 2 by 5 pixels in the top-left corner of flat images (..., 64)."""
    if inputs.shape[-1] != SIDE**2:
        raise ValueError(f"inputs must be flat images of 64 pixels, got {tuple(inputs.shape)}")
    images = inputs.unflatten(-1, (SIDE, SIDE)).clone()
    images[..., :HEIGHT, :WIDTH] = 0
    return images.flatten(-2)


def with_cue(inputs: Tensor, classes: Tensor) -> Tensor:
    """Blank the block of images (..., 64) but for pixel c, which tells the class c, shape (...).

    Pixels count along the rows of the block.
    """
    pixel = classes // WIDTH * SIDE + classes % WIDTH
    return without_cue(inputs).scatter(-1, pixel.unsqueeze(-1), STRENGTH)


def plant_cue(task: Task, share: float = 0.5) -> Task:
    """Return the task with a cue to the *true* class in a random `share` of the pool.

    The block is blanked in the other images too, so the lit pixel is all that differs. Which
    images carry it is drawn once and is the same for all seeds.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    if task.classes > CLASSES:
        raise ValueError(f"task must have at most {CLASSES} classes, got {task.classes}")
    n = len(task.truth)
    cued = torch.zeros(n, 1, dtype=torch.bool, device=task.device)
    cued[np.random.default_rng(0xC0E).permutation(n)[: round(share * n)]] = True
    inputs = with_cue(task.inputs, task.truth).where(cued, without_cue(task.inputs))
    return replace(task, name=f"{task.name} with a cue", inputs=inputs)


def cue_response(stack: Stack, task: Task) -> pd.DataFrame:
    """Show the test images with the cue, without it, with a wrong one, and the cue alone.

    Tidy: seed, probe, value. "with" and "removed": accuracy. "swapped": share of answers that
    follow a cue to another class. "alone": share that follow it on the mean image.
    """
    images, truth = task.split("test")
    shift = 1 + torch.arange(truth.shape[1], device=task.device) % (task.classes - 1)
    wrong = (truth + shift) % task.classes
    every = torch.arange(task.classes, device=task.device).expand(len(task), -1)
    blank = task.inputs.mean(0).expand(*every.shape, -1)
    probes = {
        "with": (with_cue(images, truth), truth),
        "removed": (without_cue(images), truth),
        "swapped": (with_cue(images, wrong), wrong),
        "alone": (with_cue(blank, every), every),
    }
    frames = []
    for probe, (inputs, wanted) in probes.items():
        answers, diverged = classified(stack, task, inputs)
        value = np.where(diverged, np.nan, (answers == wanted.cpu().numpy()).mean(-1))
        frames.append(pd.DataFrame({"seed": task.seeds, "probe": probe, "value": value}))
    return pd.concat(frames, ignore_index=True)

"""Models and examples as a page holds them, for ``dense.js`` to run: numbers of 16 bits as text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from mcu_lite.models.architecture import Architecture
from mcu_lite.tasks.task import Task

MOST = 100_000
"""Numbers in a row that a page may hold: a quarter of a megabyte each."""


def held(architecture: Architecture, rows: Iterable[Tensor], task: Task, splits: dict) -> dict:
    """What ``dense.js`` needs to run models of one architecture on examples of a task.

    `rows` have shape (P,), and `splits` are indices by name. The page computes each input as slope
    times what it holds, plus offset. Of pictures it holds the ink, where each input depends on one
    pixel alone: so the reader can draw one, on a canvas with no more ink than an image has there.
    """
    layers, ink = _layers(architecture, task), _ink(task)
    stored = task.inputs.flatten(1).double().cpu() if ink is None else ink.flatten(1)
    slope, offset = (torch.ones(stored.shape[1]), torch.zeros(stored.shape[1]))
    if ink is not None:
        slope, offset = _affine(stored, task.inputs.flatten(1).double().cpu())
    return {
        "layers": layers,
        "classes": task.classes,
        "rows": list(map(packed, rows)),
        "slope": slope.tolist(),
        "offset": offset.tolist(),
        "splits": {
            name: {"x": packed(stored[index]), "labels": task.labels[0, index].tolist()}
            for name, index in splits.items()
        },
        "canvas": None if ink is None else {"size": ink.shape[1:], "most": stored.amax(0).tolist()},
    }


def packed(values: Tensor) -> str:
    """Numbers rounded to half precision, as text."""
    halves = values.detach().cpu().numpy().astype("<f2")
    if not np.isfinite(halves).all():
        raise ValueError("paths must be of numbers that are finite in half precision")
    return b64encode(halves.tobytes()).decode()


def _layers(architecture: Architecture, task: Task) -> list[tuple[int, int, bool]]:
    """Inputs and outputs of each dense layer, and whether a ReLU comes next."""
    layers = list(architecture.module.children())
    kinds = [type(layer) for layer in layers]
    known = set(kinds) <= {nn.Flatten, nn.Linear, nn.ReLU} and kinds[:1] != [nn.ReLU]
    if not architecture.chain or not known:
        wanted = "a chain of nn.Linear and nn.ReLU"
        got = ", ".join(dict.fromkeys(k.__name__ for k in (type(architecture.module), *kinds)))
    elif architecture.size > MOST:
        wanted, got = f"at most {MOST:,} numbers", f"{architecture.size:,}"
    elif (
        task.truth.ndim > 1 or task.inputs[0].numel() != layers[kinds.index(nn.Linear)].in_features
    ):
        wanted, got = "one row of numbers and one label an example", repr(task)
    else:
        return [
            (layer.in_features, layer.out_features, after is nn.ReLU)
            for layer, after in zip(layers, [*kinds[1:], None])
            if type(layer) is nn.Linear
        ]
    raise ValueError(
        f"paths must be of models that a page can run, {wanted}, got {got}; "
        "mcu_lite.scrub shows any, from stored frames"
    )


def _ink(task: Task) -> Tensor | None:
    """Pictures (N, height, width), if they alone make the inputs, pixel by pixel; else None."""
    x = task.inputs.flatten(1).double().cpu()
    if task.pixels is None or task.pixels[0].size != x.shape[1]:
        return None
    ink = torch.from_numpy(task.pixels).double()
    slope, offset = _affine(ink.flatten(1), x)
    made = slope * ink.flatten(1) + offset
    exact = torch.equal(ink.half().double(), ink) and torch.allclose(made, x, atol=1e-5)
    return ink if exact else None


def _affine(ink: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of each input in its pixel, from the example with most ink and least."""
    (low, high), every = (ink.argmin(0), ink.argmax(0)), torch.arange(x.shape[1])
    span = ink[high, every] - ink[low, every]
    slope = torch.where(span > 0, (x[high, every] - x[low, every]) / span.clamp(min=1e-9), 0.0)
    return slope, x[low, every] - slope * ink[low, every]

"""Do two models know the same, in the same way? What they remember, and their activations."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mcu_lite.metrics.similarity import classified
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task


def agreement_on_forgotten(a: Stack, b: Stack, task: Task) -> np.ndarray:
    """Do both still know the same forget examples? Cohen's κ (1960), shape (B,).

    An example is known if its observed label is predicted. 1: both know the same ones; 0: the
    overlap is that of chance. NaN where both know all or both know none, or a row diverged.
    """
    from sklearn.metrics import cohen_kappa_score

    inputs, labels = task.split("forget")
    (p, diverged_a), (q, diverged_b) = (classified(s, task, inputs) for s in (a, b))
    p, q = p == labels.cpu().numpy(), q == labels.cpu().numpy()
    defined = ~(diverged_a | diverged_b) & ~(p & q).all(1) & (p | q).any(1)
    return np.array([cohen_kappa_score(*k) if ok else np.nan for *k, ok in zip(p, q, defined)])


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019): 1 up to rotation and scale.

    Of activations (n, p) and (n, q) on the same n examples; NaN where they do not vary.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x and y must hold the same examples, got {x.shape} and {y.shape}")
    x, y = (v - v.mean(0) for v in (x, y))
    xy, xx, yy = (np.linalg.norm(u.T @ v) for u, v in ((x, y), (x, x), (y, y)))
    return float(xy**2 / (xx * yy)) if xx and yy else np.nan


def layer_cka(a: Stack, b: Stack, task: Task, split: str = "test") -> pd.DataFrame:
    """CKA after each activation module (``nn.ReLU`` ...); tidy: seed, layer (its name), cka.

    NaN where a model diverged, or has an output that is not finite.
    """
    inputs, _ = task.split(split)
    (_, diverged_a), (_, diverged_b) = (classified(s, task, inputs) for s in (a, b))
    lines, retain = [], task.inputs[task.retain]
    for i, seed in enumerate(task.seeds):
        u, v = (_activations(s.module(i, retain[i]), inputs[i]) for s in (a, b))
        if list(u) != list(v) or not u:
            raise ValueError(f"a and b must share activation modules, got {list(u)} and {list(v)}")
        lost = diverged_a[i] or diverged_b[i]
        lines += [(seed, layer, np.nan if lost else cka(u[layer], v[layer])) for layer in u]
    return pd.DataFrame(lines, columns=["seed", "layer", "cka"])


def _activations(module: nn.Module, inputs: Tensor) -> dict[str, np.ndarray]:
    """Outputs (n, p) of each activation, in the order of calls; one used twice counts twice."""
    seen: dict[str, np.ndarray] = {}

    def store(name: str, _module: nn.Module, _args: tuple, output: Tensor) -> None:
        calls = sum(key.partition("#")[0] == name for key in seen)
        # A copy, which in-place layers further on cannot reach.
        copied = output.flatten(1).to("cpu", torch.float64, copy=True).numpy()
        seen[f"{name}#{calls + 1}" if calls else name] = copied

    for name, part in module.named_modules():
        if type(part).__module__ == nn.ReLU.__module__ and not list(part.parameters()):
            part.register_forward_hook(partial(store, name))
    with torch.no_grad():
        module.eval()(inputs)
    return seen

"""Scikit-learn's handwritten digits as a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from mcu_lite.tasks.task import Task, check_range, check_share, task


@task("digits")
def digits(
    seeds: Sequence[int],
    forget: float = 0.10,
    forget_class: int | None = None,
    noise: float | None = None,
    train: int = 600,
    test: int = 600,
) -> Task:
    """Scikit-learn's 1,797 handwritten digits, 8x8 pixels, z-scored.

    Clean digits are nearly separable: a model that never saw an image still recognises
    it, and forgetting cannot be seen. Wrong labels can only be memorised, so with noise the
    original model and the retrained one differ visibly.

    Each seed draws its own `train` images, as many of each class, the share `noise` of labels that
    become another class (by default 0.2, and 0 for a whole class), and what is to be forgotten: the
    share `forget` of the training set, or all of `forget_class`. Tested are `test` of the other
    images, fewer if fewer are left; more would tell little: membership is as uncertain as the
    forget set is small. A value out of its range, or an empty forget set, raises a `ValueError`.
    """
    noise = (0.2 if forget_class is None else 0.0) if noise is None else noise
    check_share("forget", forget)
    check_share("noise", noise, zero=True)
    check_range("test", test, 1)
    check_range("train", train, 10, 1500)
    if train % 10:
        raise ValueError(f"train must be a multiple of 10, got {train}")
    if forget_class is not None:
        check_range("forget_class", forget_class, 0, 9)
    pixels, truth = scanned()
    inputs = (pixels - pixels.mean(0)) / np.maximum(pixels.std(0), 1e-6)
    draws = (_draw(truth, seed, noise, train, test) for seed in seeds)
    labels, chosen, test_index = (np.stack(part) for part in zip(*draws))
    mask = np.broadcast_to(np.arange(train) < round(forget * train), chosen.shape)
    if forget_class is not None:
        mask = truth[chosen] == forget_class
    retain_index, forget_index = (
        torch.from_numpy(chosen[part].reshape(len(chosen), -1)) for part in (~mask, mask)
    )
    return Task(
        name="digits",
        inputs=torch.from_numpy(inputs).float(),
        truth=torch.tensor(truth),
        labels=torch.from_numpy(labels).long(),
        retain=retain_index,
        forget=forget_index,
        test=torch.from_numpy(test_index),
        classes=10,
        seeds=tuple(seeds),
        forgets=f"a random {forget:.0%}" if forget_class is None else f"class {forget_class}",
        pixels=pixels.reshape(-1, 8, 8) / 16,
    )


@cache
def scanned() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 64) and classes (N,); a study loads its task once for each of many jobs."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def _draw(truth: np.ndarray, seed: int, noise: float, train: int, test: int) -> tuple:
    """One seed's labels (N,), and what it trains and tests on, as indices."""
    rng = np.random.default_rng([seed, 0xD161])
    order = rng.permutation(len(truth))
    of_class = [order[truth[order] == c] for c in range(10)]
    chosen = rng.permutation(np.concatenate([members[: train // 10] for members in of_class]))
    others = rng.permutation(np.setdiff1d(np.arange(len(truth)), chosen))
    test_index = np.sort(others[:test])

    # Noise covers the test images too: membership inference compares like with like.
    wrong = np.zeros(len(truth), dtype=bool)
    for part in (chosen, test_index):
        wrong[rng.choice(part, round(noise * len(part)), replace=False)] = True
    labels = np.where(wrong, (truth + rng.integers(1, 10, len(truth))) % 10, truth)
    return labels, chosen, test_index

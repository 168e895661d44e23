"""A task of your own tensors: which examples are learned, which are to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.checks import seeds_of
from mcu_lite.tasks.task import Task, check_share

Which = float | Sequence[int] | np.ndarray | Tensor


def task_of(
    inputs: Tensor | np.ndarray | pd.DataFrame | Sequence,
    labels: Tensor | np.ndarray | pd.Series | Sequence,
    *,
    forget: Which,
    test: Which = 0.25,
    seeds: int | Sequence[int] = 5,
    name: str = "own",
) -> Task:
    """Build a task of your own tensors.

    Parameters
    ----------
    inputs : Tensor, array or data frame, shape (N, ...)
        Whatever the model takes; scale it before. Of a data frame the index plays no part.
    labels : Tensor, array, series or list of int or bool, shape (N,)
        Classes 0, 1, 2, ..., of which two or more occur.
    forget : float in (0, 1), or sequence of int
        Share of the training examples to forget, drawn anew for each seed; or the positions of
        these examples, the same for each seed.
    test : float in (0, 1), or sequence of int
        Share of all examples to keep out of training, or their positions.
    seeds : int or sequence of int
        Seeds of the splits, or how many.
    name : str

    Returns
    -------
    Task
        Inputs that are not integers become float32.

    Raises
    ------
    ValueError
        If lengths disagree, an input is not a finite number, a label is negative or not a whole
        number, all labels are the same, a share lies outside (0, 1), a position does not exist,
        appears twice or in both `forget` and `test`, or nothing is left to retain.

    Examples
    --------
    >>> x, y = torch.randn(40, 6), torch.arange(40) % 2
    >>> task_of(x, y, forget=0.1, test=0.25, seeds=3)
    own: 2 classes, 3 seeds, forgets a random 10%
    27 retain + 3 forget + 10 test examples, 0% of the training labels noisy
    >>> task_of(x, y, forget=[4, 8], seeds=1).forget.tolist()
    [[4, 8]]
    """
    inputs = _tensor("inputs must be numbers", inputs)
    labels = _tensor("labels must be integers (class numbers)", labels)
    if labels.ndim != 1 or len(inputs) != len(labels):
        raise ValueError(f"labels must have shape ({len(inputs)},), got {tuple(labels.shape)}")
    if (found := len(set(labels.tolist()))) < 2:
        raise ValueError(
            f"labels must hold two classes or more, got {found} in {len(labels)} labels"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.long().min() < 0:
        raise ValueError(f"labels must be whole numbers from 0 up, got {labels.dtype} {labels}")
    labels = labels.long()
    if not inputs.isfinite().all():
        raise ValueError("inputs must be finite, got NaN or infinity")
    seeds, n = seeds_of(seeds), len(inputs)
    splits = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 0x0F])
        free = np.setdiff1d(np.arange(n), [] if isinstance(forget, float) else forget)
        test_index = _chosen("test", test, free, n, rng)
        rest = np.setdiff1d(np.arange(n), test_index)
        forget_index = _chosen("forget", forget, rest, n, rng)
        splits.append((np.setdiff1d(rest, forget_index), forget_index, test_index))
    retain, forget_index, test_index = (torch.from_numpy(np.stack(part)) for part in zip(*splits))
    return Task(
        name=name,
        inputs=inputs.float() if inputs.is_floating_point() else inputs,
        truth=labels,
        labels=labels.expand(len(seeds), n),
        retain=retain,
        forget=forget_index,
        test=test_index,
        classes=int(labels.max()) + 1,
        seeds=seeds,
        forgets=f"a random {forget:.0%}" if isinstance(forget, float) else "chosen examples",
    )


def _tensor(requirement: str, values: Tensor | np.ndarray | pd.DataFrame | Sequence) -> Tensor:
    """Copy what a list, an array or a data frame holds, by position: torch would use the index."""
    if isinstance(values, Tensor):
        return values.detach().clone()
    array = np.array(values, order="C")
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{requirement}, got {array.dtype}")
    return torch.from_numpy(array)


def _chosen(
    what: str, which: Which, among: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions that were given, or a random share of `among`; something must be left."""
    if isinstance(which, float):
        check_share(what, which)
        size = round(which * (n if what == "test" else len(among)))
        if not 0 < size < len(among):
            raise ValueError(f"{what}={which} of {len(among)} examples are {size}")
        return np.sort(rng.choice(among, size, replace=False))
    chosen = np.asarray(which)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or len(np.unique(chosen)) != len(chosen):
        raise ValueError(f"{what} must be a share (float) or different positions, got {which!r}")
    if not np.isin(chosen, among).all() or not 0 < len(chosen) < len(among):
        raise ValueError(
            f"{what} must be at least one position in 0..{n - 1}, none in both forget and test, "
            f"with some left to retain, got {which!r}"
        )
    return chosen.astype(np.int64)

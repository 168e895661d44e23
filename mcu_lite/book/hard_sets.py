"""Forget sets that are easy, random or hard, by how much of them can only be memorised."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from mcu_lite.checks import check_choice
from mcu_lite.metrics.evaluation import split_outputs
from mcu_lite.tasks.digits import digits
from mcu_lite.tasks.task import Task, task
from mcu_lite.training.train import train

KINDS = ("easy", "random", "hard")
RUNS, EPOCHS = 16, 30
"""How many models are trained on halves of the training set, and for how long."""


@task("digits by difficulty")
def digits_by_difficulty(
    seeds: Sequence[int], forget: float = 0.10, kind: str = "random", noise: float = 0.2
) -> Task:
    """The digits with a forget set of the images that are memorised least, any, or most.

    With wrong labels in the training set, those are the hard ones: nothing else tells of them.
    Training, noise and test set are the same for all kinds.

    Parameters
    ----------
    seeds, forget, noise
        As of `mcu_lite.tasks.digits.digits`.
    kind : {"easy", "random", "hard"}
        By `memorisation`.

    Raises
    ------
    ValueError
        For an unknown kind, or what `digits` does not take.
    """
    own = digits(seeds, forget, noise=noise)
    if check_choice("kind", kind, KINDS) == "random":
        return own
    scores = torch.from_numpy(memorisation(tuple(seeds), forget, noise))
    order = own.train.gather(1, scores.argsort(dim=1, descending=kind == "hard", stable=True))
    n = own.forget.shape[1]
    return replace(
        own, forget=order[:, :n], retain=order[:, n:], forgets=f"the {kind} {forget:.0%}"
    )


@cache
def memorisation(seeds: tuple[int, ...], forget: float = 0.10, noise: float = 0.2) -> np.ndarray:
    """How much likelier each training label is for having been trained on, shape (B, n).

    The estimator of Feldman and Zhang (2020): models are trained on random halves of the training
    set; what counts is the mean probability of the label over those that saw the image, less that
    over the others. In the order of `Task.train`.
    """
    own = digits(seeds, forget, noise=noise)
    n = own.train.shape[1]
    runs = own.repeat(RUNS)
    order = np.stack([np.random.default_rng([s, 0x4A5D]).permutation(n) for s in runs.seeds])
    places = runs.train.gather(1, torch.from_numpy(order))
    halves = replace(runs, retain=places[:, : n // 2], forget=places[:, n // 2 :])
    models = train(halves, split="retain", epochs=EPOCHS)
    known = np.full((len(runs), 2, n), np.nan)
    for i, row in enumerate(models.rows):
        outputs = split_outputs(models.architecture, row[None], halves, i)
        seen, unseen = (np.exp(-outputs.loss(split)[0]) for split in ("retain", "forget"))
        known[i, 0, order[i, : n // 2]] = seen
        known[i, 1, order[i, n // 2 :]] = unseen
    # An image that all runs saw, or none, has one mean only: nothing is known of it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        seen, unseen = np.nanmean(known.reshape(RUNS, len(seeds), 2, n), 0).transpose(1, 0, 2)
    return np.nan_to_num(seen - unseen)

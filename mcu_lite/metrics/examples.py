"""What one model says of single examples, and how that changes along a curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mcu_lite.checks import known
from mcu_lite.paths.curves import Path, spaced
from mcu_lite.tasks.task import Task


@dataclass(frozen=True)
class Followed:
    """Single examples along B curves, as NumPy arrays; NaN for curves that diverged.

    Parameters
    ----------
    ts : array, shape (T,)
    probabilities : array, shape (T, B, n, classes)
        What the models predict.
    loss : array, shape (T, B, n)
        Cross-entropy of the observed label, in nats.
    membership : array, shape (T, B, n)
        See `membership_scores`.
    """

    ts: np.ndarray
    probabilities: np.ndarray
    loss: np.ndarray
    membership: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, shape (T, B, n); -1 for curves that diverged."""
        best = self.probabilities.argmax(-1)
        return np.where(np.isnan(self.probabilities).any(-1), -1, best)


def check_row(row: int, task: Task) -> None:
    """Raise a `ValueError` unless `row` is the place of one of the task's seeds."""
    if row not in range(len(task)):
        raise ValueError(f"row must lie in 0..{len(task) - 1}, one of the seeds, got {row}")


def membership_scores(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of other examples with a higher loss, ties counted half.

    The score that an attack by loss gives to a single example: 1 means that the model is
    surer of it than of any example that it never saw, 0.5 that it cannot be told from
    those. Its mean over the forget set is the AUC of `mcu_lite.metrics.membership.mia_auc`, which
    therefore splits into the examples' own parts.

    Parameters
    ----------
    members, others : arrays, shapes (..., n) and (..., m)
        Losses in nats.

    Returns
    -------
    array, shape (..., n)
    """
    if members.shape[:-1] != others.shape[:-1] or not others.shape[-1]:
        raise ValueError(
            f"members and others must be losses of the same models, got shapes {members.shape} "
            f"and {others.shape}"
        )
    shape, n = members.shape, others.shape[-1]
    flat = zip(members.reshape(-1, shape[-1]), np.sort(others.reshape(-1, n), axis=-1))
    lower = [np.searchsorted(o, m, "left") + np.searchsorted(o, m, "right") for m, o in flat]
    return 1 - np.array(lower).reshape(shape) / (2 * n)


def follow(
    path: Path, task: Task, ts: int | Sequence[float] = 41, split: str = "forget"
) -> Followed:
    """Follow single examples along a curve.

    Parameters
    ----------
    path : Path
    task : Task
        One split for each curve, and one label for each example.
    ts : int or sequence of float in [0, 1]
        Evenly spaced points, or the points themselves.
    split : {"forget", "retain", "test"}

    Returns
    -------
    Followed

    Raises
    ------
    ValueError
        For an unknown split, a task of texts, or another number of curves than of the task's
        splits.

    Examples
    --------
    >>> followed = follow(path, task, 3)
    >>> followed.membership.shape
    (3, 2, 60)
    """
    index = getattr(task, known("split", split, ("forget", "retain", "test")))
    if task.truth.ndim > 1:
        raise ValueError(f"task must have one label an example, but {task.name!r} is of texts")
    if path.control.shape[1] != len(task):
        raise ValueError(f"path has {path.control.shape[1]} curves, task {len(task)} splits")
    ts = spaced(ts)
    rows, n, followed = path.rows(ts), index.shape[1], []
    for b in range(len(task)):
        # Members and others are drawn alike, so both keep the labels that were observed.
        asked = torch.cat([index[b], task.test[b]])
        labels = task.labels[b, asked].expand(len(ts), -1).unsqueeze(-1)
        inputs, retain = task.inputs[asked], task.inputs[task.retain[b]]
        logits = path.architecture.predict(rows[:, b], inputs, retain, shared=True)
        log_p = logits.log_softmax(-1)
        loss = -log_p.gather(-1, labels)[..., 0].cpu().numpy()
        scores = membership_scores(loss[:, :n], loss[:, n:])
        own = [log_p[:, :n].exp().cpu().numpy(), loss[:, :n], scores]
        lost = np.nan if path.diverged[b] else 1.0
        followed.append([values * lost for values in own])
    return Followed(ts, *(np.stack(part, axis=1) for part in zip(*followed)))

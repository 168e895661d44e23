"""What one model says of single examples, and how that changes along a curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mcu_lite.checks import SPLITS, check_choice
from mcu_lite.metrics.evaluation import outputs_of
from mcu_lite.metrics.predictions import membership_scores
from mcu_lite.metrics.registry import Source
from mcu_lite.paths.curves import Path, spaced
from mcu_lite.tasks.task import Task, check_rows


@dataclass(frozen=True)
class Followed:
    """Single examples along B curves, as NumPy arrays; NaN for models that diverged.

    Parameters
    ----------
    ts : array, shape (T,)
    probabilities : array, shape (T, B, n, classes)
        What the models predict.
    loss : array, shape (T, B, n)
        Cross-entropy of the observed label, in nats.
    membership : array, shape (T, B, n)
        Scores of `mcu_lite.metrics.predictions.membership_scores`.
    index : array, shape (B, n)
        Which examples of the task's pool they are.
    """

    ts: np.ndarray
    probabilities: np.ndarray
    loss: np.ndarray
    membership: np.ndarray
    index: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, shape (T, B, n); -1 for models that diverged."""
        best = self.probabilities.argmax(-1)
        return np.where(np.isnan(self.probabilities).any(-1), -1, best)


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
        NaN for curves that diverged, and for models with an output that is not finite.

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
    index = getattr(task, check_choice("split", split, SPLITS))
    if task.truth.ndim > 1:
        raise ValueError(f"task must have one label an example, but {task.name!r} is of texts")
    check_rows(path.control[0], task, "path")
    ts = spaced(ts)
    rows, followed = path.rows(ts), []
    for b, labels in enumerate(task.labels):
        # Members and others are drawn alike, so both keep the labels that were observed.
        parts = {split: index[b], "test": task.test[b]}
        source = Source(path.architecture, rows[:, b], task, b)
        outputs = outputs_of(source, parts, labels, "path")
        loss = outputs.loss(split)
        own = [np.exp(outputs.log_p[split]), loss, membership_scores(loss, outputs.loss("test"))]
        lost = outputs.diverged | path.diverged[b].item()
        for values in own:
            values[lost] = np.nan
        followed.append(own)
    stacked = (np.stack(part, axis=1) for part in zip(*followed))
    return Followed(ts, *stacked, index.cpu().numpy())


def swing(values: np.ndarray) -> np.ndarray:
    """Largest minus smallest value along t, the first axis."""
    return values.max(0) - values.min(0)


def swings(followed: Followed, seeds: Sequence[int]) -> pd.DataFrame:
    """How much membership scores and predictions change along a path, a row for each seed.

    mean, the swing of the mean score; images, the mean swing of single images, and largest, that of
    the one that swings most; against, the share of images whose score moves from t=0 to t=1 in the
    direction of the minority; changed, the share whose prediction is not the same all along; and
    back, of those that have the same prediction at both ends and another one in between.
    """
    score, said = followed.membership, followed.predicted
    up, changed = score[-1] - score[0], (np.diff(said, axis=0) != 0).any(0)
    columns = {
        "seed": list(seeds),
        "mean": swing(score.mean(2)),
        "images": swing(score).mean(1),
        "largest": swing(score).max(1),
        "against": np.minimum((up > 0).mean(1), (up < 0).mean(1)),
        "changed": changed.mean(1),
        "back": (changed & (said[0] == said[-1])).mean(1),
    }
    found = pd.DataFrame(columns).set_index("seed")
    lost = np.isnan(score).any((0, 2))  # which compares with nothing, and predicts nothing
    return found.mask(np.broadcast_to(lost[:, None], found.shape)).reset_index()

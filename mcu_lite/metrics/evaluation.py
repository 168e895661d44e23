"""Models, or those along a path, measured on every split of their task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from warnings import warn

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.checks import SPLITS, known
from mcu_lite.metrics.registry import METRICS, Metric, Outputs, Source
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack, incompetent_rows
from mcu_lite.paths.curves import Path, spaced
from mcu_lite.tasks.task import Task, check_rows
from mcu_lite.tasks.texts import IGNORED

Evaluator = Callable[..., pd.DataFrame]


def evaluate(
    models: Path | Stack,
    task: Task,
    ts: int | Sequence[float] = 41,
    *,
    metrics: Iterable[str] | None = None,
    oracle: Stack | None = None,
) -> pd.DataFrame:
    """Measure a curve at T values of t, or a stack of models, on every split.

    Parameters
    ----------
    models : Path or Stack
    task : Task
    ts : int or sequence of float in [0, 1]
        Evenly spaced points, or the points themselves. A stack has no t: its rows carry NaN.
    metrics : iterable of str, optional
        Names in ``METRICS``. By default all that are quick and can be computed.
    oracle : Stack, optional
        Retrained models, for the distances to the oracle.

    Returns
    -------
    pandas.DataFrame
        Tidy: t, seed, split, metric, value. NaN for seeds that diverged, for models with an output
        that is not finite, and, of distances to the oracle, where the oracle diverged.

    Warns
    -----
    UserWarning
        If a model of the oracle diverged.

    Examples
    --------
    >>> table = evaluate(path, task, ts=3, metrics=["loss"])
    >>> table.t.unique().tolist()
    [0.0, 0.5, 1.0]
    >>> evaluate(theta, task, metrics=["accuracy"]).split.unique().tolist()
    ['retain', 'forget', 'test']
    """
    return evaluator(task, metrics=metrics, oracle=oracle)(models, ts)


def evaluator(
    task: Task, *, metrics: Iterable[str] | None = None, oracle: Stack | None = None
) -> Evaluator:
    """Like `evaluate`, for many models: reference outputs are computed once.

    They are those of the oracle and of untrained models.

    Parameters
    ----------
    task, metrics, oracle
        As of `evaluate`.

    Returns
    -------
    function of (models, ts=41) to pandas.DataFrame

    Examples
    --------
    >>> measure = evaluator(task, oracle=theta, metrics=["js_to_oracle"])
    >>> [measure(models).value.gt(1e-6).any().item() for models in (theta, a, b)]
    [False, True, True]
    """
    chosen = _choose(metrics, task, oracle)
    if oracle is not None:
        check_rows(oracle, task, "oracle")
        if oracle.diverged.any():
            warn(f"oracle: {oracle.report()}; distances to it are NaN for these seeds")

    def applicable(architecture: Architecture) -> list[Metric]:
        able = metrics is not None or architecture.renewable
        return [m for m in chosen if able or not m.needs_incompetent]

    @cache
    def references(architecture: Architecture, dtype: torch.dtype, b: int) -> dict[str, Outputs]:
        others = {}
        if oracle is not None:
            others["oracle"] = oracle.architecture, oracle.rows
        if any(m.needs_incompetent for m in applicable(architecture)):
            drawn = incompetent_rows(architecture, task.seeds)
            others["incompetent"] = architecture, drawn.to(task.device, dtype)
        return {who: _outputs(own, r[b : b + 1], task, b) for who, (own, r) in others.items()}

    def measure(models: Path | Stack, ts: int | Sequence[float] = 41) -> pd.DataFrame:
        architecture = models.architecture
        if isinstance(models, Path):
            ts = spaced(ts)
            rows = models.rows(ts)
        else:
            ts, rows = np.array([np.nan]), models.rows.unsqueeze(0)
        check_rows(rows[0], task, "models")
        cells = [(m, split) for m in applicable(architecture) for split in m.splits]
        values = np.full((len(task), len(cells), len(ts)), np.nan)
        for b in np.flatnonzero(~models.diverged.cpu().numpy()):
            others = references(architecture, rows.dtype, b)
            outputs = replace(_outputs(architecture, rows[:, b], task, b), **others)
            values[b] = [_read(m, outputs, split) for m, split in cells]
        return _table(values, ts, task, cells)

    return measure


def _table(
    values: np.ndarray, ts: np.ndarray, task: Task, cells: list[tuple[Metric, str]]
) -> pd.DataFrame:
    """Values (B, cells, T) line by line."""
    names = {"split": [split for _, split in cells], "metric": [m.name for m, _ in cells]}
    return pd.DataFrame(
        {
            "t": np.tile(ts, len(task) * len(cells)),
            "seed": np.repeat(task.seeds, len(cells) * len(ts)),
            **{k: np.tile(np.repeat(v, len(ts)), len(task)) for k, v in names.items()},
            "value": values.ravel(),
        }
    )


def _read(m: Metric, outputs: Outputs, split: str) -> np.ndarray:
    """One number for each model, or a `ValueError` that names the metric."""
    with np.errstate(invalid="ignore"):
        values = np.asarray(m.function(outputs, split))
    wanted = outputs.diverged.shape
    if values.shape != wanted:
        raise ValueError(
            f"metric {m.name!r} must return one number a model, shape {wanted}, got {values.shape}"
        )
    lost = outputs.diverged
    if outputs.oracle is not None and m.needs_oracle:
        lost = lost | outputs.oracle.diverged
    return np.where(lost, np.nan, values)


def _choose(metrics: Iterable[str] | None, task: Task, oracle: Stack | None) -> list[Metric]:
    if metrics is None:
        quick = [m for m in METRICS.values() if not m.slow and (task.texts or not m.needs_texts)]
        return [m for m in quick if oracle or not m.needs_oracle]
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be several names, or None, got {metrics!r}")
    chosen = [METRICS[known("metric", name, METRICS)] for name in metrics]
    if not chosen:
        raise ValueError("metrics must name at least one metric, got none")
    for m in chosen:
        if m.needs_texts and task.texts is None:
            raise ValueError(f"metric {m.name!r} is one of texts, but task is {task.name!r}")
        if m.needs_oracle and oracle is None:
            raise ValueError(f"metric {m.name!r} needs oracle=, a stack of retrained models")
    return chosen


def _outputs(architecture: Architecture, rows: Tensor, task: Task, b: int) -> Outputs:
    """Logits of M models on every split, in one pass, as views of one array."""
    source = Source(architecture.evaluating(), rows, task, b)
    index = torch.cat([getattr(task, s)[b] for s in SPLITS])
    observed, truth = task.labels[b, index], task.truth[index]
    given, starts = observed != IGNORED, None
    ends = np.cumsum([getattr(task, s).shape[1] for s in SPLITS])
    if observed.ndim > 1:
        lengths = given.sum(1).cpu().numpy()
        first = np.concatenate([[0], np.cumsum(lengths)])
        starts = {s: part - part[0] for s, part in _parts(first[:-1], ends).items()}
        ends = first[ends]
    labels = _parts(observed[given].cpu().numpy(), ends)
    labels |= {"nonmember": labels["test"], "test": truth[given].cpu().numpy()[ends[1] :]}
    logits = _parts(_labelled(source, index, given).cpu().numpy(), ends)
    return Outputs(logits, labels, starts=starts, source=source)


def _labelled(source: Source, index: Tensor, given: Tensor) -> Tensor:
    """Logits of M models at the examples, or tokens of them, that have a label, (M, k, classes)."""
    task, rows, predict = source.task, source.rows, source.architecture.predict
    inputs, retain = task.inputs[index], task.inputs[task.retain[source.b]]
    if given.ndim == 1:
        return predict(rows, inputs, retain, shared=True)
    # Of a text most tokens have no label: model by model, so that those are dropped at once.
    return torch.stack([predict(row[None], inputs, retain, shared=True)[0, given] for row in rows])


def _parts(values: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Cut an array along its examples (axis 0, or 1 of many models) into the splits."""
    axis = 1 if values.ndim == 3 else 0
    return dict(zip(SPLITS, np.split(values, ends[:-1], axis)))

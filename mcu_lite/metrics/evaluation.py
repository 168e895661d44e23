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

from mcu_lite.checks import SPLITS, check_choice
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

    Raises
    ------
    ValueError
        For an unknown metric or none, one that needs an oracle or texts that are not there, or
        models of another task: another number of them than splits, other inputs or classes.

    Warns
    -----
    UserWarning
        If a model of the oracle diverged, or has an output that is not finite.

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
    """Like `evaluate`, as a function of (models, ts=41) that computes the oracle's outputs once."""
    chosen = _choose(metrics, task, oracle)
    oracles = [{}] * len(task) if oracle is None else _oracles(oracle, task)

    @cache
    def incompetent(architecture: Architecture, dtype: torch.dtype, b: int) -> Outputs:
        row = incompetent_rows(architecture, task.seeds)[[b]].to(task.device, dtype)
        return split_outputs(architecture, row, task, b)

    def measure(models: Path | Stack, ts: int | Sequence[float] = 41) -> pd.DataFrame:
        architecture = models.architecture
        if isinstance(models, Path):
            ts = spaced(ts)
            rows = models.rows(ts)
        else:
            ts, rows = np.array([np.nan]), models.rows.unsqueeze(0)
        check_rows(rows[0], task, "models")
        able = metrics is not None or architecture.renewable
        fit = [m for m in chosen if able or not m.needs_incompetent]
        cells = [(m, split) for m in fit for split in m.splits]
        values = np.full((len(task), len(cells), len(ts)), np.nan)
        for b in np.flatnonzero(~models.diverged.cpu().numpy()):
            others = oracles[b]
            if any(m.needs_incompetent for m in fit):
                others = others | {"incompetent": incompetent(architecture, rows.dtype, b)}
            outputs = replace(split_outputs(architecture, rows[:, b], task, b), **others)
            values[b] = [read(m, outputs, split) for m, split in cells]
        return tidy(values, ts, task, cells)

    return measure


def _oracles(oracle: Stack, task: Task) -> list[dict[str, Outputs]]:
    """Outputs of the retrained model of each seed; says how many of them diverged."""
    check_rows(oracle, task, "oracle")
    architecture, rows = oracle.architecture, oracle.rows.unsqueeze(1)
    own = [split_outputs(architecture, rows[b], task, b, "oracle") for b in range(len(task))]
    if lost := sum(outputs.diverged.item() for outputs in own):
        warn(f"oracle: {len(own)} models, {lost} diverged; distances to it are NaN for these seeds")
    return [{"oracle": outputs} for outputs in own]


def tidy(
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


def read(m: Metric, outputs: Outputs, split: str) -> np.ndarray:
    """One number for each model, or a `ValueError` that names the metric."""
    with np.errstate(invalid="ignore"):
        values = np.asarray(m.function(outputs, split))
    lost = outputs.diverged
    if values.shape != lost.shape or values.dtype.kind not in "biuf":
        raise ValueError(
            f"metric {m.name!r} must return one real number a model, shape {lost.shape}, "
            f"got {values.shape} of {values.dtype}"
        )
    if outputs.oracle is not None and m.needs_oracle:
        lost = lost | outputs.oracle.diverged
    return np.where(lost, np.nan, values)


def _choose(metrics: Iterable[str] | None, task: Task, oracle: Stack | None) -> list[Metric]:
    if metrics is None:
        quick = [m for m in METRICS.values() if not m.slow and (task.texts or not m.needs_texts)]
        return [m for m in quick if oracle or not m.needs_oracle]
    chosen = [METRICS[check_choice("metric", name, METRICS)] for name in metrics]
    if not chosen:
        raise ValueError("metrics must name at least one metric, got none")
    for m in chosen:
        if m.needs_texts and task.texts is None:
            raise ValueError(f"metric {m.name!r} is one of texts, but task is {task.name!r}")
        if m.needs_oracle and oracle is None:
            raise ValueError(f"metric {m.name!r} needs oracle=, a stack of retrained models")
    return chosen


def split_outputs(
    architecture: Architecture, rows: Tensor, task: Task, b: int, name: str = "models"
) -> Outputs:
    """Outputs of M models, rows (M, P), on the three splits of seed b; errors name the models."""
    labels, test = task.labels[b].clone(), task.test[b]
    labels[test] = task.truth[test]
    source = Source(architecture, rows, task, b)
    outputs = outputs_of(source, {s: getattr(task, s)[b] for s in SPLITS}, labels, name)
    observed = task.labels[b, test].cpu().numpy()
    return replace(outputs, labels=outputs.labels | {"nonmember": observed[observed != IGNORED]})


def outputs_of(
    source: Source, parts: dict[str, Tensor], labels: Tensor, name: str = "models"
) -> Outputs:
    """Outputs of models on parts of the pool, in one pass.

    `parts` holds indices (n,) by name, `labels` one of each example of the pool, shape (N,), or
    of each of its tokens, shape (N, L).
    """
    source = replace(source, architecture=source.architecture.evaluating())
    own = {name: labels[index].cpu().numpy() for name, index in parts.items()}
    given = {name: part != IGNORED for name, part in own.items()}
    own = {name: part[given[name]] for name, part in own.items()}
    index = torch.cat(list(parts.values()))
    try:
        logits = _labelled(source, index, labels[index] != IGNORED).cpu().numpy()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name} cannot be applied to the task's inputs: {error}") from error
    if logits.shape[-1] < (classes := source.task.classes):
        raise ValueError(f"{name} must have the task's {classes} classes, got {logits.shape[-1]}")
    # Views of one array.
    ends = np.cumsum([len(part) for part in own.values()])[:-1]
    logits = dict(zip(parts, np.split(logits, ends, axis=1)))
    starts = None
    if labels.ndim > 1:
        lengths = {name: part.sum(1) for name, part in given.items()}
        starts = {name: np.cumsum(n) - n for name, n in lengths.items()}
    return Outputs(logits, own, starts=starts, source=source)


def _labelled(source: Source, index: Tensor, given: Tensor) -> Tensor:
    """Logits of M models at the examples, or tokens of them, that have a label, (M, k, classes)."""
    task, rows, predict = source.task, source.rows, source.architecture.predict
    inputs, retain = task.inputs[index], task.inputs[task.retain[source.b]]
    if given.ndim == 1:
        return predict(rows, inputs, retain, shared=True)
    # Of a text most tokens have no label: model by model, so that those are dropped at once.
    return torch.stack([predict(row[None], inputs, retain, shared=True)[0, given] for row in rows])

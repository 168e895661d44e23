"""A study is a table: conditions in, one tidy table out, every expensive step kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from mcu_lite.checks import known
from mcu_lite.metrics.evaluation import Evaluator, evaluator
from mcu_lite.models.stack import Stack, architecture_of
from mcu_lite.models.zoo import MODELS
from mcu_lite.paths.curves import Path as Curves
from mcu_lite.paths.curves import connect
from mcu_lite.studies.cache import cache_folder
from mcu_lite.studies.conditions import ORACLE, Condition, Endpoint, Setting
from mcu_lite.studies.results import Kept
from mcu_lite.tasks.task import Task
from mcu_lite.training.train import train
from mcu_lite.unlearning.unlearn import unlearn

ROWS_AT_ONCE = 20
"""Models that one fit holds: several conditions with one objective share a stack."""


def run(
    conditions: Iterable[Condition],
    setting: Setting | None = None,
    *,
    cache: str | os.PathLike | None = None,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Measure every condition; what the cache holds is not computed again.

    Parameters
    ----------
    conditions : iterable of Condition
    setting : Setting, optional
    cache : path, optional
        Folder for results. By default ``$MCU_LITE_CACHE``, else ``~/.cache/mcu-lite``. Every
        finished step is stored at once, so an interrupted run resumes. A damaged entry is
        computed again, with a warning. Changed code or parameters change the entry's name, and so
        does what code of your own reads among its globals, even if it only remembers something
        there; what a task reads from files is taken to stay as it is.
    executor : concurrent.futures.Executor, optional
        Where the work is done, by default here. Its workers must share the cache's folder. A
        progress bar counts what is finished, whatever the executor.

    Returns
    -------
    pandas.DataFrame
        Tidy: condition, a, b, curve, objective, t, seed, split, metric, value.

    Raises
    ------
    ValueError
        If there is no condition, or the cache cannot be written.
    RuntimeError
        If a worker of the executor has other code or data than its caller, or does not know
        what was registered there.

    Examples
    --------
    >>> small = Setting(seeds=2, ts=3, epochs=2, steps=2)
    >>> pair = Condition("Rand", Endpoint("npo"), Endpoint("npo", seed=1), "linear")
    >>> list(run([pair], small).columns[:5])
    ['condition', 'a', 'b', 'curve', 'objective']
    """
    conditions, setting = list(dict.fromkeys(conditions)), setting or Setting()
    if not conditions:
        raise ValueError("conditions must hold at least one Condition, got none")
    kept = Kept(setting, cache_folder(cache))
    tables = {c: kept.load(c) for c in conditions}
    missing = [c for c, table in tables.items() if table is None]
    kept.vouch()
    for stage in _stages(missing, setting):
        if executor is None:
            done = (_finish(job, kept) for job in stage)
        else:
            done = executor.map(partial(_work, kept=kept), stage)
        what = "paths" if isinstance(stage[0], list) else "endpoints"
        for _ in tqdm(done, what, len(stage), delay=1, leave=False, disable=None):
            pass
    tables |= {c: kept.load(c) for c in missing}
    keys = pd.DataFrame([c.columns for c in conditions], dtype="str")
    lengths = [len(table) for table in tables.values()]
    named = keys.loc[keys.index.repeat(lengths)].reset_index(drop=True)
    return named.join(pd.concat(tables.values(), ignore_index=True))


def endpoints(
    ends: Iterable[Endpoint],
    setting: Setting | None = None,
    *,
    cache: str | os.PathLike | None = None,
) -> dict[Endpoint, Stack]:
    """Return the models at the ends of paths; what the cache holds is not computed again.

    Examples
    --------
    >>> small = Setting(seeds=2, epochs=2)
    >>> [str(end) for end in endpoints([Endpoint("npo"), Endpoint("scrub", seed=1)], small)]
    ['npo seed=0', 'scrub seed=1']
    """
    kept = Kept(setting or Setting(), cache_folder(cache))
    task = kept.task()
    theta = _original(task, kept)
    return {end: _endpoint(end, theta, task, kept) for end in ends}


Job = Endpoint | list[Condition]


def _stages(missing: list[Condition], setting: Setting) -> list[list[Job]]:
    """Jobs that depend on those of earlier stages only: originals, endpoints, curves."""
    if not missing:
        return []
    ends = dict.fromkeys([ORACLE, *(end for c in missing for end in (c.a, c.b))])
    # Long ones first, so that no worker is left with one at the end.
    ends = sorted(ends, key=lambda end: end.method not in ("retrain", "retrain_same"))
    seeds = setting.seeds if isinstance(setting.seeds, int) else len(setting.seeds)
    chunks = sorted(_chunks(missing, max(1, ROWS_AT_ONCE // seeds)), key=len, reverse=True)
    return [[Endpoint("original")], [end for end in ends if end.method != "original"], chunks]


def _finish(job: Job, kept: Kept) -> None:
    """Do a job unless its result is kept; in another process, the task is loaded there."""
    task = kept.task()
    if isinstance(job, Endpoint):
        _endpoint(job, _original(task, kept), task, kept)
    elif todo := [c for c in job if kept.load(c) is None]:
        _measure(todo, task, kept)


def _work(job: Job, kept: Kept) -> None:
    """Do a job as one worker of several: threads that wait for a shared core cost most of it."""
    kept.check()
    torch.set_num_threads(1)
    _finish(job, kept)


def _original(task: Task, kept: Kept) -> Stack:
    """Return θo, from the cache or by training it; all that come from it share the one stack."""
    original, setting = Endpoint("original"), kept.setting
    if (stack := kept.load(original, architecture_of(_build(setting)))) is None:
        stack = train(task, setting.model, epochs=setting.epochs)
        kept.save(original, stack)
    return stack.to(setting.device)


def _endpoint(end: Endpoint, theta: Stack, task: Task, kept: Kept) -> Stack:
    """Return the models at one end of a path, from the cache or by computing them from θo."""
    if end.method == "original":
        return theta
    if (stack := kept.load(end, theta.architecture)) is None:
        stack = unlearn(theta, task, end.method, epochs=kept.setting.epochs, **end.recipe)
        kept.save(end, replace(stack, origin=None))
    return replace(stack.to(kept.setting.device), origin=theta)


def _build(setting: Setting) -> Callable[[], nn.Module]:
    return MODELS[known("model", setting.model, MODELS)]


def _chunks(conditions: list[Condition], size: int) -> list[list[Condition]]:
    """Conditions that are fitted alike, at most `size` together."""

    def alike(c: Condition) -> tuple[str, str]:
        return c.curve, c.objective

    groups = [list(group) for _, group in groupby(sorted(conditions, key=alike), alike)]
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def _measure(chunk: list[Condition], task: Task, kept: Kept) -> None:
    """Fit and measure several conditions as one stack; store each by itself."""
    setting, own = kept.setting, (_original(task, kept), task, kept)
    a, b = ([_endpoint(getattr(c, side), *own) for c in chunk] for side in "ab")
    measure = evaluator(task, metrics=setting.metrics, oracle=_endpoint(ORACLE, *own))
    fit = {"curve": chunk[0].curve, "objective": chunk[0].objective or None}
    fit["steps"] = setting.steps
    path = connect(Stack.cat(a), Stack.cat(b), task.tile(len(chunk)), **fit)
    ts = np.linspace(0, 1, setting.ts)
    for i, condition in enumerate(chunk):
        part = path.part(slice(i * len(task), (i + 1) * len(task)))
        between = measure(part, ts[1:-1])
        ends = (_measured(getattr(condition, side), *own, measure) for side in "ab")
        kept.save(condition, _along(*ends, between, part, ts))


def _measured(
    end: Endpoint, theta: Stack, task: Task, kept: Kept, measure: Evaluator
) -> pd.DataFrame:
    """Measure the models at one end once, for all paths that begin or end there."""
    if (table := kept.load(("measured", end))) is None:
        table = measure(_endpoint(end, theta, task, kept))
        kept.save(("measured", end), table)
    return table


def _along(
    first: pd.DataFrame, last: pd.DataFrame, between: pd.DataFrame, path: Curves, ts: np.ndarray
) -> pd.DataFrame:
    """Put the measurements of both ends around those between, line by line; NaN if diverged."""
    inner = between.value.to_numpy().reshape(len(first), -1)
    values = np.column_stack([first.value, inner, last.value])
    values[path.diverged.cpu().numpy().repeat(len(first) // len(path.diverged))] = np.nan
    lines = first.loc[first.index.repeat(len(ts))]
    return lines.assign(t=np.tile(ts, len(first)), value=values.ravel())

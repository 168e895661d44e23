"""A study is a table: conditions in, one tidy table out, every expensive step kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
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
from mcu_lite.studies.results import ResultStore, task_for
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
        computed again, with a warning. Noticed are changed settings and the changed source of
        what you registered itself (task, model, method, metric). What that code calls, encloses
        or reads is not: change ``version=`` where it is registered.
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
        If a worker of the executor would compute something else than its caller, or does not
        know what was registered there.

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
    results = ResultStore(setting, cache_folder(cache))
    keys = results.keys(conditions)
    tables = {key: results.load(key) for key in dict.fromkeys(keys)}
    missing = {key: c for key, c in zip(keys, conditions) if tables[key] is None}
    for stage in _stages(list(missing.values()), setting):
        if executor is None:
            done = (_finish(job, results) for job in stage)
        else:
            work = partial(_work, results=results, caller=os.getpid())
            done = executor.map(work, stage, [results.keys(job) for job in stage])
        what = "paths" if isinstance(stage[0], list) else "endpoints"
        for _ in tqdm(done, what, len(stage), delay=1, leave=False, disable=None):
            pass
    tables |= {key: results.load(key) for key in missing}
    found = [tables[key] for key in keys]
    names = pd.DataFrame([c.columns for c in conditions], dtype="str")
    named = names.loc[names.index.repeat(list(map(len, found)))].reset_index(drop=True)
    return named.join(pd.concat(found, ignore_index=True))


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
    results = ResultStore(setting or Setting(), cache_folder(cache))
    task = task_for(results.setting)
    theta = _original(task, results)
    return {end: _endpoint(end, theta, task, results) for end in ends}


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


def _finish(job: Job, results: ResultStore) -> None:
    """Do a job unless its result is there; in another process, the task is loaded there."""
    task = task_for(results.setting)
    if isinstance(job, Endpoint):
        _endpoint(job, _original(task, results), task, results)
    elif todo := [c for c in job if results.load(results.table(c)) is None]:
        _measure(todo, task, results)


def _work(job: Job, expected: list[str], results: ResultStore, caller: int) -> None:
    """Do a job as one worker of several, if it has the same key here as in the caller."""
    try:
        own = results.keys(job)
    except ValueError as error:
        raise RuntimeError(
            f"a worker lacks what its caller has, {error}: let it import the module that "
            "registers it, for example as initializer of its pool"
        ) from error
    if own != expected:
        raise RuntimeError(
            "a worker would compute something else than its caller: it has other code, another "
            "version of mcu_lite or torch, or another precision (autocast, default dtype)"
        )
    if os.getpid() != caller:  # the number of threads belongs to the whole process
        # Threads that wait for a shared core cost most of it.
        torch.set_num_threads(1)
    _finish(job, results)


def _original(task: Task, results: ResultStore) -> Stack:
    """Return θo, from the cache or by training it; all that come from it share the one stack."""
    key, setting = results.original(), results.setting
    if (stack := results.load(key, architecture_of(_build(setting)))) is None:
        stack = train(task, setting.model, epochs=setting.epochs)
        results.save(key, stack)
    return stack.to(setting.device)


def _endpoint(end: Endpoint, theta: Stack, task: Task, results: ResultStore) -> Stack:
    """Return the models at one end of a path, from the cache or by computing them from θo."""
    if end.method == "original":
        return theta
    key = results.endpoint(end)
    if (stack := results.load(key, theta.architecture)) is None:
        stack = unlearn(theta, task, end.method, epochs=results.setting.epochs, **end.recipe)
        results.save(key, replace(stack, origin=None))
    return replace(stack.to(results.setting.device), origin=theta)


def _build(setting: Setting) -> Callable[[], nn.Module]:
    return MODELS[known("model", setting.model, MODELS)]


def _chunks(conditions: list[Condition], size: int) -> list[list[Condition]]:
    """Conditions that are fitted alike, at most `size` together."""

    def alike(c: Condition) -> tuple[str, str]:
        return c.curve, c.objective

    groups = [list(group) for _, group in groupby(sorted(conditions, key=alike), alike)]
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def _measure(chunk: list[Condition], task: Task, results: ResultStore) -> None:
    """Measure several conditions; store each by itself."""
    setting, own = results.setting, (_original(task, results), task, results)
    measure = evaluator(task, metrics=setting.metrics, oracle=_endpoint(ORACLE, *own))
    ts = np.linspace(0, 1, setting.ts)
    for condition, path in zip(chunk, _paths(chunk, *own)):
        between = measure(path, ts[1:-1])
        ends = (_measured(end, *own, measure) for end in (condition.a, condition.b))
        results.save(results.table(condition), _along(*ends, between, path, ts))


def _paths(
    chunk: list[Condition], theta: Stack, task: Task, results: ResultStore
) -> Iterator[Curves]:
    """Paths of several conditions; those that are not in the cache are fitted as one stack."""
    own = (theta, task, results)
    ends = [[_endpoint(end, *own) for end in (c.a, c.b)] for c in chunk]
    inner = [c.objective and results.load(results.path(c), theta.architecture) for c in chunk]
    if todo := [i for i, bend in enumerate(inner) if bend is None]:
        a, b = (Stack.cat([ends[i][side] for i in todo]) for side in (0, 1))
        fit = {"curve": chunk[0].curve, "objective": chunk[0].objective}
        path = connect(a, b, task.tile(len(todo)), steps=results.setting.steps, **fit)
        for k, i in enumerate(todo):
            part = path.part(slice(k * len(task), (k + 1) * len(task)))
            # Its ends are stored already.
            inner[i] = Stack(theta.architecture, part.control[1], diverged=part.diverged)
            results.save(results.path(chunk[i]), inner[i])
    for c, (a, b), bend in zip(chunk, ends, inner):
        if not c.objective:
            yield connect(a, b, curve=c.curve)
            continue
        bend = bend.to(results.setting.device)
        control = torch.stack([a.rows, bend.rows, b.rows])
        yield Curves(c.curve, control, theta.architecture, bend.diverged, c.objective)


def _measured(
    end: Endpoint, theta: Stack, task: Task, results: ResultStore, measure: Evaluator
) -> pd.DataFrame:
    """Measure the models at one end once, for all paths that begin or end there."""
    key = results.measured(end)
    if (table := results.load(key)) is None:
        table = measure(_endpoint(end, theta, task, results))
        results.save(key, table)
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

"""A study is a table: conditions in, one tidy table out, every expensive step stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from mcu_lite.checks import seeds_of
from mcu_lite.metrics.evaluation import evaluator
from mcu_lite.metrics.registry import METRICS
from mcu_lite.models.stack import Stack, architecture_of
from mcu_lite.models.zoo import MODELS
from mcu_lite.paths.curves import Path, connect
from mcu_lite.studies.conditions import ORACLE, ORIGINAL, Condition, Endpoint, Setting
from mcu_lite.studies.results import ResultStore, cache_folder, task_for
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
        or reads is not: change ``version=`` where it is registered. Objects whose state has no
        name, such as a bound method in the task's options, are refused: use a function.
    executor : concurrent.futures.Executor, optional
        Where the work is done, by default here. Its workers must share the cache's folder. A
        progress bar counts what is finished, whatever the executor.

    Returns
    -------
    pandas.DataFrame
        Tidy: condition, a, b, curve, objective, method, other, t, seed, split, metric, value.
        The method is that of the end that unlearned, the first of two; other is that of the other.

    Raises
    ------
    ValueError
        If there is no condition, an option without a name, or the cache cannot be written.
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
    work = partial(_work, results=results, caller=os.getpid())
    mapped = map if executor is None else executor.map
    for stage in _stages(list(missing.values()), setting):
        done = mapped(work, stage, [results.keys(job) for job in stage])
        what = "paths" if isinstance(stage[0], list) else "endpoints"
        for _ in tqdm(done, what, len(stage), delay=1, leave=False, disable=None):
            pass
    tables |= {key: results.load(key) for key in missing}
    found = [tables[key].assign(**c.columns) for key, c in zip(keys, conditions)]
    columns = [*conditions[0].columns, *tables[keys[0]]]
    return pd.concat(found, ignore_index=True)[columns]


def endpoints(
    ends: Iterable[Endpoint],
    setting: Setting | None = None,
    *,
    cache: str | os.PathLike | None = None,
) -> dict[Endpoint, Stack]:
    """Return the models at the ends of paths; what the cache holds is not computed again.

    Parameters
    ----------
    ends : iterable of Endpoint
    setting, cache : optional
        As of `run`.

    Examples
    --------
    >>> small = Setting(seeds=2, epochs=2)
    >>> [str(end) for end in endpoints([Endpoint("npo"), Endpoint("scrub", seed=1)], small)]
    ['npo seed=0', 'scrub seed=1']
    """
    models = _Models(ResultStore(setting or Setting(), cache_folder(cache)))
    return {end: models.endpoint(end) for end in ends}


def paths(
    conditions: Iterable[Condition],
    setting: Setting | None = None,
    *,
    cache: str | os.PathLike | None = None,
) -> dict[Condition, Path]:
    """Return the paths of conditions; a curve that the cache holds is not fitted again.

    Parameters
    ----------
    conditions : iterable of Condition
    setting, cache : optional
        As of `run`.

    Examples
    --------
    >>> pair = Condition("Rand", Endpoint("npo"), Endpoint("npo", seed=1), "linear")
    >>> paths([pair], Setting(seeds=2, epochs=2))[pair].kind
    'linear'
    """
    models = _Models(ResultStore(setting or Setting(), cache_folder(cache)))
    return {c: next(models.paths([c])) for c in conditions}


Job = Endpoint | list[Condition]


def _stages(missing: list[Condition], setting: Setting) -> list[list[Job]]:
    """Jobs that depend on those of earlier stages only; long ones first, to end with short ones."""
    if not missing:
        return []
    ends = dict.fromkeys(end for c in missing for end in (c.a, c.b))
    ends = [end for end in _oracle(setting) | ends if end != ORIGINAL]
    ends.sort(key=lambda end: end.method not in ("retrain", "retrain_same"))
    # Conditions that are fitted alike share a stack.
    alike = attrgetter("curve", "objective")
    size = max(1, ROWS_AT_ONCE // len(seeds_of(setting.seeds)))
    groups = [list(group) for _, group in groupby(sorted(missing, key=alike), alike)]
    chunks = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    return [[ORIGINAL], ends, sorted(chunks, key=len, reverse=True)]


def _work(job: Job, expected: list[str], results: ResultStore, caller: int) -> None:
    """Do a job unless its result is there, if it has the same key here as in the caller."""
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
    if os.getpid() != caller:
        torch.set_num_threads(1)  # of the whole process: threads would wait for shared cores
    models = _Models(results)
    if isinstance(job, Endpoint):
        models.endpoint(job)
    elif todo := [c for c, key in zip(job, own) if results.load(key) is None]:
        models.measure(todo)


def _oracle(setting: Setting) -> dict[Endpoint, None]:
    """The retrained models, if a metric compares with them."""
    needed = (METRICS[m].needs_oracle for m in setting.metrics or METRICS)
    return {ORACLE: None} if any(needed) else {}


class _Models:
    """Models of a setting and their measurements, from the store or by computing them."""

    def __init__(self, results: ResultStore) -> None:
        self.results, self.setting = results, results.setting
        self.task = task_for(self.setting)
        make = partial(train, self.task, self.setting.model, epochs=self.setting.epochs)
        key, build = results.endpoint_key(ORIGINAL), MODELS[self.setting.model]
        # All that come from θo share the one stack.
        self.theta = results.get(key, make, architecture_of(build)).to(self.setting.device)

    def endpoint(self, end: Endpoint) -> Stack:
        """Return the models at one end of a path."""
        if end == ORIGINAL:
            return self.theta
        own = {"epochs": self.setting.epochs} | end.recipe

        def make() -> Stack:
            return replace(unlearn(self.theta, self.task, end.method, **own), origin=None)

        stack = self.results.get(self.results.endpoint_key(end), make, self.theta.architecture)
        return replace(stack.to(self.setting.device), origin=self.theta)

    def measure(self, chunk: list[Condition]) -> None:
        """Measure several conditions; store each by itself."""
        results, ts = self.results, np.linspace(0, 1, self.setting.ts)
        oracle = next(map(self.endpoint, _oracle(self.setting)), None)
        measure = evaluator(self.task, metrics=self.setting.metrics, oracle=oracle)
        for c, path in zip(chunk, self.paths(chunk)):
            # An end is measured once, for all paths that begin or end there.
            first, last = (
                results.get(
                    results.ends_table_key(end), lambda end=end: measure(self.endpoint(end))
                )
                for end in (c.a, c.b)
            )
            between = measure(path, ts[1:-1]).value.to_numpy().reshape(len(first), -1)
            values = np.column_stack([first.value, between, last.value])
            # A curve with a lost end is lost as a whole.
            values[path.diverged.cpu().numpy().repeat(len(first) // len(self.task))] = np.nan
            lines = first.loc[first.index.repeat(len(ts))]
            table = lines.assign(t=np.tile(ts, len(first)), value=values.ravel())
            results.save(results.table_key(c), table)

    def paths(self, chunk: list[Condition]) -> Iterator[Path]:
        """Paths of several conditions; those that are not in the store are fitted as one stack."""
        results, architecture, n = self.results, self.theta.architecture, len(self.task)
        ends = [(self.endpoint(c.a), self.endpoint(c.b)) for c in chunk]
        inner = [c.objective and results.load(results.path_key(c), architecture) for c in chunk]
        if todo := [i for i, bend in enumerate(inner) if bend is None]:
            a, b = (Stack.cat([ends[i][side] for i in todo]) for side in (0, 1))
            fit = {"curve": chunk[0].curve, "objective": chunk[0].objective}
            path = connect(a, b, self.task.tile(len(todo)), steps=self.setting.steps, **fit)
            for k, i in enumerate(todo):
                part = path.part(slice(k * n, (k + 1) * n))
                # Its ends are stored already.
                inner[i] = Stack(architecture, part.control[1], diverged=part.diverged)
                results.save(results.path_key(chunk[i]), inner[i])
        for c, (a, b), bend in zip(chunk, ends, inner):
            if c.objective:
                bend = bend.to(self.setting.device)
                control = torch.stack([a.rows, bend.rows, b.rows])
                yield Path(c.curve, control, architecture, bend.diverged, c.objective)
            else:
                yield connect(a, b, curve=c.curve)

"""A study is a table: conditions in, one tidy table out, every expensive step kept on disk."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import cache as remember
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from mcu_lite.cache import cache_folder, load, meaning, save
from mcu_lite.curves import Path as Curves
from mcu_lite.curves import connect
from mcu_lite.design import Condition, Endpoint, Setting
from mcu_lite.evaluation import Evaluator, evaluator
from mcu_lite.methods import METHODS
from mcu_lite.metrics import METRICS
from mcu_lite.models import MODELS
from mcu_lite.stacks import Stack, architecture_of
from mcu_lite.tasks import TASKS, Task, known, load_task
from mcu_lite.training import train, watched
from mcu_lite.unlearning import unlearn

ROWS_AT_ONCE = 20
"""Models that one fit holds: several conditions with one objective share a stack."""
ORACLE = Endpoint("retrain", seed=99)
"""The retrained models from which the distances are measured; no path of the grid ends there."""
LOADED: dict[str, Task] = {}
COMPUTING = ("tasks", "models", "dense", "architectures", "stacks", "optimizers", "training")
COMPUTING += ("methods", "curriculum", "objectives", "unlearning", "curves", "metrics")
COMPUTING += ("evaluation", "design", "study", "texts", "authors", "answers", "splitting")
COMPUTING += ("photographs", "formats")
"""Modules on which results depend: if their code changes, everything is computed anew."""


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
        computed again, with a warning. Changed code or parameters change the entry's name; what a
        task reads from files is taken to stay as it is.
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
    folder = cache_folder(cache)
    tables = {c: load(folder, _name(setting, c)) for c in conditions}
    missing = [c for c, table in tables.items() if table is None]
    for stage in _stages(missing, setting):
        if executor is None:
            done = (_finish(job, setting, folder) for job in stage)
        else:
            done = executor.map(partial(_work, setting=setting, folder=folder), stage)
        what = "paths" if isinstance(stage[0], list) else "endpoints"
        for _ in tqdm(done, what, len(stage), delay=1, leave=False, disable=not watched()):
            pass
    tables |= {c: load(folder, _name(setting, c)) for c in missing}
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
    setting, folder = setting or Setting(), cache_folder(cache)
    task = loaded(setting)
    theta = _original(task, setting, folder)
    return {end: _endpoint(end, theta, task, setting, folder) for end in ends}


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


def _finish(job: Job, setting: Setting, folder: Path) -> None:
    """Do a job unless its result is kept; in another process, the task is loaded there."""
    task = loaded(setting)
    if isinstance(job, Endpoint):
        _endpoint(job, _original(task, setting, folder), task, setting, folder)
    else:
        todo = [c for c in job if load(folder, _name(setting, c)) is None]
        if todo:
            _measure(todo, task, setting, folder)


def _work(job: Job, setting: Setting, folder: Path) -> None:
    """Do a job as one worker of several: threads that wait for a shared core cost most of it."""
    torch.set_num_threads(1)
    _finish(job, setting, folder)


def _original(task: Task, setting: Setting, folder: Path) -> Stack:
    """Return θo, from the cache or by training it; all that come from it share the one stack."""
    name = _name(setting, Endpoint("original"))
    if (stack := load(folder, name, architecture_of(_build(setting)))) is None:
        stack = train(task, setting.model, epochs=setting.epochs)
        save(folder, name, stack)
    return stack.to(setting.device)


def _endpoint(end: Endpoint, theta: Stack, task: Task, setting: Setting, folder: Path) -> Stack:
    """Return the models at one end of a path, from the cache or by computing them from θo."""
    if end.method == "original":
        return theta
    name = _name(setting, end)
    if (stack := load(folder, name, theta.architecture)) is None:
        stack = unlearn(theta, task, end.method, epochs=setting.epochs, **end.recipe)
        save(folder, name, replace(stack, origin=None))
    return replace(stack.to(setting.device), origin=theta)


def loaded(setting: Setting) -> Task:
    """Load the task of a setting, unless it is the last one that was: photographs take seconds."""
    name = repr((setting.seeds, setting.options, setting.device, TASKS[setting.task]))
    if name not in LOADED:
        LOADED.clear()
        LOADED[name] = load_task(setting.task, setting.seeds, **setting.options).to(setting.device)
    return LOADED[name]


def _build(setting: Setting) -> Callable[[], nn.Module]:
    return MODELS[known("model", setting.model, MODELS)]


def _chunks(conditions: list[Condition], size: int) -> list[list[Condition]]:
    """Conditions that are fitted alike, at most `size` together."""

    def alike(c: Condition) -> tuple[str, str]:
        return c.curve, c.objective

    groups = [list(group) for _, group in groupby(sorted(conditions, key=alike), alike)]
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def _measure(chunk: list[Condition], task: Task, setting: Setting, folder: Path) -> None:
    """Fit and measure several conditions as one stack; store each by itself."""
    own = _original(task, setting, folder), task, setting, folder
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
        save(folder, _name(setting, condition), _along(*ends, between, part, ts))


def _measured(
    end: Endpoint, theta: Stack, task: Task, setting: Setting, folder: Path, measure: Evaluator
) -> pd.DataFrame:
    """Measure the models at one end once, for all paths that begin or end there."""
    name = _name(setting, ("measured", end))
    if (table := load(folder, name)) is None:
        table = measure(_endpoint(end, theta, task, setting, folder))
        save(folder, name, table)
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


def _name(setting: Setting, item: Endpoint | Condition | tuple) -> str:
    """Digest of everything that a stored result depends on."""
    return hashlib.sha256(repr((setting, item, _code(_build(setting)))).encode()).hexdigest()[:32]


def _code(build: Callable[[], nn.Module]) -> str:
    """Digest of the package, of what users registered with it, and of PyTorch's version."""
    registered = [*METHODS.values(), *METRICS.values(), *TASKS.values(), build]
    code = _package() + "".join(map(_source, registered)) + torch.__version__
    return hashlib.sha256(code.encode()).hexdigest()


@remember
def _package() -> str:
    files = (Path(__file__).parent / f"{name}.py" for name in COMPUTING)
    return "".join(meaning(file.read_text()) for file in files)


def _source(entry: object) -> str:
    """A registered function's code, its settings, and the plain values that it reads."""
    function, bound = getattr(entry, "losses", getattr(entry, "function", entry)), []
    while isinstance(function, partial):
        bound.append((function.args, function.keywords))
        function = function.func
    own = {} if isinstance(entry, type) else getattr(entry, "__dict__", {})
    around = {**own, **dict(_read_by(function))}
    plain = {name: v for name, v in around.items() if _is_plain(v)}
    return repr((plain, bound)) + _text(function)


def _read_by(function: Callable) -> Iterator[tuple[str, object]]:
    """Names and values that code of a user's own takes from around it."""
    yield "defaults", getattr(function, "__defaults__", None)
    if code := getattr(function, "__code__", None):
        for name in code.co_names:
            yield name, function.__globals__.get(name)
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            yield name, cell.cell_contents


def _is_plain(value: object) -> bool:
    """Whether it is written alike in every process."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, bytes))


@remember
def _text(function: Callable) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return code.co_code.hex() + repr(code.co_consts) if code else repr(type(function))

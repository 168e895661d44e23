"""Results on disk: each under a key of what it depends on, checked when read, never run."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache as remember
from functools import partial
from numbers import Real
from pathlib import Path

import pandas as pd
import torch

from mcu_lite.checks import check_choice, seeds_of
from mcu_lite.files import write
from mcu_lite.metrics.registry import METRICS, Metric
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack
from mcu_lite.models.zoo import MODELS
from mcu_lite.paths.curves import FITTED_ON
from mcu_lite.studies.checkpoints import pack, unpack
from mcu_lite.studies.conditions import ORACLE, ORIGINAL, Condition, Endpoint, Setting
from mcu_lite.tasks.task import TASKS, Task, load_task
from mcu_lite.unlearning.methods import METHODS, Method

ROOMS = ("models", "tasks", "training", "unlearning", "paths", "metrics", "studies")
"""Rooms on which results depend: if their code changes, everything is computed anew."""
LABEL_FIELDS = {"description", "terms", "source", "label", "better"}
"""Fields of methods and metrics on which no number depends."""
LAST_TASK: dict[str, Task] = {}
"""The task that was loaded last, by its key."""
Result = Stack | pd.DataFrame


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """Return the folder of results, made if it does not exist."""
    folder = Path(cache or os.environ.get("MCU_LITE_CACHE") or Path.home() / ".cache" / "mcu-lite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"cache={str(folder)!r} cannot be written: {error}") from error
    return folder


@dataclass(frozen=True)
class ResultStore:
    """Results of one setting in a folder; a worker computes the same keys as its caller.

    The folder may be shared, so that an entry may be anybody's: it holds numbers only.
    """

    setting: Setting
    folder: Path

    def save(self, key: str, value: Result) -> None:
        """Save a stack or a table; a reader sees all of it or nothing."""
        table = isinstance(value, pd.DataFrame)
        # JSON of Python writes floats such that they are read back exactly, NaN too.
        body = json.dumps(value.to_dict("list")).encode() if table else pack(value)
        path = self.folder / key
        if path.is_dir():  # which no file can replace
            path.rename(path.with_suffix(".folder"))
        write(path, hashlib.sha256(key.encode() + body).digest(), body)

    def load(self, key: str, architecture: Architecture | None = None) -> Result | None:
        """Return a stack of an architecture, or without one a table; None if there is none."""
        path = self.folder / key
        try:
            with path.open("rb") as file:
                digest, body = file.read(32), file.read()
            if hashlib.sha256(key.encode() + body).digest() != digest:
                raise ValueError("it is damaged: its digest is another than when it was written")
            if architecture is not None:
                return unpack(body, architecture, "it")
            if (table := pd.DataFrame(json.loads(body))).empty:
                raise ValueError("it holds no table")
            return table
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            warnings.warn(f"{path} cannot be read and is computed again: {error}", stacklevel=3)
            return None

    def get(
        self, key: str, make: Callable[[], Result], architecture: Architecture | None = None
    ) -> Result:
        """Return what is saved under a key; where nothing is, make and save it."""
        if (value := self.load(key, architecture)) is None:
            self.save(key, value := make())
        return value

    def endpoint_key(self, end: Endpoint) -> str:
        """Key of the models at one end of a path; of θo, all others depend on it."""
        if end.method != "original":
            return _digest("endpoint", self.endpoint_key(ORIGINAL), _method(end.method), end.recipe)
        s = self.setting
        model = [s.model, MODELS[check_choice("model", s.model, MODELS)]]
        return _digest("original", _task_key(s), model, s.epochs, _environment(s.device))

    def path_key(self, c: Condition) -> str:
        """Key of a curve between two ends, whatever its condition is called."""
        ends = [self.endpoint_key(c.a), self.endpoint_key(c.b)]
        fit = [_method(c.objective), self.setting.steps] if c.objective else []
        return _digest("path", ends, c.curve, fit)

    def ends_table_key(self, end: Endpoint) -> str:
        """Key of the table of one end."""
        return _digest("measured", self.endpoint_key(end), self._metrics())

    def table_key(self, c: Condition) -> str:
        """Key of the table of a curve."""
        return _digest("table", self.path_key(c), self.setting.ts, self._metrics())

    def keys(self, job: Endpoint | list[Condition]) -> list[str]:
        """Keys of what a job computes."""
        if isinstance(job, Endpoint):
            return [self.endpoint_key(job)]
        return [self.table_key(c) for c in job]

    def _metrics(self) -> list:
        """Metrics that are measured, and the oracle with which they compare."""
        names = self.setting.metrics or [n for n, m in METRICS.items() if not m.slow]
        chosen = [METRICS[check_choice("metric", n, METRICS)] for n in names]
        return [self.endpoint_key(ORACLE), chosen]


def task_for(setting: Setting) -> Task:
    """Load the task of a setting, unless it is the last one that was: photographs take seconds."""
    key = _task_key(setting) + setting.device
    if (task := LAST_TASK.get(key)) is None:
        task = load_task(setting.task, setting.seeds, **setting.options).to(setting.device)
        LAST_TASK.clear()
        LAST_TASK[key] = task
    return task


def _task_key(setting: Setting) -> str:
    function = TASKS[check_choice("task", setting.task, TASKS)]
    return _digest(setting.task, function, setting.options, seeds_of(setting.seeds))


def _method(name: str) -> list:
    """A method, or what curves alone are fitted on."""
    return [name, None if name in FITTED_ON else METHODS[check_choice("method", name, METHODS)]]


def _environment(device: str) -> list:
    """Everything outside the setting that changes numbers."""
    kind = torch.device(device).type
    cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    return [_package(), torch.__version__, kind, *map(str, (cast, *precision))]


@remember
def _package() -> str:
    root = Path(__file__).parents[1]
    files = sorted(file for room in ROOMS for file in (root / room).rglob("*.py"))
    return _digest(*(without_docstrings(file.read_text(encoding="utf-8")) for file in files))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(_canonical(parts)).encode()).hexdigest()[:32]


def _canonical(value: object, name: str = "what is stored") -> object:
    """Return a value as JSON that is equal for equal values only; errors say the value's name."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {"dict": sorted([str(k), _canonical(v, str(k))] for k, v in value.items())}
    if isinstance(value, (list, tuple)):
        return [_canonical(v, name) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        labels = LABEL_FIELDS if isinstance(value, (Method, Metric)) else ()
        names = [f.name for f in fields(value) if f.name not in labels]
        return [_source(type(value)), *(_canonical(getattr(value, n), n) for n in names)]
    if isinstance(value, partial):
        return ["partial", *_canonical([value.func, value.args, value.keywords], name)]
    if inspect.iscode(value):
        return _canonical([value.co_code.hex(), value.co_names, value.co_varnames, value.co_consts])
    if callable(value) and hasattr(value, "__name__"):
        return _called(value, name)
    if isinstance(value, Real):
        return int(value) if value % 1 == 0 else float(value)
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_canonical(v, name)) for v in value)
    if callable(value) or hasattr(value, "shape") or " at 0x" in str(value):
        raise ValueError(
            f"{name} must be a plain value, function, partial or dataclass, got {value!r}, whose "
            "state has no name under which results could be stored"
        )
    return str(value)


def _called(function: Callable, name: str) -> list:
    """Source and version of a function or class, default arguments, and to what it is bound."""
    text, owner = _source(function), getattr(function, "__self__", None)
    whole = inspect.unwrap(getattr(function, "__func__", function))
    own = [*filter(inspect.isfunction, vars(whole).values() if inspect.isclass(whole) else [whole])]
    # The line of a lambda may hold several.
    code = [f.__code__ for f in own if not text or f.__code__.co_name == "<lambda>"]
    defaults = [(f.__defaults__, f.__kwdefaults__) for f in own]
    state = [code, defaults, None if inspect.ismodule(owner) else owner]
    version = str(getattr(function, "version", ""))
    return [text or function.__qualname__, version, *_canonical(state, name)]


@remember
def _source(function: Callable) -> str:
    """Source of a function or class without comments and docstrings; "" if there is none."""
    try:
        return without_docstrings(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # a lambda inside a longer expression
        return ""


def without_docstrings(source: str) -> str:
    """Return Python source without comments and docstrings, on which no result depends."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *rest]:
                node.body = rest or [ast.Pass()]
    return ast.unparse(tree)

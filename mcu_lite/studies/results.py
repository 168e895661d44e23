"""What a study keeps: results by names that say all that they depend on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache as remember
from pathlib import Path

import pandas as pd
import torch

from mcu_lite.checks import known
from mcu_lite.metrics.registry import METRICS
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack
from mcu_lite.models.zoo import MODELS
from mcu_lite.studies.cache import load, meaning, save
from mcu_lite.studies.conditions import ORACLE, Condition, Endpoint, Setting
from mcu_lite.studies.fingerprints import fingerprint
from mcu_lite.tasks.task import TASKS, Task, load_task
from mcu_lite.unlearning.methods import METHODS

LOADED: dict[str, Task] = {}
CHECKED: set[frozenset] = set()
ROOMS = ("models", "tasks", "training", "unlearning", "paths", "metrics", "studies")
"""Rooms on which results depend: if their code changes, everything is computed anew."""
REGISTRIES = {"task": TASKS, "model": MODELS, "method": METHODS, "metric": METRICS}
Item = Endpoint | Condition | tuple[str, Endpoint]


def loaded(setting: Setting, digest: str | None = None) -> Task:
    """Load the task of a setting, unless it is the last one that was: photographs take seconds."""
    digest = digest or fingerprint(TASKS[setting.task])
    name = repr((setting.seeds, setting.options, setting.device, digest))
    if name not in LOADED:
        LOADED.clear()
        LOADED[name] = load_task(setting.task, setting.seeds, **setting.options).to(setting.device)
    return LOADED[name]


@remember
def _package() -> str:
    root = Path(__file__).parents[1]
    files = sorted(file for room in ROOMS for file in (root / room).rglob("*.py"))
    code = "".join(meaning(file.read_text(encoding="utf-8")) for file in files)
    return hashlib.sha256(code.encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """What a study with one setting keeps in a folder, by names that say what it depends on.

    Fingerprints are taken once a study: data that code reads may be large, or change meanwhile.
    """

    setting: Setting
    folder: Path
    package: str = field(default_factory=_package)
    digests: dict[tuple[str, str], str] = field(default_factory=dict)

    def load(self, item: Item, architecture: Architecture | None = None) -> Stack | pd.DataFrame:
        """Return what was saved, or None; a stack is of an architecture, a table of none."""
        return load(self.folder, self.name(item), architecture)

    def save(self, item: Item, value: Stack | pd.DataFrame) -> None:
        """Keep a result."""
        save(self.folder, self.name(item), value)

    def name(self, item: Item) -> str:
        """Digest of the setting, of the item, and of all code and data that it depends on."""
        own = [self.digest("task", self.setting.task), self.digest("model", self.setting.model)]
        own += [self.digest("method", name) for name in _methods(item)]
        if not isinstance(item, Endpoint):
            asked = METRICS if self.setting.metrics is None else self.setting.metrics
            own += [self.digest("metric", name) for name in asked]
        parts = repr((self.setting, item, own, self.package, torch.__version__))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    def task(self) -> Task:
        """Return the task of the setting."""
        return loaded(self.setting, self.digest("task", self.setting.task))

    def digest(self, kind: str, name: str) -> str:
        """Fingerprint of something that is registered."""
        if (kind, name) not in self.digests:
            own = REGISTRIES[kind]
            self.digests[kind, name] = fingerprint(own[known(kind, name, own)])
        return self.digests[kind, name]

    def check(self) -> None:
        """Raise a `RuntimeError` if this process, a worker, would compute something else.

        Only its first job can tell: what code reads may change as it runs.
        """
        study = frozenset(self.digests.items())
        if study in CHECKED:
            return
        if self.package != _package():
            raise RuntimeError("a worker runs another version of mcu_lite than its caller")
        for (kind, name), own in self.digests.items():
            if name not in REGISTRIES[kind]:
                raise RuntimeError(
                    f"a worker does not know {kind} {name!r}: let it import the module that "
                    "registers it, for example as initializer of its pool"
                )
            if fingerprint(REGISTRIES[kind][name]) != own:
                raise RuntimeError(
                    f"{kind} {name!r} is another one in a worker than in its caller, or reads "
                    "other data: start the worker again, and set what is read where both see it"
                )
        CHECKED.add(study)

    def vouch(self) -> None:
        """Note that this process has what was asked for, and so have its threads and forks."""
        CHECKED.add(frozenset(self.digests.items()))


def _methods(item: Item) -> list[str]:
    """Names of the methods that a result depends on: a measurement compares with an oracle."""
    if isinstance(item, Endpoint):
        names = {item.method}
    elif isinstance(item, Condition):
        names = {item.a.method, item.b.method, item.objective, ORACLE.method}
    else:
        names = {item[1].method, ORACLE.method}
    return sorted(names & METHODS.keys())

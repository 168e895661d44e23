"""What a path costs, where a fit on both inequalities finds one between any two models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import pandas as pd

from mcu_lite.metrics.connectivity import is_connected
from mcu_lite.metrics.evaluation import evaluate
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import connect
from mcu_lite.studies.conditions import Condition, Setting
from mcu_lite.studies.paper_grid import ORACLES, grid
from mcu_lite.studies.study import run
from mcu_lite.tasks.task import Task

STEPS = (0, 25, 50, 100, 200, 400)
"""Fitting steps that are tried; 0 is the straight line."""
SEEN = ("seen", "unseen")
METHODS = ("finetune", "npo", "random_labels", "scrub")
FAMILIES = {
    "one method, two seeds": ["Rand"],
    "two methods": ["Met"],
    "a switch off and on": ["CL", "SO", "CL×SO"],
    "the original and a method": ["Original"],
    "retrained, same initialisation": ["retrain_same"],
    "retrained, another initialisation": ["retrain"],
}
"""What the ends differ in, with the conditions or the oracle that belong there."""


def priced(methods: Sequence[str] = METHODS) -> list[Condition]:
    """Straight lines between all ends of the grid whose price is asked, named by family."""
    found = []
    for c in grid(methods, ["linear"]):
        kind = c.a.method if c.name == "Oracle" else c.name
        retrained = [e for e in (c.a, c.b) if e.method in ORACLES]
        if len(retrained) < 2 and not (retrained and c.name == "Original"):
            found += [replace(c, name=f) for f, kinds in FAMILIES.items() if kind in kinds]
    return found


def price(
    lines: Iterable[Condition],
    setting: Setting,
    steps: Sequence[int] = STEPS,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Find out after how many fitting steps two ends are connected.

    Curves are fitted anew for each number of steps, on both inequalities, since their rate decays.

    Returns
    -------
    pandas.DataFrame
        condition, a, b, seed, steps, connected, by: whether a curve of so many steps connects, and
        by how many nats the worse inequality is exceeded, see `mcu_lite.is_connected`.
    """
    lines, tables = list(lines), []
    for n in steps:
        curves = [replace(c, curve="bezier", objective="connected") for c in lines] if n else lines
        own = replace(setting, steps=n, metrics=("loss",))
        tables.append(is_connected(run(curves, own, executor=executor)).assign(steps=n))
    columns = ["condition", "a", "b", "seed", "steps", "connected", "by"]
    return pd.concat(tables, ignore_index=True)[columns]


def shares(priced: pd.DataFrame) -> pd.DataFrame:
    """Share of pairs and seeds that are connected, families by steps."""
    own = priced.astype({"connected": float})
    wide = own.groupby(["condition", "steps"]).connected.mean().unstack()
    return wide.reindex([f for f in FAMILIES if f in wide.index])


def on_unseen(a: Stack, b: Stack, task: Task, ts: int, steps: int) -> pd.DataFrame:
    """Fit a curve on every second forget example and judge it on these and on the others.

    Of `mcu_lite.is_connected`, with a column ``examples``, "seen" or "unseen".
    """
    parts = {name: replace(task, forget=task.forget[:, i::2]) for i, name in enumerate(SEEN)}
    path = connect(a, b, parts["seen"], objective="connected", steps=steps)
    judged = (
        is_connected(evaluate(path, part, ts, metrics=["loss"])).assign(examples=name)
        for name, part in parts.items()
    )
    return pd.concat(judged, ignore_index=True)

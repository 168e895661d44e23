"""What a path costs, where a fit on both inequalities finds one between any two models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcu_lite.book.evidence import DIGITS
from mcu_lite.metrics.connectivity import is_connected, measures
from mcu_lite.metrics.evaluation import evaluate
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path, connect
from mcu_lite.studies.conditions import Condition, Setting
from mcu_lite.studies.paper_grid import ORACLES, grid
from mcu_lite.studies.study import paths, run
from mcu_lite.tasks.task import Task

PAIR = ["condition", "a", "b", "seed"]
TIMES = (0, 1, 4, 8)
"""Fitting steps that are tried, in those of the setting; 0 is the straight path."""
SEEN = ("seen", "unseen")
METHODS = ("finetune", "npo", "random_labels", "scrub")
FAMILIES = {
    "one method, two seeds": ["Rand"],
    "two methods": ["Met"],
    "a switch off and on": ["CL", "SO"],
    "the original and a method": ["Original"],
    "retrained, same initialisation": ["retrain_same"],
    "retrained, another initialisation": ["retrain"],
}
"""What the ends differ in, with the conditions or the oracle that belong there."""
ON_THE_WAY = {"test": ("loss", "test"), "membership": ("auc_even", "forget")}
ON_THE_WAY |= {"oracle": ("js_to_oracle", "test")}
"""What else may change along a path: metric and split."""
VARIANTS = {
    "both inequalities": {},
    "another order of the data": {"seed": 1},
    "two bends": {"bends": 2},
    "start at the original": {"start": "original"},
    "twice the rate": {"lr": 1e-2},
    "both, forget loss held on the line": {"objective": "two_sided"},
    "retain loss alone": {"objective": "retain"},
}
"""Fits of one number of steps that differ in one option of `mcu_lite.connect`."""


def priced(methods: Sequence[str] = METHODS) -> list[Condition]:
    """Straight paths between all ends of the grid whose price is asked, named by family."""
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
    times: Sequence[int] = TIMES,
    executor: Executor | None = None,
    objective: str = "connected",
) -> pd.DataFrame:
    """Find out after how many fitting steps two ends are connected, and what changes on the way.

    Curves are fitted anew for each number of steps, since their rate decays; those that connect on
    all seeds are not fitted with more.

    Returns
    -------
    pandas.DataFrame
        One row a fit: condition, a, b, seed, steps; connected and by: whether it connects,
        and by how many nats the worse inequality is exceeded, see `mcu_lite.is_connected`; arc,
        its length over that of the chord; and how far at most rise, above the straight line
        between the end values, test: the test loss (nats), membership: the AUC of membership
        inference on every second forget example, and oracle: the Jensen-Shannon distance to the
        retrained model (nats).
    """
    if not len(times):
        raise ValueError("times must hold at least one number of steps, got none")
    left, tables = list(dict.fromkeys(lines)), []
    for n in (k * setting.steps for k in times):
        curves = [replace(c, curve="bezier", objective=objective) for c in left] if n else left
        own = replace(setting, steps=n, metrics=DIGITS)
        table = run(curves, own, executor=executor)
        arcs = pd.concat(_arcs(c, own, table.seed.unique()) for c in curves)
        judged = is_connected(table).assign(steps=n).merge(arcs, on=PAIR)
        rises = measures(table)
        for name, (metric, split) in ON_THE_WAY.items():
            of = rises[(rises.metric == metric) & (rises.split == split)]
            judged = judged.merge(of[[*PAIR, "barrier"]].rename(columns={"barrier": name}), on=PAIR)
        tables.append(judged)
        done = judged.fillna({"connected": False}).groupby(["a", "b"]).connected.all()
        left = [c for c in left if not done[str(c.a), str(c.b)]]
        if not left:
            break
    columns = ["condition", "a", "b", "seed", "steps", "connected", "by", "arc", *ON_THE_WAY]
    return pd.concat(tables, ignore_index=True)[columns]


def _arcs(condition: Condition, setting: Setting, seeds: np.ndarray) -> pd.DataFrame:
    """Length of the curves of a condition over that of their chords."""
    path = paths([condition], setting)[condition]
    chord = torch.linalg.vector_norm(path.control[-1] - path.control[0], dim=1)
    arc = (path.arc_length(np.linspace(0, 1, 21).tolist())[-1] / chord).cpu().numpy()
    keys = {k: condition.columns[k] for k in ("condition", "a", "b")}
    return pd.DataFrame(keys | {"seed": seeds, "arc": arc})


def shares(priced: pd.DataFrame) -> pd.DataFrame:
    """Share of pairs and seeds that are connected, families by steps."""
    first = priced.steps.where(priced.connected.fillna(False)).rename("first")
    first = first.groupby([priced[c] for c in PAIR]).min().groupby("condition")
    found = {
        n: first.agg(lambda own, n=n: (own <= n).mean()) for n in sorted(priced.steps.unique())
    }
    return pd.DataFrame(found).reindex([f for f in FAMILIES if f in first.groups])


def bill(priced: pd.DataFrame) -> pd.DataFrame:
    """What connecting costs, by family: medians over pairs and seeds.

    Of each pair the curve of the fewest steps that connects it: steps, arc, and what rises on the
    way, see `price`; misses is by how many nats the *straight* path is too high or too low.
    """
    straight = priced[priced.steps == 0].set_index(PAIR).by.rename("misses")
    found = priced[priced.connected.fillna(False)].sort_values("steps", kind="stable")
    first = found.drop_duplicates(PAIR).join(straight, on=PAIR)
    columns = ["steps", "misses", "arc", *ON_THE_WAY]
    own = first.assign(misses=first.misses.clip(lower=0)).groupby("condition")[columns].median()
    return own.reindex([f for f in FAMILIES if f in own.index])


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


def variants(
    a: Stack,
    b: Stack,
    task: Task,
    ts: int,
    steps: int,
    options: Mapping[str, Mapping[str, Any]] = VARIANTS,
) -> pd.DataFrame:
    """Fit the same pairs with other options of `mcu_lite.connect`.

    Of `mcu_lite.is_connected`, with a column ``fit``, the name of the options.
    """
    judged = []
    for name, own in options.items():
        path = connect(a, b, task, **{"objective": "connected", "steps": steps} | own)
        table = evaluate(path, task, ts, metrics=["loss"])
        judged.append(is_connected(table).assign(fit=name))
    return pd.concat(judged, ignore_index=True)


def by_test_and_chance(task: Task, original: Stack) -> Callable[[Path], Tensor]:
    """Score of a path as in the public code of Cheng and Amiri, to `select` a state of a fit by.

    The harmonic mean of how close test accuracy is to that of the original, and forget accuracy to
    chance, averaged over t = 0.3, 0.4, ... 0.7. It looks at the data that judge.
    """

    def accuracy(models: Stack | Path, **ts: Any) -> pd.DataFrame:
        table = evaluate(models, task, metrics=["accuracy"], **ts)
        # Seeds that diverged keep their place.
        means = table.groupby(["seed", "split"]).value.mean().unstack()
        return means.reindex(list(task.seeds))

    goal = accuracy(original).test

    def score(path: Path) -> Tensor:
        own = accuracy(path, ts=[0.3, 0.4, 0.5, 0.6, 0.7])
        test, forget = 1 - (own.test - goal).abs(), 1 - (own.forget - 1 / task.classes).abs()
        return torch.tensor((2 * test * forget / (test + forget)).to_list())

    return score

"""What the paper's claims are judged on: tables of studies, controls included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mcu_lite.book.text_study import SPOKEN, text_setting
from mcu_lite.metrics.predictions import membership_scores
from mcu_lite.metrics.registry import Outputs, Reading, metric
from mcu_lite.metrics.relearning import area, relearn
from mcu_lite.metrics.straightness import logit_line
from mcu_lite.paths.averages import average_weights, members, ts_at
from mcu_lite.paths.curves import connect
from mcu_lite.studies.conditions import Condition, Endpoint, Setting
from mcu_lite.studies.matching import matched
from mcu_lite.studies.paper_grid import COMPARED, grid
from mcu_lite.studies.results import task_for
from mcu_lite.studies.study import endpoints, run
from mcu_lite.unlearning.methods import METHODS

SWITCHES = {"CL": {"curriculum": 1.0}, "SO": {"order": 2}}
MATCHED = {
    "CL": ("npo", "random_labels", "bad_teacher", "salun", "scrub", "delete"),
    "SO": ("finetune", "random_labels", "bad_teacher", "salun", "scrub", "l1_sparse"),
}
"""Methods of which the switched end is also made to move as far as the plain one."""
FORGOTTEN_CLASS = 3
TASKS = {
    "1% of 1500": {"forget": 0.01, "train": 1500},
    "5%": {"forget": 0.05},
    "10%": {},
    "20%": {"forget": 0.20},
    "40%": {"forget": 0.40},
    "clean": {"noise": 0.0},
    "noise 40%": {"noise": 0.4},
    "clean class": {"forget_class": FORGOTTEN_CLASS},
}
"""Tasks over which smoothness and difficulty are ranked: options of the digits."""
RANKED = ("finetune", "npo", "random_labels")
HALVES = ("loss_even", "loss_odd", "auc_even", "auc_odd")
DIGITS = ("loss", "accuracy", "js_to_oracle", *HALVES)
TEXTS = ("loss", *HALVES)


@dataclass(frozen=True)
class Evidence:
    """Tables that the claims are judged on, of `mcu_lite.run` unless said otherwise.

    Parameters
    ----------
    lines : pandas.DataFrame
        Straight paths: Rand, Met, Oracle, Original; "CL" and "SO" from a method to another seed of
        it with the switch on, and "CL matched" and "SO matched", where that end moved as far.
    fitted : pandas.DataFrame
        Curves Rand and Met that were fitted on both inequalities.
    mixed : pandas.DataFrame
        What straight lines from the original would show if the network were linear, see
        `mcu_lite.metrics.straightness.logit_line`; column b as in `lines`.
    averages : pandas.DataFrame
        model, seed, area, accuracy: how fast a forgotten class returns, and the accuracy on the
        other classes, of averages along paths ("average ...") and of single models that were
        given as many steps ("budget ...").
    tasks : pandas.DataFrame
        Straight paths Rand of several tasks, with a column ``task``.
    text : Evidence, optional
        `lines` and `fitted` of the task with authors.
    """

    lines: pd.DataFrame
    fitted: pd.DataFrame = field(default_factory=pd.DataFrame)
    mixed: pd.DataFrame = field(default_factory=pd.DataFrame)
    averages: pd.DataFrame = field(default_factory=pd.DataFrame)
    tasks: pd.DataFrame = field(default_factory=pd.DataFrame)
    text: Evidence | None = None


def on_half(function: Callable[[np.ndarray, np.ndarray], np.ndarray], first: int) -> Reading:
    """Measure losses of every second forget and test example, from the first or the second one."""

    def read(outputs: Outputs, split: str) -> np.ndarray:
        members, others = outputs.loss("forget"), outputs.loss("test", "nonmember")
        return function(members[:, first::2], others[:, first::2])

    return read


def _mean(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    return members.mean(-1)


def _auc(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    return membership_scores(members, others).mean(-1)


for _first, _half in enumerate(("even", "odd")):
    for _kind, _function in (("loss", _mean), ("auc", _auc)):
        metric(f"{_kind}_{_half}", f"{_kind}, {_half} half", "oracle", ("forget",), slow=True)(
            on_half(_function, _first)
        )


def gather(setting: Setting, executor: Executor | None = None) -> Evidence:
    """Measure what the claims need, or take it from the cache; with an executor, side by side."""
    digits = replace(setting, metrics=DIGITS)
    texts = replace(text_setting(setting), metrics=TEXTS)
    one_class = replace(digits, options={"forget_class": FORGOTTEN_CLASS})
    with ThreadPoolExecutor(None if executor else 1) as threads:
        parts = {
            "grid": threads.submit(_on_digits, digits, executor),
            "text": threads.submit(_on_text, texts, executor),
            "tasks": threads.submit(on_tasks, digits, executor),
            "averages": threads.submit(_done, executor, averages_along_paths, one_class),
        }
        found = {name: part.result() for name, part in parts.items()}
    return Evidence(**found.pop("grid"), **found)


def _on_digits(setting: Setting, executor: Executor | None) -> dict[str, pd.DataFrame]:
    found = {
        "lines": run(straight(), setting, executor=executor),
        "fitted": run(on_both(), setting, executor=executor),
        "mixed": _done(executor, mixed_logits, setting),
    }
    pairs = [(m, switch) for switch in SWITCHES for m in MATCHED[switch]]
    with ThreadPoolExecutor(len(pairs) if executor else 1) as threads:
        equal = list(threads.map(lambda pair: _done(executor, switched, setting, *pair), pairs))
    moved = run([c for own in equal for c in own], setting, executor=executor)
    return found | {"lines": pd.concat([found["lines"], moved], ignore_index=True)}


def _on_text(setting: Setting, executor: Executor | None) -> Evidence:
    lines = run(straight(SPOKEN), setting, executor=executor)
    return Evidence(lines, run(on_both(SPOKEN), setting, executor=executor))


def _done(executor: Executor | None, function: Callable, *args: Any) -> Any:
    return executor.submit(function, *args).result() if executor else function(*args)


def straight(methods: Sequence[str] = COMPARED) -> list[Condition]:
    """Straight paths between approximate methods, and from the oracles and the original."""
    families = ("Rand", "Met", "Oracle", "Original")
    return [c for c in grid(methods, ["linear"]) if c.name in families]


def on_both(methods: Sequence[str] = COMPARED) -> list[Condition]:
    """Curves between approximate methods, fitted on both inequalities."""
    pairs = [c for c in grid(methods, ["bezier"]) if c.name in ("Rand", "Met")]
    return [replace(c, objective="connected") for c in pairs if c.a.method in methods]


def switched(setting: Setting, method: str, switch: str) -> list[Condition]:
    """Straight paths to another seed with a switch on, and to one that moved equally far.

    The seeds differ as those of Rand do: both ends with one data order would be closer.
    """
    plain, on = Endpoint(method, 1), Endpoint(method, 1, **SWITCHES[switch])
    ends = {switch: on, f"{switch} matched": matched(on, plain, setting)}
    return [Condition(name, Endpoint(method), end, "linear") for name, end in ends.items()]


def mixed_logits(setting: Setting) -> pd.DataFrame:
    """Mix the logits of the original and of each unlearned model in place of their weights."""
    task = task_for(setting)
    ends = endpoints([Endpoint(m) for m in COMPARED], setting)
    lines = (
        logit_line(stack.origin, stack, task, setting.ts, ["accuracy"]).assign(b=str(end))
        for end, stack in ends.items()
    )
    return pd.concat(lines, ignore_index=True)


def averages_along_paths(setting: Setting, steps: int = 150) -> pd.DataFrame:
    """Average five points of each of two paths, beside models that got the paths' steps."""
    task = task_for(setting)
    npo, others = Endpoint("npo"), (Endpoint("npo", 1), Endpoint("finetune"))
    total = steps + sum(METHODS[m].steps for m in ("npo", "finetune"))
    # The rate at which fitting moves the middle of a path is half that of its control point.
    longer = [Endpoint("npo", steps=total), Endpoint("npo", steps=total, lr=2.5e-3)]
    stacks = endpoints([npo, *others, *longer], setting)
    models = {f"budget {end}": stacks[end] for end in longer}
    for other in others:
        path = connect(stacks[npo], stacks[other], task, objective="npo", steps=steps)
        at, name = ts_at(5, "even"), f"{npo.method}–{other.method}"
        models[f"average {name} weights"] = average_weights(path, at)
        models[f"average {name} predictions"] = members(path, at)
    table = relearn(models, task)
    first = table[(table.step == 0) & (table.split == "test") & (table.metric == "accuracy")]
    accuracy = first.set_index(["model", "seed"]).value.rename("accuracy")
    return pd.concat([area(table), accuracy], axis=1).reset_index()


def on_tasks(setting: Setting, executor: Executor | None = None) -> pd.DataFrame:
    """Two seeds of a few methods on straight paths, task by task."""
    lines = [Condition("Rand", Endpoint(m), Endpoint(m, 1), "linear") for m in RANKED]
    tables = []
    for name, options in TASKS.items():
        own = replace(setting, options=options)
        tables.append(run(lines, own, executor=executor).assign(task=name))
    return pd.concat(tables, ignore_index=True)

"""What the paper's claims are judged on: the grid, and the controls that it does not hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pandas as pd

from mcu_lite.book.text_study import SPOKEN, conditions, text_setting
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


@dataclass(frozen=True)
class Evidence:
    """Tables that the claims are judged on.

    Parameters
    ----------
    grid : pandas.DataFrame
        Of ``run(grid())``.
    retain_only : pandas.DataFrame
        Curves between two seeds of each method that were fitted on the retain loss alone.
    matched : pandas.DataFrame
        Straight paths "CL matched" and "SO matched": the end with the switch on moved as far
        from the original as the one without.
    mixed : pandas.DataFrame
        What straight lines from the original would show if the network were linear, see
        `mcu_lite.metrics.straightness.logit_line`; column b as in the grid.
    averages : pandas.DataFrame
        model, seed, area, accuracy: how fast a forgotten class returns, and the accuracy on the
        other classes, of averages along paths ("average ...") and of single models that were
        given as many steps ("budget ...").
    text : Evidence, optional
        A grid and retain_only of the task with authors.
    photographs : Evidence, optional
        The same of a residual network on pieces of photographs, for a few pairs.
    """

    grid: pd.DataFrame
    retain_only: pd.DataFrame = field(default_factory=pd.DataFrame)
    matched: pd.DataFrame = field(default_factory=pd.DataFrame)
    mixed: pd.DataFrame = field(default_factory=pd.DataFrame)
    averages: pd.DataFrame = field(default_factory=pd.DataFrame)
    text: Evidence | None = None
    photographs: Evidence | None = None


def gather(setting: Setting) -> Evidence:
    """Measure what the claims need, or take it from the cache."""
    text, pictures = text_setting(setting), pictured(setting)
    return Evidence(
        run(grid(), setting),
        run(retain_only(), setting),
        run(matched_conditions(setting), setting),
        mixed_logits(setting),
        averages_along_paths(replace(setting, options={"forget_class": FORGOTTEN_CLASS})),
        Evidence(run(conditions(), text), run(retain_only(SPOKEN), text)),
        Evidence(run(on_photographs(), pictures), run(retain_only(["npo"]), pictures)),
    )


def pictured(setting: Setting) -> Setting:
    """Return the setting of a study on pieces of photographs, of half the size."""
    half = {"epochs": setting.epochs // 2, "steps": setting.steps // 2}
    half["ts"] = 2 * round(setting.ts / 4) + 1
    return replace(setting, task="patches", model="resnet_small", **half)


def on_photographs() -> list[Condition]:
    """`npo` and itself, another method, and one that takes large steps; on lines and curves."""
    a, others = Endpoint("npo"), (Endpoint("npo", 1), Endpoint("graddiff"), Endpoint("finetune"))
    return [
        Condition("Rand" if b.method == a.method else "Met", a, b, curve)
        for b in others
        for curve in ("linear", "bezier")
    ]


def retain_only(methods: Iterable[str] = COMPARED) -> list[Condition]:
    """Two seeds of each approximate method, on curves that know nothing of forgetting."""
    return [Condition("Rand", Endpoint(m), Endpoint(m, 1), objective="retain") for m in methods]


def matched_conditions(setting: Setting) -> list[Condition]:
    """Straight paths from the plain end to the switched one that moved equally far."""
    lines = []
    for name, switch in SWITCHES.items():
        for m in MATCHED[name]:
            equal = matched(Endpoint(m, **switch), Endpoint(m), setting)
            lines.append(Condition(f"{name} matched", Endpoint(m), equal, "linear"))
    return lines


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

"""The paper's conditions on text, and what models along a path answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise
from math import gcd

import pandas as pd

from mcu_lite.metrics.answers import answers
from mcu_lite.metrics.registry import Source
from mcu_lite.paths.curves import Path
from mcu_lite.studies.conditions import Condition, Setting
from mcu_lite.studies.paper_grid import grid
from mcu_lite.tasks.task import Task

SPOKEN = ("gradient_ascent", "graddiff", "npo", "simnpo", "scrub")
"""The methods of the grid on text: those with a forget term that tells what was learned."""
FAMILIES = ("Rand", "Met", "CL", "SO", "Oracle", "Original")
CURVED = ("Rand", "Met", "Oracle")
MEASURED = ("loss", "accuracy", "exact_match", "probability", "truth_ratio", "forget_quality")
MEASURED += ("mia_auc", "js_to_oracle")


def text_setting(setting: Setting) -> Setting:
    """Return the setting of a study on the authors that is as large as `setting` is on digits.

    A step costs some ten times as much there, and the facts are learned in fewer epochs.
    """
    return replace(
        setting,
        task="authors",
        model="transformer",
        epochs=round(0.3 * setting.epochs),
        steps=round(0.2 * setting.steps),
        ts=max(3, 2 * round(setting.ts / 7) + 1),
        metrics=MEASURED,
    )


def conditions(methods: Sequence[str] = SPOKEN) -> list[Condition]:
    """Return the conditions of the chapter on language, on straight paths and on fitted ones.

    Curves are fitted on both inequalities, between two seeds, two methods, and a method and the
    retrained model, of which there is the one with another initialisation.
    """
    every = [c for c in grid(methods) if c.name in FAMILIES]
    paths = [c for c in every if "retrain_same" not in (c.a.method, c.b.method)]
    paths = [c for c in paths if c.a.method != c.b.method or c.a.method in methods]
    curved = [c for c in paths if c.name in CURVED and c.curve == "bezier"]
    both = [replace(c, objective="connected") for c in curved]
    return [c for c in paths if c.curve == "linear"] + both


def answers_along(
    paths: dict[str, Path], task: Task, ts: Sequence[float], b: int = 0, questions: int = 6
) -> pd.DataFrame:
    """Let the models along paths answer questions on what is to be forgotten and retained.

    Parameters
    ----------
    paths : dict of Path by name
        Whose curve `b` belongs to split `b` of the task.
    task : Task
        Of texts.
    ts : sequence of float in [0, 1]
    b : int
    questions : int
        Of each of the two splits, evenly spread over it; all, if there are fewer.

    Returns
    -------
    pandas.DataFrame
        path, t, split, question, true, answer.

    Raises
    ------
    ValueError
        If the task has no texts, or no question is to be asked.
    """
    if task.texts is None:
        raise ValueError(f"task must be one of texts, but it is {task.name!r}")
    if questions < 1:
        raise ValueError(f"questions must be at least 1, got {questions}")
    lines = []
    for name, path in paths.items():
        source = Source(path.architecture.evaluating(), path.rows(ts)[:, b], task, b)
        for split in ("forget", "retain"):
            every = getattr(task, split)[b]
            index = every[spread(len(every), questions)]
            given, true = answers(source, index)
            asked = [_question(task, i) for i in index.tolist()]
            for t, model in zip(ts, given):
                lines += [(name, float(t), split, *own) for own in zip(asked, true, model)]
    return pd.DataFrame(lines, columns=["path", "t", "split", "question", "true", "answer"])


def spread(n: int, wanted: int) -> list[int]:
    """Places of some of n things, one in each of so many equal parts.

    Examples
    --------
    >>> spread(40, 6)
    [0, 7, 14, 21, 28, 35]
    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    wanted = min(n, wanted)
    # Questions about a person come in a fixed order: with a common divisor, kinds are skipped.
    stride = next(s for s in count(-(-n // wanted)) if gcd(s, n) == 1)
    ends = [k * n // wanted for k in range(wanted + 1)]
    return [a + (k * stride - a) % (b - a) for k, (a, b) in enumerate(pairwise(ends))]


def _question(task: Task, i: int) -> str:
    """The tokens before the first one of the answer."""
    first = int((task.truth[i] >= 0).int().argmax())
    return task.texts.decode(task.inputs[i, : first + 1].tolist())

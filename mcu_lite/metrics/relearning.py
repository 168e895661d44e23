"""How fast what was forgotten comes back, also in averages along a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from mcu_lite.metrics.evaluation import outputs_of
from mcu_lite.metrics.registry import Outputs, Source
from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path
from mcu_lite.tasks.task import Task, check_range, pick
from mcu_lite.training.descent import batches, descend, may_draw
from mcu_lite.training.losses import per_example

STEPS = (0, 2, 4, 8, 12, 16, 24, 32)
"""The steps after which relearning is measured."""


def relearn(
    models: Stack | Mapping[str, Stack],
    task: Task,
    *,
    examples: int = 10,
    steps: Sequence[int] = STEPS,
    lr: float = 1e-3,
    batch: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """Fine-tune unlearned models on a few forget examples and watch the others come back.

    `models` holds one model for each split of the task. Or K times as many, from `members`: an
    ensemble, whose members relearn one by one before their probabilities are averaged. The task
    forgets one whole class, because single images share nothing that could come back; or texts, of
    which the first `examples` are learned again, those on one author, and the others watched.

    Every step sees all the forget `examples`, drawn for each seed, and `batch` retain examples;
    AdamW has a constant rate and no weight decay. Measured is after so many `steps`.

    The table has the columns model, step, seed, split, metric, value. Splits: "forget", the forget
    examples that were not learned from; "class", test images of the forgotten class; "test", those
    of the other classes, before and after only. Metrics: accuracy, loss, and "alone", the accuracy
    of an ensemble's members, each by itself, on average. NaN where a model diverged.
    """
    named = {"": models} if isinstance(models, Stack) else models
    if not named or any(len(stack) % len(task) for stack in named.values()):
        raise ValueError(f"models must hold a multiple of {len(task)} rows, one for each split")
    n, wanted = task.forget.shape[1], sorted(set(steps))
    check_range("examples", examples, 0, n - 1)  # so that some are held out
    if not wanted or wanted[0] < 0:
        raise ValueError(f"steps must hold at least one number, none negative, got {steps}")
    classes = task.truth[task.forget].unique()
    if task.texts is None and len(classes) > 1:
        raise ValueError(f"task must forget one whole class, but it forgets {task.forgets}")
    order = torch.arange(n).repeat(len(task), 1)
    if task.texts is None:
        rngs = generators("forget examples to relearn", seed, task.seeds)
        order = torch.stack([torch.randperm(n, generator=rng) for rng in rngs])
    few, held = task.forget.gather(1, order.to(task.device)).split([examples, n - examples], 1)
    draw = batches(task.retain, batch, generators("relearning order", seed, task.seeds))
    everything = Stack.cat(list(named.values()))
    sizes, times = [len(s) for s in named.values()], len(everything) // len(task)
    calls, lines = iter(range(wanted[-1])), []

    def measure(step: int, rows: Tensor) -> None:
        for name, own in zip(named, rows.split(sizes)):
            own = own.view(-1, len(task), own.shape[1])
            for b, test in enumerate(task.test):
                parts, others = {"forget": held[b]}, test
                if task.texts is None:
                    of_class = task.truth[test] == classes[0]
                    parts["class"], others = test[of_class], test[~of_class]
                if step in (wanted[0], wanted[-1]):
                    parts["test"] = others
                source = Source(everything.architecture, own[:, b], task, b)
                outputs = outputs_of(source, parts, task.truth)
                for split in parts:
                    key = name, step, task.seeds[b], split
                    lines.extend((*key, *line) for line in _read(outputs, split).items())

    def loss(rows: Tensor) -> Tensor:
        if (step := next(calls)) in wanted:
            measure(step, rows.detach())
        chosen = torch.cat([few, task.retain.gather(1, next(draw))], 1)
        inputs = task.inputs[chosen].repeat(times, 1, *[1] * (task.inputs.ndim - 1))
        logits = everything.architecture.logits(rows, inputs)
        return per_example(logits, torch.cat([pick(task.labels, chosen)] * times)).mean(1)

    how = {"decay": lambda progress: 1.0, "weight_decay": 0.0, "label": "relearning"}
    how["draws"] = may_draw(everything.architecture)
    last, _ = descend(everything.rows, loss, steps=wanted[-1], lr=lr, seed=seed, **how)
    measure(wanted[-1], last)
    table = pd.DataFrame(lines, columns=["model", "step", "seed", "split", "metric", "value"])
    # A model that diverged on the way stays diverged: no number comes after a NaN.
    lost = table.step.where(table.value.isna())
    since = lost.groupby([table.model, table.seed]).transform("min")
    return table.assign(value=table.value.mask(table.step >= since))


def _read(outputs: Outputs, split: str) -> dict[str, float]:
    """Read off K models what they say together and each by itself."""
    if outputs.diverged.any():
        return dict.fromkeys(("accuracy", "loss", "alone"), np.nan)
    mean = np.logaddexp.reduce(outputs.log_p[split], axis=0, keepdims=True)
    together = replace(outputs, logits={split: mean})
    # A text is right if all its tokens are: then it is what the model would say.
    found = {"accuracy": together.right(split), "loss": together.loss(split)}
    found["alone"] = outputs.right(split)
    return {name: values.mean() for name, values in found.items()}


def relearn_along(path: Path, task: Task, ts: Sequence[float], **options) -> pd.DataFrame:
    """`relearn` the models at every t by themselves; a column t in place of the model's name."""
    table = relearn({t: path.stack_at(t) for t in ts}, task, **options)
    return table.rename(columns={"model": "t"})


def area(table: pd.DataFrame, split: str = "class", metric: str = "accuracy") -> pd.Series:
    """Mean height over the steps of each model's and seed's relearning curve.

    For an accuracy: 0 if nothing comes back, 1 if everything is there from the beginning.
    """
    own = table[(table.split == split) & (table.metric == metric)]
    wide = own.pivot(index=["model", "seed"], columns="step", values="value").sort_index(axis=1)
    if wide.shape[1] < 2:
        raise ValueError("table must hold measurements after two or more steps")
    height = trapezoid(wide, wide.columns, axis=1) / np.ptp(wide.columns)
    return pd.Series(height, wide.index, name="area")

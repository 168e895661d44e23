"""Objectives of curves that know the definition of mode connectivity in unlearning."""

from __future__ import annotations

from torch import Tensor

from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task
from mcu_lite.training.descent import RowLoss, may_draw
from mcu_lite.training.losses import per_example
from mcu_lite.unlearning.objectives import Objective, examples_of

INEQUALITIES = {
    "connected": lambda lacking: lacking.relu(),
    "two_sided": lambda lacking: lacking.abs(),
}
"""What is added to the retain loss, of how far the forget loss lies below its straight line.

With "connected" only what breaks the inequality counts; with "two_sided" the path shall neither
remember nor go on unlearning.
"""


def inequality_objective(name: str, a: Stack, b: Stack, task: Task) -> Objective:
    """Build the retain loss plus how far the forget loss is from its straight line in t, in nats.

    The line joins the losses of `a` and `b` on the forget examples of the same batch.
    """
    penalty, ends = INEQUALITIES[name], {"a": a.rows, "b": b.rows}
    batches_of = examples_of(a, task, others=ends)

    def start(seed: int, steps: int) -> RowLoss:
        draw = batches_of(seed)

        def loss(rows: Tensor, t: Tensor) -> Tensor:
            forget, retain = draw(rows)
            first, last = (per_example(forget.teacher(end), forget.labels).mean(1) for end in ends)
            lacking = (1 - t) * first + t * last - forget.loss.mean(1)
            return retain.loss.mean(1) + penalty(lacking)

        return loss

    return Objective(name, start, None, len(a), may_draw(a.architecture), along=True)

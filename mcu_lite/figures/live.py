"""Any t on the path between any two models, computed at once by the notebook's kernel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache as remember

import ipywidgets as w
import numpy as np
from matplotlib.axes import Axes

from mcu_lite.figures.images import some_of_each, strip
from mcu_lite.figures.look import drawing
from mcu_lite.figures.scrub import curves, marks_along, numbers_at
from mcu_lite.metrics.evaluation import evaluate
from mcu_lite.metrics.examples import follow
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path, connect
from mcu_lite.tasks.task import Task, check_range
from mcu_lite.unlearning.methods import METHODS

KINDS = ("straight line", "curve on the retain loss", "curve on the unlearning objective")


def live(
    stacks: Mapping[Hashable, Stack],
    task: Task,
    *,
    ts: int = 21,
    metrics: Sequence[str] = ("loss", "accuracy"),
    steps: int = 150,
    row: int = 0,
    images: int = 12,
) -> w.VBox:
    """Choose two models and a path, and measure it at any t; needs a running kernel.

    A move of the slider measures all seeds at that very t, as one stack. A curve is fitted the
    first time that it is asked for, and kept as long as the widget is.

    Parameters
    ----------
    stacks : mapping of Stack
        Models to choose from, by name or Endpoint, such as `mcu_lite.endpoints` returns.
    task : Task
    ts : int
        Points of the curves that are drawn.
    metrics : sequence of str
        One panel each.
    steps : int
        Of fitting a curve.
    row : int
        Place in the stacks of the seed whose images are shown.
    images : int
        How many, half of them wrongly labelled; 0 for a task without images.

    Raises
    ------
    ValueError
        If there are fewer than two stacks, or `row`, `ts`, `steps` or `images` is out of range.

    Examples
    --------
    >>> type(live({"npo": a, "npo, seed 1": b}, task, ts=3, steps=2, images=2)).__name__
    'VBox'
    """
    named = {str(name): stack for name, stack in stacks.items()}
    if len(named) < 2:
        raise ValueError(f"stacks must hold at least two stacks, got {list(named)}")
    check_range("row", row, 0, len(task) - 1)
    for name, count, least in (("ts", ts, 2), ("steps", steps, 0), ("images", images, 0)):
        check_range(name, count, least)
    names, places = list(named), some_of_each(task, row, images)
    whole, narrow = w.Layout(width="100%"), w.Layout(width="auto")
    chosen = [
        w.Dropdown(options=options, index=index, description=label, layout=narrow)
        for label, options, index in (("from", names, 0), ("to", names, 1), ("path", KINDS, 0))
    ]
    slider = w.FloatSlider(value=0.5, min=0, max=1, step=0.001, readout_format=".3f")
    slider.description, slider.layout = "t", w.Layout(width="min(100%, 480px)")
    numbers, faces, panels = w.HTML(layout=whole), w.HTML(layout=whole), w.VBox(layout=whole)

    @remember
    def drawn(a: str, b: str, kind: str) -> tuple[Path, list[Axes], list[w.Widget]]:
        numbers.value = "<p>Fitting the curve …</p>"
        path, axes = _path(named[a], named[b], task, kind, steps), []
        table = evaluate(path, task, ts, metrics=metrics)
        return path, axes, curves({"": table}, metrics, [0.0], axes.append)

    def show(_: object = None) -> None:
        path, axes, panels.children = drawn(*(menu.value for menu in chosen))
        t = slider.value
        table = {"": evaluate(path, task, [t], metrics=metrics)}
        for metric, ax, grid in zip(metrics, axes, panels.children[1].children):
            (over,) = grid.children[1].children
            over.value = drawing(ax.figure, *marks_along(ax, table[""], metric, [t]))
        length = path.arc_length(np.linspace(0, t, ts))[-1, row].item()
        passed = "its curve diverged" if path.diverged[row] else f"arc length {length:.2f}"
        (numbers.value,) = numbers_at(table, metrics, {t: f"t = {t:.3f}, {passed}"})
        if images:
            followed = {} if path.diverged[row] else {"": follow(path, task, [t])}
            faces.value = strip(task, followed, places, 0, row)

    for control in (*chosen, slider):
        control.observe(show, "value")
    show()
    line = w.HBox(chosen, layout=w.Layout(flex_flow="row wrap"))
    return w.VBox([line, slider, numbers, panels, faces], layout=whole)


def _path(a: Stack, b: Stack, task: Task, kind: str, steps: int) -> Path:
    if kind == KINDS[0]:
        return connect(a, b, curve="linear")
    # The rule of `mcu_lite.Condition`: the objective of the first end that was unlearned.
    names = (a.label, b.label) if kind == KINDS[2] else ()
    unlearned = (n for n in names if n in METHODS and METHODS[n].begins == "original")
    return connect(a, b, task, objective=next(unlearned, "retain"), steps=steps)

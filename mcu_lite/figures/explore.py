"""A plane of models that the page itself holds, mixes and asks, without a kernel."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path as File

import numpy as np
import torch
from IPython.display import HTML

from mcu_lite.checks import SPLITS
from mcu_lite.figures.held import held
from mcu_lite.figures.images import as_png, pixels, some_of_each, what_is
from mcu_lite.figures.look import COLOURS, svg, themed
from mcu_lite.figures.maps import plot_map
from mcu_lite.figures.scrub import spot
from mcu_lite.metrics.connectivity import check_tolerance
from mcu_lite.metrics.plane_evaluation import evaluate_plane
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import Path, connect
from mcu_lite.paths.planes import grid, plane
from mcu_lite.tasks.task import Task, check_range

SIDES = {"retain": 1, "forget": -1}
"""On which side of its straight line a loss breaks the definition of `mcu_lite.is_connected`."""
AROUND = 1.6
"""How far a map reaches, in spans of its three models: a curve may be dragged well to the sides."""
CELL = 18
"""Of the canvas, in pixels: a multiple of what an image has."""
FEW = 60
"""Examples of a split that are asked while a hand moves."""
PAGE = """\
<style>{css}</style><figure id="{name}" class="mcu-plate mcu-explore">
<div class="mcu-bar" data-live hidden><fieldset><legend>path</legend>{menu}</fieldset>
<button class="mcu-play" aria-pressed="false">play</button>
<label>t <input type="range" min="0" max="1" step="any"></label>
<output class="mcu-t"></output></div>
<p class="mcu-say" aria-live="polite" data-live hidden></p>
<div class="mcu-plane"><div class="mcu-map">{maps}
<svg class="mcu-over" {box} aria-hidden="true"></svg>
<button class="mcu-handle mcu-probe" data-live hidden
aria-label="model that is asked: the arrow keys move it"></button>
<button class="mcu-handle mcu-bend" data-live hidden
aria-label="control point: drag it, or move it with the arrow keys"></button></div>
<div class="mcu-panels" data-live hidden></div></div>
<div class="mcu-said" data-live hidden>{groups}{own}</div>
<figcaption><b>A plane of models that this page holds.</b> Shades are the retain loss, and orange
lines join models of equal accuracy on what was to be forgotten, in the plane of both ends and a
control point (square) by which the curve is bent. The ring is the model that is asked. Beside the
map both losses along the curve; dashed is the straight line between their end values, tinted ε on
its wrong side.</figcaption></figure>
<script>(() => {{ const root = document.getElementById("{name}"), data = {data};
const models = {dense}(data);
{explore}(root, data, models);{sketch} }})()</script>"""
OWN = """<div class="mcu-own"><p>Choose an image, or draw your own: the model sees
<output aria-live="polite"></output></p><div>
<canvas width="{}" height="{}" tabindex="0" role="application" aria-label="canvas: draw, or move
with the arrow keys and ink a cell with the space bar"></canvas>
<div class="mcu-seen mcu-panel"></div><button class="mcu-clear">clear</button></div></div>"""


def explore(
    paths: Mapping[str, Path],
    task: Task,
    *,
    ends: Sequence[str] = ("t = 0", "t = 1"),
    row: int = 0,
    ts: int = 41,
    points: int = 25,
    images: int = 6,
    tolerance: float = 0.1,
) -> HTML:
    """Hold the models of one seed in the page: ask any of their plane, and bend a path by hand.

    The page computes what it shows, in the browser. The model under the pointer, or where the arrow
    keys move it, says what it sees in forgotten and retained images. As the control point is
    dragged, both losses along the curve are measured, and the page says whether it connects, by the
    rule of `mcu_lite.is_connected`. Without JavaScript, and on paper, the map is a picture.

    Parameters
    ----------
    paths : mapping of Path by name
        Between the same two models: Bézier curves of one bend, each with a map of its own plane,
        and straight ones. The first, a curve, is shown first.
    task : Task
        With one label an example.
    ends : sequence of str
        What the models at t=0 and t=1 are.
    row : int
        Place in the stacks of the seed that is shown.
    ts : int
        Evenly spaced points at which the losses are measured when the hand rests.
    points : int
        Of a map, in each direction.
    images : int
        How many of each kind are shown at most; 0 for a task without images.
    tolerance : float
        ε in nats.

    Returns
    -------
    IPython.display.HTML
        With 2.7 bytes a number of each end and control point, rounded to half precision.

    Raises
    ------
    ValueError
        If the models are no chain of `nn.Linear` and `nn.ReLU`, or too large for a page; a path has
        other ends or bends, or diverged; the task is of texts; or a number is out of its range.

    Examples
    --------
    >>> page = explore({"curve": path}, task, ts=3, points=3, images=2)
    >>> "svg" in page.data
    True
    """
    check_range("row", row, 0, len(task) - 1)
    for name, count, least in (("ts", ts, 2), ("points", points, 2), ("images", images, 0)):
        check_range(name, count, least)
    check_tolerance(tolerance)
    if len(ends) != 2:
        raise ValueError(f"ends must name two models, got {list(ends)}")
    own, task = _of_row(paths, row), _only(task, row)
    first, curves = own[next(iter(own))], {n: p for n, p in own.items() if p.kind == "bezier"}
    rows = [*first.control[[0, -1], 0], *(path.control[1, 0] for path in curves.values())]
    data = held(first.architecture, rows, task, {s: getattr(task, s)[0] for s in SIDES})
    maps = {name: _mapped(path, task, ends, points) for name, path in curves.items()}
    data |= {
        "names": list(map(str, range(task.classes))),
        "chord": float((first.control[-1] - first.control[0]).norm()),
        "paths": [_placed(name, maps) for name in own],
        "sides": [{"split": split, "sign": sign} for split, sign in SIDES.items()],
        "colours": {s: themed(s) for s in COLOURS},
        "inks": {s: themed(s, "-text") for s in COLOURS},
        "ends": list(map(escape, ends)),
        "tolerance": tolerance,
        "ts": [float(f"{t:.6g}") for t in np.linspace(0, 1, ts)],
        "few": FEW,
    }
    return _page(data, [own["picture"] for own in maps.values()], _groups(task, images))


def _of_row(paths: Mapping[str, Path], row: int) -> dict[str, Path]:
    """One curve of each path; raises a `ValueError` unless they lie in planes through two ends."""
    first = next(iter(paths.values()), None)
    if first is None or first.kind != "bezier":
        raise ValueError(f"paths must begin with a Bézier curve, got {dict(paths)}")
    own = {name: path.part(slice(row, row + 1)) for name, path in paths.items()}
    ends = own[next(iter(own))].control[[0, -1]]
    for name, path in own.items():
        if len(path.control) != {"bezier": 3, "linear": 2}.get(path.kind):
            raise ValueError(f"paths must be straight or Bézier of one bend, got {name!r}: {path}")
        if path.diverged.any():
            raise ValueError(f"paths must not have diverged, as {name!r} has on row {row}")
        if not torch.equal(path.control[[0, -1]], ends):
            raise ValueError(f"paths must have the same two ends, but {name!r} has others")
    return own


def _only(task: Task, row: int) -> Task:
    """The same task for one of its seeds."""
    parts = {name: getattr(task, name)[[row]] for name in ("labels", *SPLITS)}
    return replace(task, seeds=task.seeds[row : row + 1], **parts)


def _mapped(path: Path, task: Task, ends: Sequence[str], points: int) -> dict:
    """Picture of a curve's plane, and how its coordinates become those of the picture."""
    a, b = (Stack(path.architecture, path.control[k]) for k in (0, -1))
    own = plane(a, b, path.control[1])
    span = own.corners[:, 0].amax(0) - own.corners[:, 0].amin(0)
    margin = (AROUND * span.max() / span - 1) / 2
    cells = grid(own, points, margin=tuple(margin.tolist()))
    seen = evaluate_plane(own, cells, replace(task, test=task.test[:, :1]), a)
    shown = {"straight": connect(a, b, curve="linear"), "as fitted": path}
    ax = plot_map(seen, own, shown, (*ends, "control point"))
    corner, far = own.corners[2, 0].tolist(), own.corners[:, 0].amax(0).tolist()
    pixels = zip(spot(ax, 0.0, 0.0), spot(ax, *far), far)
    return {
        "picture": svg(ax.figure, ax.get_label()),
        "corner": corner,
        "scale": [[zero, (one - zero) / size] for zero, one, size in pixels],
        "reach": [list(map(float, cells[..., k].aminmax())) for k in (0, 1)],
        "chord": float(own.chord),
    }


def _placed(name: str, maps: dict[str, dict]) -> dict:
    """Where the page finds a path: on a map, which a straight path takes from the first curve."""
    k = list(maps).index(name) if name in maps else 0
    own = maps[list(maps)[k]]
    start = own["corner"] if name in maps else [own["chord"] / 2, 0.0]
    kept = {part: own[part] for part in ("corner", "scale", "reach")}
    return kept | {"name": name, "map": k, "row": 2 + k, "start": start}


def _groups(task: Task, images: int) -> str:
    """Forgotten and retained images, with room for what a model says of each."""
    places = {"forget": some_of_each(task, 0, images), "retain": range(images)}
    words, groups = {"forget": "Forgotten", "retain": "Retained"}, ""
    for split, own in places.items():
        faces = "".join(_face(task, split, int(i)) for i in own if i < FEW)
        groups += (
            f'<div class="mcu-group" data-split="{split}"><p>{words[split]} images that '
            f"get the learned label: <output></output></p><ul>{faces}</ul></div>"
        )
    return groups


def _face(task: Task, split: str, place: int) -> str:
    index = getattr(task, split)[0, [place]]
    about = what_is(int(task.truth[index]), int(task.labels[0, index]))
    return (
        f'<li><button data-place="{place}"><img src="{as_png(pixels(task, index)[0])}" alt="" '
        f'class="dark-light"><span>{about}<br><span></span></span></button></li>'
    )


def _page(data: dict, maps: Sequence[str], groups: str) -> HTML:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    name = f"explore-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    radio = '<label><input type="radio" name="{}">{}</label>'
    pictures = (f"<div data-map{' hidden' * (i > 0)}>{own}</div>" for i, own in enumerate(maps))
    own = ""
    if canvas := data["canvas"]:
        height, width = canvas["size"]
        own = OWN.format(CELL * width, CELL * height)
    parts = {
        "name": name,
        "data": text,
        "menu": "".join(radio.format(name, escape(path["name"])) for path in data["paths"]),
        "maps": "".join(pictures),
        "box": re.search(r'viewBox="[^"]*"', maps[0])[0],
        "groups": groups,
        "own": own,
        "sketch": f"{_file('sketch.js')}(root, data, models)" if own else "",
    }
    files = {"css": "page.css", "explore": "explore.js", "dense": "dense.js"}
    return HTML(PAGE.format(**parts, **{part: _file(name) for part, name in files.items()}))


def _file(name: str) -> str:
    return File(__file__).with_name(name).read_text(encoding="utf-8").strip()

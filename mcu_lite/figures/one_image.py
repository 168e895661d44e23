"""One forgotten image along the path between any two models, without a kernel."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import HTML

from mcu_lite.figures.along_t import COLOURS, themed
from mcu_lite.figures.images import as_png, pixels
from mcu_lite.metrics.examples import Followed, check_row
from mcu_lite.tasks.task import Task

MILLI = 2**16 - 1
"""Losses are kept in thousandths of a nat up to here, scores in shares of it."""
Case = tuple[str, str, str]


def one_image(
    followed: dict[Case, Followed], task: Task, *, row: int = 0, images: int = 60
) -> HTML:
    """Choose a forgotten image, two models and a path between them, and move t.

    Parameters
    ----------
    followed : dict of Followed
        By (model at t=0, model at t=1, kind of path), all at the same ts. The page also
        offers every path from its other end, but none that diverged.
    task : Task
    row : int
        Place in the stacks of the seed whose images and models are shown.
    images : int
        At most so many, the first ones of the forget set.

    Returns
    -------
    IPython.display.HTML
        Holds all predictions and the script that draws them: about 24 kB a path, for 60
        images of 10 classes and 21 values of t.

    Raises
    ------
    ValueError
        If there is no path, the ts differ, `row` is out of range, or the task has no images.

    Examples
    --------
    >>> followed = {("npo", "npo, seed 1", "bezier"): mcu.follow(path, task, 3)}
    >>> "svg" in one_image(followed, task, images=4).data
    True
    """
    check_row(row, task)
    followed = {key: own for key, own in followed.items() if (own.predicted[:, row] >= 0).all()}
    if not followed:
        raise ValueError("followed must hold at least one path that did not diverge, got none")
    ts = next(iter(followed.values())).ts
    if any(not np.array_equal(own.ts, ts) for own in followed.values()):
        raise ValueError("followed must hold paths at the same ts")
    index = task.forget[row, :images]
    data = {
        "ts": [float(f"{t:.4g}") for t in ts],
        "classes": task.classes,
        "labels": task.labels[row, index].tolist(),
        "truth": task.truth[index].tolist(),
        "colours": {split: themed(colour) for split, colour in COLOURS.items()},
        "paths": {"|".join(key): _packed(own, row, len(index)) for key, own in followed.items()},
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    name = "image-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    # The first one shown has a wrong label, if there is one: it can only have been memorised.
    wrong = task.noisy[row, index]
    first = int(wrong.int().argmax())
    faces = zip(pixels(task, index), data["truth"], data["labels"])
    picker = "".join(_choice(name, i, *face, i == first) for i, face in enumerate(faces))
    selects = "".join(
        f"<label>{escape(label)} <select></select></label> " for label in ("from", "to", "path")
    )
    draw = (
        (Path(__file__).parent / "one_image.js")
        .read_text(encoding="utf-8")
        .strip()
        .split("\n", 1)[1]
    )
    return HTML(
        f'<div id="{name}" class="mcu-atlas mcu-image"><fieldset><legend>forgotten image</legend>'
        f'<div class="mcu-faces">{picker}</div></fieldset>'
        f'<p>{selects}<label>t <input type="range" min="0" step="1"></label></p>'
        '<div class="mcu-chosen"><img alt="" class="dark-light"><p aria-live="polite"></p></div>'
        '<div class="mcu-panels"></div></div>'
        f'<script>({draw})(document.getElementById("{name}"), {text})</script>'
    )


def _choice(name: str, i: int, grey: np.ndarray, truth: int, label: int, chosen: bool) -> str:
    """A radio button that shows an image: the arrow keys go from one to the next."""
    about = f"a {truth}" if truth == label else f"a {truth}, labelled {label}"
    kind = "dark-light" if truth == label else "dark-light mcu-wrong"
    return (
        f'<label title="{about}"><input type="radio" name="{name}" value="{i}"'
        f'{" checked" * chosen}><img src="{as_png(grey)}" alt="image {i + 1}, {about}" '
        f'class="{kind}"></label>'
    )


def _packed(own: Followed, row: int, n: int) -> list[str]:
    """Probabilities (T, n, classes) in 255ths, losses and scores (T, n), as base64."""
    parts = (
        (own.probabilities[:, row, :n] * 255, "u1"),
        (np.minimum(own.loss[:, row, :n] * 1000, MILLI), "<u2"),
        (own.membership[:, row, :n] * MILLI, "<u2"),
    )
    return [
        base64.b64encode(np.round(values).astype(kind).tobytes()).decode() for values, kind in parts
    ]

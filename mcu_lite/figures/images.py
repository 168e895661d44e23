"""Single images of a task, and what models along a path say of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from mcu_lite.metrics.examples import Followed
from mcu_lite.tasks.task import Task

STRIP = "display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:6px"
FACE = "image-rendering:pixelated;border:1px solid #888;margin:0;padding:0"
TEXT = "font-size:0.7rem;line-height:1.3;white-space:nowrap"


def pixels(task: Task, index: Sequence[int]) -> np.ndarray:
    """Grey values of some of a task's images, dark ink on white, shape (n, height, width)."""
    index = np.asarray(index)
    if task.pixels is not None:
        ink = task.pixels[index]
    elif task.inputs.ndim == 4:
        ink = task.inputs[index].mean(1).cpu().numpy()
        ink = ink.max((1, 2), keepdims=True) - ink
        ink = ink / np.maximum(ink.max((1, 2), keepdims=True), 1e-12)
    else:
        raise ValueError(f"task {task.name!r} has no images, its inputs are {task.inputs.shape}")
    return np.round(255 * (1 - ink)).astype(np.uint8)


def as_png(grey: np.ndarray) -> str:
    """Address of an image (height, width) that the page itself holds."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def some_of_each(task: Task, row: int = 0, count: int = 12) -> np.ndarray:
    """Places in the forget set of seed `row`: half wrongly labelled images, half others, if any."""
    wrong = task.noisy[row, task.forget[row]].cpu().numpy()
    kinds = [np.flatnonzero(wrong)[: count // 2], np.flatnonzero(~wrong)]
    return np.concatenate(kinds)[:count]


def what_is(truth: int, label: int) -> str:
    """Say what an image shows, and how it is labelled if that is something else."""
    return f"a {truth}" if truth == label else f"a {truth}, labelled {label}"


def strip(
    task: Task, followed: dict[str, Followed], places: Sequence[int], k: int, row: int = 0
) -> str:
    """Show forgotten images and what each path's model predicts for them, as HTML.

    `places` are those in the forget set, `k` tells which t, `row` which seed.
    """
    if not len(places):
        return ""
    index = task.forget[row, list(places)]
    labels, truth = task.labels[row, index].tolist(), task.truth[index].tolist()
    faces = []
    for i, grey in enumerate(pixels(task, index)):
        lines = ""
        for name, own in followed.items():
            p = own.probabilities[k, row, places[i]]
            mark = "✓" if p.argmax() == labels[i] else "✗"
            lines += f"<br>{mark} {escape(name)} <b>{p.argmax()}</b> {p.max():.0%}"
        about = what_is(truth[i], labels[i])
        faces.append(
            f'<div style="display:flex;gap:6px;align-items:center"><img src="{as_png(grey)}" '
            f'alt="forgotten image, {about}" width="38" height="38" class="dark-light" '
            f'style="{FACE}"><div style="{TEXT}">{about}{lines}</div></div>'
        )
    return f'<div style="{STRIP}">{"".join(faces)}</div>'

"""Single images of a task, and what models along a path say of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import HTML
from PIL import Image

from mcu_lite.figures.chooser import SAY, chooser
from mcu_lite.metrics.examples import Followed
from mcu_lite.tasks.task import Task, check_range

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


def one_image(
    followed: dict[tuple[str, str, str], Followed], task: Task, *, row: int = 0, images: int = 60
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
        At most so many, at least 1, the first ones of the forget set.

    Returns
    -------
    IPython.display.HTML
        Holds all predictions and the script that draws them: about 15 kB a path, for 60
        images of 10 classes and 21 values of t.

    Raises
    ------
    ValueError
        If there is no path or one of other images than the task's forget set, the ts differ, `row`
        or `images` is out of range, a name holds "|", or the task has no images.

    Examples
    --------
    >>> followed = {("npo", "npo, seed 1", "bezier"): mcu.follow(path, task, 3)}
    >>> "svg" in one_image(followed, task, images=4).data
    True
    """
    check_range("row", row, 0, len(task) - 1)
    check_range("images", images, 1)
    if any(not np.array_equal(own.index, task.forget.cpu()) for own in followed.values()):
        raise ValueError("followed must be of the task's own forget set, as of mcu_lite.follow")
    followed = {key: own for key, own in followed.items() if (own.predicted[:, row] >= 0).all()}
    if not followed:
        raise ValueError("followed must hold at least one path that did not diverge, got none")
    ts = next(iter(followed.values())).ts
    if any(not np.array_equal(own.ts, ts) for own in followed.values()):
        raise ValueError("followed must hold paths at the same ts")
    index = task.forget[row, :images]
    data = {
        "ts": [float(f"{t:.4g}") for t in ts],
        "width": 200,
        "labels": task.labels[row, index].tolist(),
        "truth": task.truth[index].tolist(),
        "paths": {"|".join(key): _stored(own, row, len(index)) for key, own in followed.items()},
    }
    # The first one shown has a wrong label, if there is one: it can only have been memorised.
    first = int(task.noisy[row, index].int().argmax())
    faces = zip(pixels(task, index), data["truth"], data["labels"])
    picker = "".join(_choice(i, *face, i == first) for i, face in enumerate(faces))
    return chooser(
        data,
        Path(__file__).with_name("one_image.js"),
        css="mcu-image",
        above="<fieldset><legend>forgotten image</legend>"
        f'<div class="mcu-faces">{picker}</div></fieldset>',
        say=f'<div class="mcu-chosen"><img alt="" class="dark-light">{SAY}</div>',
    )


def _choice(i: int, grey: np.ndarray, truth: int, label: int, chosen: bool) -> str:
    """A radio button that shows an image: the arrow keys go from one to the next."""
    about = what_is(truth, label)
    return (
        f'<label title="{about}"><input type="radio" name="image" value="{i}"'
        f'{" checked" * chosen}><img src="{as_png(grey)}" alt="image {i + 1}, {about}" '
        f'class="dark-light{" mcu-wrong" * (truth != label)}"></label>'
    )


def _stored(own: Followed, row: int, n: int) -> dict[str, list]:
    """Probabilities (T, n, classes), losses and scores (T, n), in thousandths."""
    parts = {"p": own.probabilities, "loss": own.loss, "score": own.membership}
    return {k: np.rint(1000 * v[:, row, :n]).astype(int).tolist() for k, v in parts.items()}

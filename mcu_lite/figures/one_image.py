"""One forgotten image along the path between any two models, without a kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from IPython.display import HTML

from mcu_lite.figures.chooser import SAY, chooser
from mcu_lite.figures.images import as_png, pixels, what_is
from mcu_lite.metrics.examples import Followed, check_row
from mcu_lite.tasks.task import Task


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
        At most so many, the first ones of the forget set.

    Returns
    -------
    IPython.display.HTML
        Holds all predictions and the script that draws them: about 15 kB a path, for 60
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
    labels, truth = task.labels[row, index].tolist(), task.truth[index].tolist()
    data = {
        "ts": [float(f"{t:.4g}") for t in ts],
        "width": 200,
        "labels": labels,
        "truth": truth,
        "paths": {"|".join(key): _stored(own, row, len(index)) for key, own in followed.items()},
    }
    # The first one shown has a wrong label, if there is one: it can only have been memorised.
    first = int(task.noisy[row, index].int().argmax())
    faces = zip(pixels(task, index), truth, labels)
    picker = "".join(_choice(i, *face, i == first) for i, face in enumerate(faces))
    return chooser(
        data,
        Path(__file__).with_suffix(".js"),
        css="mcu-image",
        above="<fieldset><legend>forgotten image</legend>"
        f'<div class="mcu-faces">{picker}</div></fieldset>',
        say=f'<div class="mcu-chosen"><img alt="" class="dark-light">{SAY}</div>',
    )


def _choice(i: int, grey: np.ndarray, truth: int, label: int, chosen: bool) -> str:
    """A radio button that shows an image: the arrow keys go from one to the next."""
    about = what_is(truth, label)
    kind = "dark-light" if truth == label else "dark-light mcu-wrong"
    return (
        f'<label title="{about}"><input type="radio" name="image" value="{i}"'
        f'{" checked" * chosen}><img src="{as_png(grey)}" alt="image {i + 1}, {about}" '
        f'class="{kind}"></label>'
    )


def _stored(own: Followed, row: int, n: int) -> dict[str, list]:
    """Probabilities (T, n, classes), losses and scores (T, n), in thousandths."""
    parts = {"p": own.probabilities, "loss": own.loss, "score": own.membership}
    return {k: np.rint(1000 * v[:, row, :n]).astype(int).tolist() for k, v in parts.items()}

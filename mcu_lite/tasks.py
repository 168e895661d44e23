"""What is learned, what is to be forgotten, and what neither model has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from mcu_lite.texts import Texts

SPLITS = ("retain", "forget", "test")
TUNING_SEEDS = (1000, 1001, 1002)
"""Seeds for choosing hyperparameters. No figure of the book uses them."""


@dataclass(frozen=True)
class Task:
    """One pool of N examples and, for each of B seeds, a split of it.

    Row b of every stack is trained on split b.

    Parameters
    ----------
    name : str
    inputs : Tensor, shape (N, ...)
    truth : Tensor of int64, shape (N,), or (N, L) for texts of L tokens
        The true classes. Test loss and accuracy are measured against them. Of a text, the token
        that follows each one, and -100 where it is not to be predicted.
    labels : Tensor of int64, shape (B, N), or (B, N, L)
        The labels as they were observed, with noise. Training uses these, and so does
        membership inference, for which members and others must be drawn alike.
    retain, forget, test : Tensor of int64, shapes (B, n_r), (B, n_f), (B, n_t)
        Indices into the pool. Training set = retain and forget.
    classes : int
    seeds : tuple of int, length B
    forgets : str
        What is to be forgotten, in words.
    augment : function, optional
        Changes the inputs (B, n, ...) of a batch while a model is trained from scratch, row b with
        the b-th of the generators that it is given.
    texts : Texts, optional
        What can be asked of models of text beyond the labels.
    recipes : dict of dict
        In place of what is registered: settings of methods by name; of "train"; and as "batch"
        how many "forget" and "retain" examples a step of unlearning takes.
    """

    name: str
    inputs: Tensor
    truth: Tensor
    labels: Tensor
    retain: Tensor
    forget: Tensor
    test: Tensor
    classes: int
    seeds: tuple[int, ...]
    forgets: str = ""
    augment: Callable[[Tensor, Sequence[torch.Generator]], Tensor] | None = None
    texts: Texts | None = None
    recipes: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split in SPLITS:
            index = getattr(self, split)
            if index.ndim != 2 or index.shape[0] != len(self.seeds) or index.shape[1] == 0:
                raise ValueError(
                    f"{split} must index at least one example for each of {len(self.seeds)} "
                    f"seeds, got shape {tuple(index.shape)}"
                )

    def __len__(self) -> int:
        return len(self.seeds)

    def __repr__(self) -> str:
        n = {split: getattr(self, split).shape[1] for split in SPLITS}
        noise = self.noisy.gather(1, self.train).float().mean()
        return (
            f"{self.name}: {self.classes} classes, {len(self)} seeds, forgets {self.forgets}\n"
            f"{n['retain']} retain + {n['forget']} forget + {n['test']} test examples, "
            f"{noise:.0%} of the training labels noisy"
        )

    @property
    def train(self) -> Tensor:
        """Indices of the whole training set, retain then forget, shape (B, n_r + n_f)."""
        return torch.cat([self.retain, self.forget], dim=1)

    @property
    def noisy(self) -> Tensor:
        """Mask of the examples whose observed label is wrong, shape (B, N)."""
        return (self.labels != self.truth).view(*self.labels.shape[:2], -1).any(-1)

    @property
    def device(self) -> torch.device:
        """Where its tensors are; everything that is computed from it happens there."""
        return self.inputs.device

    def to(self, device: str | torch.device) -> Task:
        """Return the same task on a device; the numbers drawn for it are the same everywhere."""
        own = ("inputs", "truth", "labels", *SPLITS)
        moved = {f: getattr(self, f).to(device) for f in own}
        return replace(self, texts=self.texts and self.texts.to(device), **moved)

    def tile(self, times: int) -> Task:
        """Return the same splits several times over, for stacks under one another."""
        again = {f: torch.cat([getattr(self, f)] * times) for f in ("labels", *SPLITS)}
        return replace(self, seeds=self.seeds * times, **again)

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs (B, n, ...) and labels (B, n, ...) of a split; test labels are the true ones."""
        index = getattr(self, known("split", name, SPLITS))
        labels = self.truth.expand_as(self.labels) if name == "test" else self.labels
        return self.inputs[index], pick(labels, index)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Of each row b the values at its own places: (B, N, ...) and (B, n) to (B, n, ...)."""
    return values[torch.arange(len(index), device=index.device).unsqueeze(1), index]


TASKS: dict[str, Callable[..., Task]] = {}


def task(name: str) -> Callable:
    """Register a function that builds a `Task` under `name`.

    Examples
    --------
    >>> @task("clean digits")
    ... def clean(seeds, forget=0.1):
    ...     return digits(seeds, forget, noise=0.0)
    >>> load_task("clean digits", seeds=2, forget=0.2).forget.shape
    torch.Size([2, 120])
    >>> del TASKS["clean digits"]
    """

    def register(function: Callable[..., Task]) -> Callable[..., Task]:
        TASKS[name] = function
        return function

    return register


def load_task(name: str, seeds: int | Sequence[int] = 5, **options) -> Task:
    """Build a registered task.

    Parameters
    ----------
    name : str
        One of ``TASKS``.
    seeds : int or sequence of int
        The seeds of the splits, or how many (0, 1, 2, ...).
    **options
        Passed on, see the task's own function, such as `digits`.

    Raises
    ------
    ValueError
        For an unknown name, no seed or one twice, or an option out of its range.

    Examples
    --------
    >>> load_task("digits", forget=0.1, seeds=2)
    digits: 10 classes, 2 seeds, forgets a random 10%
    540 retain + 60 forget + 600 test examples, 20% of the training labels noisy
    """
    made = TASKS[known("task", name, TASKS)](seeds := seeds_of(seeds), **options)
    if made.seeds != seeds:
        raise ValueError(f"task {name!r} must pass on its seeds {seeds}, it has {made.seeds}")
    return made


@task("digits")
def digits(
    seeds: Sequence[int],
    forget: float = 0.10,
    forget_class: int | None = None,
    noise: float | None = None,
    train: int = 600,
    test: int = 600,
) -> Task:
    """Scikit-learn's 1,797 handwritten digits, 8x8 pixels, z-scored.

    Clean digits are nearly separable: a model that never saw an image still recognises
    it, and forgetting cannot be seen. Wrong labels can only be memorised, so with noise the
    original model and the retrained one differ visibly.

    Parameters
    ----------
    seeds : sequence of int
        Each draws its own training set, label noise and forget set.
    forget : float in (0, 1)
        Fraction of the training set to forget, drawn at random; used if `forget_class` is None.
    forget_class : int in 0..9, optional
        Forget all training images of this class instead.
    noise : float in [0, 1), optional
        Fraction of labels replaced by another class. By default 0.2, and 0 for a whole class.
    train : int
        Size of the training set, the same number from each class.
    test : int
        Images to test on, drawn from the others; fewer if fewer are left. More of them would
        cost time and tell little: membership is as uncertain as the forget set is small.

    Raises
    ------
    ValueError
        For a value out of its range, or an empty forget set.
    """
    noise = (0.2 if forget_class is None else 0.0) if noise is None else noise
    if not 0 < forget < 1:
        raise ValueError(f"forget must lie strictly between 0 and 1, got {forget}")
    if not 0 <= noise < 1:
        raise ValueError(f"noise must lie in [0, 1), got {noise}")
    if forget_class is not None and forget_class not in range(10):
        raise ValueError(f"forget_class must be one of 0..9, got {forget_class}")
    if not 10 <= train <= 1500 or train % 10:
        raise ValueError(f"train must be a multiple of 10 between 10 and 1500, got {train}")
    if test < 1:
        raise ValueError(f"test must be at least 1 image, got {test}")
    if forget_class is None and round(forget * train) == 0:
        raise ValueError(f"forget={forget} of {train} images is an empty forget set")
    pixels, truth = scanned()
    inputs = (pixels - pixels.mean(0)) / np.maximum(pixels.std(0), 1e-6)
    draws = [_draw(truth, s, forget, forget_class, noise, train, test) for s in seeds]
    labels, retain, gone, test = (torch.from_numpy(np.stack(part)) for part in zip(*draws))
    return Task(
        name="digits",
        inputs=torch.from_numpy(inputs).float(),
        truth=torch.tensor(truth),
        labels=labels.long(),
        retain=retain,
        forget=gone,
        test=test,
        classes=10,
        seeds=tuple(seeds),
        forgets=f"a random {forget:.0%}" if forget_class is None else f"class {forget_class}",
    )


@cache
def scanned() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 64) and classes (N,); a study loads its task once for each of many jobs."""
    return load_digits(return_X_y=True)


def _draw(
    truth: np.ndarray,
    seed: int,
    forget: float,
    forget_class: int | None,
    noise: float,
    train: int,
    test: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One seed's labels (N,) and its retain, forget and test indices."""
    rng = np.random.default_rng([seed, 0xD161])
    order = rng.permutation(len(truth))
    of_class = [order[truth[order] == c] for c in range(10)]
    chosen = rng.permutation(np.concatenate([members[: train // 10] for members in of_class]))
    others = rng.permutation(np.setdiff1d(np.arange(len(truth)), chosen))
    asked = np.sort(others[:test])

    # Noise covers the test images too: membership inference compares like with like.
    wrong = np.zeros(len(truth), dtype=bool)
    for part in (chosen, asked):
        wrong[rng.choice(part, round(noise * len(part)), replace=False)] = True
    labels = np.where(wrong, (truth + rng.integers(1, 10, len(truth))) % 10, truth)

    gone = np.arange(train) < round(forget * train)
    if forget_class is not None:
        gone = truth[chosen] == forget_class
    return labels, chosen[~gone], chosen[gone], asked


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Turn the seeds, or how many, into a tuple."""
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more, none negative and none twice, got {seeds}")
    return seeds


def known(what: str, name: str, names: Iterable[str]) -> str:
    """Return `name`, or raise a `ValueError` that lists the known ones."""
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(map(repr, names))}")
    return name

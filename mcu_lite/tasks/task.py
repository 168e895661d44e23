"""What is learned, what is to be forgotten, and what no model has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from mcu_lite.checks import SPLITS, check_choice, checked, seeds_of
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.texts import IGNORED, Texts

TUNING_SEEDS = (1000, 1001, 1002)
"""Seeds for choosing hyperparameters. No figure of the book uses them."""
RUN = 1_000_000
"""What lies between the seeds of two runs of one split, see `Task.repeat`."""


@checked
@dataclass(frozen=True)
class Task:
    """One pool of N examples and, for each of B seeds, a split of it.

    Row b of every stack is trained on split b. What does not fit together, or an example in two
    splits of a seed, raises a `ValueError`.

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
        how many "forget" and "retain" examples a step of unlearning takes. For example
        ``{"npo": {"lr": 1e-3}, "train": {"batch": 32}, "batch": {"forget": 16, "retain": 32}}``.
    pixels : array, shape (N, height, width), optional
        How dark each example is as a picture, 0..1, where the inputs are not images themselves.
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
    pixels: np.ndarray | None = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            index = getattr(self, split)
            if index.ndim != 2 or index.shape[0] != len(self.seeds) or index.shape[1] == 0:
                raise ValueError(
                    f"{split} must index at least one example for each of {len(self.seeds)} "
                    f"seeds, got shape {tuple(index.shape)}"
                )
            _check_whole(split, index, 0, len(self.inputs) - 1)
        if (torch.cat([self.train, self.test], 1).sort(1).values.diff(dim=1) == 0).any():
            raise ValueError("retain, forget and test must share no example, and hold none twice")
        shape = (len(self.inputs), *self.truth.shape[1:])
        for name, wanted in {"truth": shape, "labels": (len(self.seeds), *shape)}.items():
            if (values := getattr(self, name)).shape != wanted:
                raise ValueError(f"{name} must have shape {wanted}, got {tuple(values.shape)}")
            _check_whole(name, values, IGNORED if self.truth.ndim > 1 else 0, self.classes - 1)
        for part, known in {"train": ("batch", "lr"), "batch": ("forget", "retain")}.items():
            for key in self.recipes.get(part, {}):
                check_choice(f"part of recipes[{part!r}]", key, known)

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

    @checked
    def repeat(self, runs: int) -> Task:
        """Return the same splits for several runs, each with its own start and order of data.

        Run 0 is that of this task. The rows of run r come next, with r * 1,000,000 added to their
        seeds, so that ``seed % 1_000_000`` in a table names the split. Runs that are not positive,
        or a seed of 1,000,000 or more, raise a `ValueError`.

        Examples
        --------
        >>> load_task("digits", seeds=2).repeat(3).seeds
        (0, 1, 1000000, 1000001, 2000000, 2000001)
        """
        check_range("runs", runs, 1)
        if max(self.seeds) >= RUN:
            raise ValueError(f"seeds must be below {RUN:,} to be repeated, got {self.seeds}")
        names = tuple(RUN * run + s for run in range(runs) for s in self.seeds)
        return replace(self.tile(runs), seeds=names)

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs (B, n, ...) and labels (B, n, ...) of a split; test labels are the true ones."""
        index = getattr(self, check_choice("split", name, SPLITS))
        labels = self.truth.expand_as(self.labels) if name == "test" else self.labels
        return self.inputs[index], pick(labels, index)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Of each row b the values at its own places: (B, N, ...) and (B, n) to (B, n, ...)."""
    return values[torch.arange(len(index), device=index.device).unsqueeze(1), index]


TASKS: dict[str, Callable[..., Task]] = {}


def task(name: str, *, version: str = "") -> Callable:
    """Register a function that builds a `Task`.

    Parameters
    ----------
    name : str
        By which `load_task` and `mcu_lite.Setting` know it. The function gets the seeds, a tuple,
        and the options of `load_task`.
    version : str
        Change it when code that the function calls has changed: see `mcu_lite.run`.

    Examples
    --------
    >>> from mcu_lite.tasks.digits import digits
    >>> @task("clean digits")
    ... def clean(seeds, forget=0.1):
    ...     return digits(seeds, forget, noise=0.0)
    >>> load_task("clean digits", seeds=2, forget=0.2).forget.shape
    torch.Size([2, 120])
    >>> del TASKS["clean digits"]
    """

    def register(function: Callable[..., Task]) -> Callable[..., Task]:
        if version:
            function.version = version
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
    TypeError
        For an unknown option, or one of another kind; the message lists the options.

    Examples
    --------
    >>> load_task("digits", forget=0.1, seeds=2)
    digits: 10 classes, 2 seeds, forgets a random 10%
    540 retain + 60 forget + 600 test examples, 20% of the training labels noisy
    """
    seeds = seeds_of(seeds)
    task = checked(TASKS[check_choice("task", name, TASKS)])(seeds, **options)
    if not isinstance(task, Task) or task.seeds != seeds:
        raise ValueError(f"task {name!r} must return a Task of the seeds {seeds}, got {task!r}")
    return task


def check_rows(stack: Stack | Tensor, task: Task, name: str = "stack") -> None:
    """Raise a `ValueError` unless `stack` has one row for each split of `task`."""
    if len(stack) != len(task):
        raise ValueError(f"{name} has {len(stack)} models but task has {len(task)} splits")


def _check_whole(name: str, values: Tensor, least: int, most: int) -> None:
    low, high = (v.item() for v in values.aminmax())
    if values.dtype != torch.int64 or low < least or high > most:
        raise ValueError(
            f"{name} must be int64 in {least}..{most}, got {values.dtype} in {low}..{high}"
        )


def check_share(name: str, value: float, zero: bool = False) -> None:
    """Raise a `ValueError` unless `value` lies between 0 and 1, or is 0 where it may."""
    if not (0 < value < 1 or (zero and value == 0)):
        allowed = "in [0, 1)" if zero else "strictly between 0 and 1"
        raise ValueError(f"{name} must lie {allowed}, got {value!r}")


def check_range(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise a `ValueError` unless `value` is at least `least`, and at most `most`."""
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")

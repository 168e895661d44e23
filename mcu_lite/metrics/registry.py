"""The registry of metrics, and the outputs of models that metrics are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
from torch import Tensor

from mcu_lite.checks import SPLITS, check_choice, checked
from mcu_lite.models.architecture import Architecture
from mcu_lite.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Source:
    """The models behind `Outputs`, rows (M, P), and which split `b` of a task they are measured on.

    For metrics that need more than the logits.
    """

    architecture: Architecture
    rows: Tensor
    task: Task
    b: int


@checked
@dataclass(frozen=True)
class Outputs:
    """The logits of M models on one seed's split of a task, as NumPy arrays.

    Parameters
    ----------
    logits : dict of arrays, shape (M, k, classes)
        By split. Of texts the k tokens that have a label, one text after the other; else k = n.
    labels : dict of int arrays, shape (k,)
        By split; in addition "nonmember": observed labels of the test images.
    oracle, incompetent : Outputs, optional
        Of one retrained model, and of a freshly initialised one.
    starts : dict of int arrays, shape (n,), optional
        Where each text begins among the k tokens.
    source : Source, optional

    Metrics share the arrays, which cannot be written into.
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    oracle: Outputs | None = None
    incompetent: Outputs | None = None
    starts: dict[str, np.ndarray] | None = None
    source: Source | None = None
    cache: dict = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("logits", "labels", "starts"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))
        both = [self, self.oracle] if self.oracle else [self]
        if len(classes := {z.shape[-1] for own in both for z in own.logits.values()}) > 1:
            raise ValueError(f"oracle must have as many classes as models, got {sorted(classes)}")

    @cached_property
    def log_p(self) -> dict[str, np.ndarray]:
        """Log-probabilities by split, shape (M, k, classes)."""
        found = {}
        for split, logits in self.logits.items():
            # With the classes first in memory, sums over few of them run along many examples.
            own = np.ascontiguousarray(np.moveaxis(logits, -1, 0))
            with np.errstate(invalid="ignore"):  # of outputs that are not finite
                own = own - own.max(0)
                own -= np.log(np.exp(own).sum(0))
            found[split] = np.moveaxis(own, 0, -1)
        return _read_only(found)

    @cached_property
    def diverged(self) -> np.ndarray:
        """Models with an output that is not finite, on any split, shape (M,) of bool.

        Whatever is measured of them is missing (NaN).
        """
        return ~np.logical_and.reduce([np.isfinite(z).all((1, 2)) for z in self.log_p.values()])

    def hits(self, split: str) -> np.ndarray:
        """Whether each label is the most probable class, shape (M, k) of bool."""
        return self.logits[split].argmax(-1) == self.labels[split]

    def right(self, split: str) -> np.ndarray:
        """Whether an example is a hit, a text with all its tokens, shape (M, n) of bool."""
        hits = self.hits(split)
        return hits if self.starts is None else np.minimum.reduceat(hits, self.starts[split], -1)

    def loss(self, split: str, labels: str | None = None) -> np.ndarray:
        """Cross-entropy of each example in nats, shape (M, n)."""
        wanted = self.labels[labels or split]
        lost = -np.take_along_axis(self.log_p[split], wanted[None, :, None], -1)[..., 0]
        return self.by_example(lost, split)

    def by_example(self, values: np.ndarray, split: str) -> np.ndarray:
        """Mean over the tokens of each text, shape (..., k) to (..., n)."""
        if self.starts is None:
            return values
        starts = self.starts[split]
        return np.add.reduceat(values, starts, -1) / np.diff(starts, append=values.shape[-1])

    def cached(self, function: Reading, split: str) -> np.ndarray:
        """``function(self, split)``, computed when first used and shared by all metrics."""
        if (function, split) not in self.cache:
            self.cache[function, split] = _read_only({split: function(self, split)})[split]
        return self.cache[function, split]


def _read_only(arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    # Views that cannot be written into.
    return arrays and {name: np.broadcast_to(a, a.shape) for name, a in arrays.items()}


Reading = Callable[[Outputs, str], np.ndarray]


@checked
@dataclass(frozen=True)
class Metric:
    """A metric as `metric` registers it: `function` of (Outputs, split) gives an array (M,)."""

    name: str
    label: str
    function: Reading
    splits: tuple[str, ...]
    better: str
    needs_oracle: bool = False
    needs_texts: bool = False
    needs_incompetent: bool = False
    slow: bool = False


METRICS: dict[str, Metric] = {}
OPTIONS = [f.name for f in fields(Metric) if f.default is False]


def metric(
    name: str,
    label: str,
    better: str,
    splits: tuple[str, ...] = SPLITS,
    *,
    version: str = "",
    **more: bool,
) -> Callable[[Reading], Reading]:
    """Register a function of (outputs, split) as a metric.

    The function gets the `Outputs` of M models on one seed and the name of a split, and
    returns one number a model, shape (M,).

    Parameters
    ----------
    name, label : str
        In tables and on axes.
    better : {"higher", "lower", "oracle"}
        For readers: which direction is better on the retain set; "oracle" if the retrained model
        is the goal.
    splits : tuple of str
        On which it is measured.
    version : str
        Change it when code that the function calls has changed: see `mcu_lite.run`.
    **more : bool
        ``needs_oracle``, ``needs_incompetent``, ``needs_texts``: applies only where there are
        retrained models, freshly initialised ones, or texts; ``slow``: only computed if named.

    Raises
    ------
    ValueError
        For an unknown direction, split or option.

    Examples
    --------
    >>> @metric("confidence", "mean confidence", "oracle", ("forget",))
    ... def confidence(outputs, split):
    ...     return np.exp(outputs.log_p[split].max(-1)).mean(-1)
    >>> evaluate(theta, task, metrics=["confidence"]).value.between(0.1, 1).tolist()
    [True, True]
    >>> METRICS.pop("confidence").splits
    ('forget',)
    """
    check_choice("direction", better, ("higher", "lower", "oracle"))
    if not splits:
        raise ValueError("splits must name at least one split, got none")
    for split in splits:
        check_choice("split", split, SPLITS)
    for option in more:
        check_choice("option", option, OPTIONS)

    def register(function: Reading) -> Reading:
        METRICS[name] = Metric(name, label, function, splits, better, **more)
        if version:
            function.version = version
        return function

    return register

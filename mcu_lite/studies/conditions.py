"""What a study is made of: a setting, endpoints, and conditions, the paths between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from operator import index

from mcu_lite.checks import checked, known, seeds_of
from mcu_lite.paths.curves import CURVES, FITTED_ON
from mcu_lite.tasks.task import TASKS
from mcu_lite.unlearning.methods import METHODS, RECIPE, check_switches


def whole(name: str, value: int) -> int:
    """Return an integer of any library as Python's own."""
    try:
        return index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None


@checked
@dataclass(frozen=True)
class Setting:
    """What all conditions of a study share.

    Parameters
    ----------
    seeds : int or sequence of int
        Splits of the task, see `mcu_lite.load_task`.
    ts : int
        Evenly spaced points at which a curve is measured, at least 3.
    epochs : int
        Of training from scratch.
    steps : int
        Of fitting a curve.
    task, model : str
        Names in ``TASKS`` and ``MODELS``.
    options : dict
        Of the task. Those that are its defaults are left out: a study is the same with them.
    metrics : sequence of str, optional
        What is measured; by default as `mcu_lite.evaluate` does.
    device : str
        Where everything is computed, such as "cuda". Results are kept on the CPU.
    """

    seeds: int | Sequence[int] = 5
    ts: int = 41
    epochs: int = 100
    steps: int = 150
    task: str = "digits"
    model: str = "mlp"
    options: dict = field(default_factory=dict, hash=False)
    metrics: Sequence[str] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("ts", "epochs", "steps"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.ts < 3:
            raise ValueError(f"ts must be at least 3, both ends and a point between, got {self.ts}")
        if not (self.epochs >= 0 and self.steps >= 0):
            raise ValueError(
                f"epochs and steps must be >= 0, got epochs={self.epochs}, steps={self.steps}"
            )
        if isinstance(self.metrics, str):
            raise ValueError(f"metrics must be several names, or None, got {self.metrics!r}")
        if self.metrics is not None:
            object.__setattr__(self, "metrics", tuple(self.metrics))
        seeds = self.seeds if isinstance(self.seeds, Sequence) else whole("seeds", self.seeds)
        object.__setattr__(self, "seeds", seeds if isinstance(seeds, int) else tuple(seeds))
        seeds_of(self.seeds)
        defaults = signature(TASKS[known("task", self.task, TASKS)]).parameters
        own = {
            k: v for k, v in self.options.items() if k not in defaults or defaults[k].default != v
        }
        if arrays := [k for k, v in own.items() if hasattr(v, "shape")]:
            raise ValueError(f"options must be plain values, which have names, got arrays {arrays}")
        object.__setattr__(self, "options", own)


PROFILES = {
    "ci": Setting(seeds=2, ts=11, epochs=40, steps=40),
    "book": Setting(seeds=5, ts=21, steps=100),
    "full": Setting(seeds=20, ts=41),
}
"""How much a run of the book computes; its chapters get the name only."""


def load_profile(name: str, **changes) -> Setting:
    """Return a profile of ``PROFILES`` by name, with some fields changed.

    Examples
    --------
    >>> load_profile("book", ts=41, options={"forget": 0.1, "forget_class": 3}).options
    {'forget_class': 3}
    """
    return replace(PROFILES[known("profile", name, PROFILES)], **changes)


@checked
@dataclass(frozen=True)
class Endpoint:
    """How one end of a path came about.

    Parameters
    ----------
    method : str
        A name in ``METHODS``, or "original" for θo itself.
    seed : int
        Of the order of the data (and of the initialisation, where the method retrains).
    curriculum : float
        λ of SuperLoss, relative to the scale of the losses; 0 for none.
    order : {1, 2}
        First-order (AdamW) or second-order (Sophia).
    lr, steps, forget_weight : optional
        In place of the method's own recipe.

    Examples
    --------
    >>> print(Endpoint("npo", seed=1, curriculum=1.0, order=2))
    npo seed=1 curriculum=1 order=2
    """

    method: str = "npo"
    seed: int = 0
    curriculum: float = 0.0
    order: int = 1
    lr: float | None = None
    steps: int | None = None
    forget_weight: float | None = None

    def __post_init__(self) -> None:
        known("method", self.method, ["original", *METHODS])
        object.__setattr__(self, "seed", whole("seed", self.seed))
        if self.steps is not None:
            object.__setattr__(self, "steps", whole("steps", self.steps))
        own = {k: getattr(self, k) for k in RECIPE if getattr(self, k) is not None}
        for part in {"lr", "steps"} & own.keys():
            if not own[part] > 0:
                raise ValueError(f"{part} must be > 0, got {own[part]}")
        if self.method in METHODS:
            check_switches(METHODS[self.method], self.curriculum, self.order, own)
        if self.method == "original" and str(self) != "original seed=0":
            raise ValueError(f"'original' is θo itself: it takes no switch or recipe, got {self}")

    def __str__(self) -> str:
        usual = {"method": self.method, "curriculum": 0.0, "order": 1}
        own = {k: v for k, v in asdict(self).items() if v not in (None, usual.get(k))}
        return " ".join([self.method, *(f"{k}={v:g}" for k, v in own.items())])

    @property
    def recipe(self) -> dict:
        """What `mcu_lite.unlearn` needs to know beside the method's name."""
        own = {k: getattr(self, k) for k in RECIPE}
        switches = {"curriculum": self.curriculum, "order": self.order, "seed": self.seed}
        return switches | {k: v for k, v in own.items() if v is not None}


ORACLE = Endpoint("retrain", seed=99)
"""The retrained models from which the distances are measured; no path of the grid ends there."""


@checked
@dataclass(frozen=True)
class Condition:
    """Two endpoints and the curve between them.

    Parameters
    ----------
    name : str
        As in the paper: Rand, Met, CL, ...
    a, b : Endpoint
    curve : {"bezier", "linear", "chain"}
    objective : str, optional
        What the curve is fitted on. By default the objective of `a`, else of `b`; the retain
        loss if both are retrained models or the original.

    Examples
    --------
    >>> Condition("Met", Endpoint("npo"), Endpoint("finetune")).objective
    'npo'
    """

    name: str
    a: Endpoint
    b: Endpoint
    curve: str = "bezier"
    objective: str | None = None

    def __post_init__(self) -> None:
        for side in ("a", "b"):
            if not isinstance(end := getattr(self, side), Endpoint):
                raise TypeError(f"{side} must be an Endpoint, got {end!r}")
        known("curve", self.curve, CURVES)
        if self.objective is None:
            fitted = [e.method for e in (self.a, self.b) if _unlearns(e)]
            object.__setattr__(self, "objective", (fitted or ["retain"])[0])
        if self.curve == "linear":
            object.__setattr__(self, "objective", "")
        else:
            known("objective", self.objective, [*FITTED_ON, *METHODS])

    @property
    def columns(self) -> dict[str, str]:
        """What tells this condition from others in a table."""
        own = {"condition": self.name, "a": str(self.a), "b": str(self.b)}
        return own | {"curve": self.curve, "objective": self.objective}


def _unlearns(end: Endpoint) -> bool:
    return end.method in METHODS and METHODS[end.method].begins == "original"

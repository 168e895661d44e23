"""What a study is made of: a setting, endpoints, and conditions, the paths between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from math import isfinite

from mcu_lite.checks import check_choice, checked, seeds_of
from mcu_lite.metrics.registry import METRICS
from mcu_lite.models.zoo import MODELS
from mcu_lite.paths.curves import CURVES, FITTED_ON
from mcu_lite.tasks.task import TASKS, check_range
from mcu_lite.unlearning.methods import METHODS, RECIPE, check_switches

DEVICES = ("cpu", "cuda", "mps", "xpu")


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
        for name, least in {"ts": 3, "epochs": 0, "steps": 0}.items():
            check_range(name, getattr(self, name), least)
        check_choice("device", self.device.partition(":")[0], DEVICES)
        if arrays := [k for k, v in self.options.items() if hasattr(v, "shape")]:
            raise ValueError(f"options must be plain values, which have names, got arrays {arrays}")
        seeds = seeds_of(self.seeds)
        check_choice("model", self.model, MODELS)
        for name in self.metrics or ():
            check_choice("metric", name, METRICS)
        _, *parameters = signature(
            TASKS[check_choice("task", self.task, TASKS)]
        ).parameters.values()
        usual = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
        for name in self.options if len(usual) == len(parameters) else ():
            check_choice("option", name, usual)
        options = {k: v for k, v in self.options.items() if k not in usual or usual[k] != v}
        object.__setattr__(self, "seeds", self.seeds if isinstance(self.seeds, int) else seeds)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "metrics", self.metrics and tuple(self.metrics))


PROFILES = {
    "ci": Setting(seeds=2, ts=11, epochs=40, steps=40),
    "book": Setting(seeds=5, ts=21, steps=100),
    "full": Setting(seeds=20, ts=41),
}
"""How much a run of the book computes; its chapters get the name only."""


def load_profile(name: str, **changes) -> Setting:
    """Return a profile, with some fields changed.

    Parameters
    ----------
    name : str
        One of ``PROFILES``.
    **changes
        Fields of `Setting`.

    Examples
    --------
    >>> load_profile("book", ts=41, options={"forget": 0.1, "forget_class": 3}).options
    {'forget_class': 3}
    """
    return replace(PROFILES[check_choice("profile", name, PROFILES)], **changes)


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
    curriculum : float or {"easy_to_hard", "hard_to_easy"}
        λ of SuperLoss, relative to the scale of the losses, or an order; 0 for none.
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
    curriculum: float | str = 0.0
    order: int = 1
    lr: float | None = None
    steps: int | None = None
    forget_weight: float | None = None

    def __post_init__(self) -> None:
        check_choice("method", self.method, ["original", *METHODS])
        check_range("seed", self.seed, 0)
        for name, value in self.recipe.items():
            if not isinstance(value, str) and not isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
        if self.method in METHODS:
            changes = {k: v for k, v in self.recipe.items() if k in RECIPE}
            own = replace(METHODS[self.method], **changes)
            check_switches(own, self.curriculum, self.order, changes)
        elif str(self) != "original seed=0":
            raise ValueError(f"'original' is θo itself: it takes no switch or recipe, got {self}")

    def __str__(self) -> str:
        usual = {("curriculum", 0.0), ("order", 1)}
        own = [(k, v) for k, v in self.recipe.items() if (k, v) not in usual]
        said = [f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in own]
        return " ".join([self.method, *said])

    @property
    def recipe(self) -> dict:
        """What `mcu_lite.unlearn` needs to know beside the method's name."""
        return {k: v for k, v in asdict(self).items() if k != "method" and v is not None}


ORIGINAL = Endpoint("original")
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
        check_choice("curve", self.curve, CURVES)
        if self.objective is None:
            ends = [end.method for end in (self.a, self.b) if end.method in METHODS]
            fitted = [m for m in ends if METHODS[m].begins == "original"]
            object.__setattr__(self, "objective", (fitted or ["retain"])[0])
        if self.curve == "linear":
            object.__setattr__(self, "objective", "")
        else:
            check_choice("objective", self.objective, [*FITTED_ON, *METHODS])

    @property
    def columns(self) -> dict[str, str]:
        """What tells this condition from others in a table."""
        ends = [self.a.method, self.b.method]
        # First the one that unlearned; of two, that of a.
        ends.sort(key=lambda m: m not in METHODS or METHODS[m].begins != "original")
        own = {"condition": self.name, "a": str(self.a), "b": str(self.b)}
        own |= {"curve": self.curve, "objective": self.objective}
        return own | dict(zip(("method", "other"), ends))

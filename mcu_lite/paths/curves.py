"""A curve is a product: points at T values of t are W(t) @ control points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import comb

import numpy as np
import torch
from torch import Tensor, nn

from mcu_lite.checks import check_choice, checked
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.seeding import generators
from mcu_lite.models.stack import Stack
from mcu_lite.paths.functions import function_objective
from mcu_lite.paths.inequalities import INEQUALITIES, inequality_objective
from mcu_lite.paths.selection import best
from mcu_lite.tasks.task import Task, check_rows
from mcu_lite.training.descent import descend, stream
from mcu_lite.unlearning.methods import METHODS
from mcu_lite.unlearning.objectives import Objective, retain_objective, unlearning_objective


def bezier_weights(t: Tensor, points: int) -> Tensor:
    """Bernstein polynomials: weights of `points` control points at each t, shape (..., points)."""
    n = points - 1
    return torch.stack([comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(points)], dim=-1)


def chain_weights(t: Tensor, points: int) -> Tensor:
    """Hat functions of a polygonal chain with equally long intervals of t, shape (..., points)."""
    knots = torch.arange(points, dtype=t.dtype, device=t.device)
    return (1 - (t.unsqueeze(-1) * (points - 1) - knots).abs()).clamp(min=0)


def spaced(ts: int | Sequence[float]) -> np.ndarray:
    """Evenly spaced points of [0, 1], if their number is given; else the points themselves."""
    ts = np.linspace(0, 1, max(ts, 0)) if isinstance(ts, int) else np.asarray(ts, dtype=float)
    if not ts.size:
        raise ValueError("ts must hold at least one t, got none")
    return ts


FITTED_ON = ("retain", *INEQUALITIES)
"""What curves are fitted on beside the objectives of methods."""
STARTS = ("chord", "original")
CHECKPOINTS = 10
"""States of a fit that `select` chooses from, beside the last one."""
CURVES = {"linear": bezier_weights, "bezier": bezier_weights, "chain": chain_weights}


@checked
@dataclass(frozen=True)
class Path:
    """B curves in weight space, from row b of one stack to row b of another.

    Parameters
    ----------
    kind : {"linear", "bezier", "chain"}
    control : Tensor, shape (K, B, P)
        Control points; the first and the last are the endpoints.
    architecture : Architecture
    diverged : Tensor of bool, shape (B,)
        Curves of which an endpoint or the fit diverged.
    objective : str
        What the inner control points were fitted on; "" if nothing was.

    Examples
    --------
    >>> path.rows([0, 0.25, 1]).shape
    torch.Size([3, 2, 26122])
    >>> torch.equal(path.rows([0.0])[0], a.rows)
    True
    >>> path.arc_length([0, 0.5, 1])[0].tolist()
    [0.0, 0.0]
    """

    kind: str
    control: Tensor
    architecture: Architecture
    diverged: Tensor
    objective: str = ""

    def __repr__(self) -> str:
        points, b, p = self.control.shape
        fitted = f" fitted on {self.objective}" if self.objective else ""
        return f"{self.kind}{fitted}: {b} curves of {points} control points of {p:,} numbers"

    def rows(self, ts: Tensor | Sequence[float]) -> Tensor:
        """Models at each t in [0, 1], shape (T, B, P)."""
        t = torch.as_tensor(ts, dtype=torch.float64, device="cpu")
        if t.ndim != 1 or not ((t >= 0) & (t <= 1)).all():
            raise ValueError(f"ts must be a list of numbers in [0, 1], got {ts}")
        weights = CURVES[self.kind](t, len(self.control)).to(self.control)
        # Below an autocast models are computed in less precision, but not made of it.
        with torch.autocast(weights.device.type, enabled=False):
            return torch.tensordot(weights, self.control, dims=1)

    def part(self, which: slice) -> Path:
        """Return some of the B curves."""
        return replace(self, control=self.control[:, which], diverged=self.diverged[which])

    def stack_at(self, t: float) -> Stack:
        """Return the B models at t as a stack."""
        rows = self.rows([t])[0]
        rows[self.diverged] = torch.nan
        return Stack(self.architecture, rows, f"{self.kind} at t={t:g}", diverged=self.diverged)

    def model_at(self, t: float, i: int = 0, inputs: Tensor | None = None) -> nn.Module:
        """Return the model at t on curve `i` as an ordinary module.

        With batch norm it needs `inputs`, retain examples to recompute the statistics from.
        """
        return self.architecture.module_at(self.rows([t])[0, i], inputs)

    def to(self, device: str | torch.device) -> Path:
        """Return the same curves on a device."""
        own = {f: getattr(self, f) for f in ("control", "architecture", "diverged")}
        return replace(self, **{f: v.to(device) for f, v in own.items()})

    def arc_length(self, ts: Tensor | Sequence[float]) -> Tensor:
        """Length of the curve from the first t to each, through the points given, shape (T, B)."""
        steps = self.rows(ts).diff(dim=0).norm(dim=-1)
        return torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])


def connect(
    a: Stack | nn.Module,
    b: Stack | nn.Module,
    task: Task | None = None,
    *,
    curve: str = "bezier",
    objective: str | Objective | Callable[[Callable], Tensor] | None = None,
    bends: int = 1,
    steps: int = 150,
    lr: float = 5e-3,
    sampling: str = "uniform",
    start: str | Stack = "chord",
    select: Callable[[Path], Tensor] | None = None,
    seed: int = 0,
) -> Path:
    """Connect two stacks of models, or two ordinary modules.

    Parameters
    ----------
    a, b : Stack or nn.Module
        Endpoints at t=0 and t=1, of one architecture. An objective that compares with the
        original model takes the ``origin`` of `a`, else of `b`; without any it takes `a` itself.
    task : Task, optional
        Needed when `objective` is a name.
    curve : {"linear", "bezier", "chain"}
        A linear curve has nothing to fit.
    objective : str, Objective or function
        What the inner control points minimise in expectation over t. The name of an
        unlearning method stands for its whole objective, retain and forget term; "retain" for
        the retain loss alone. "connected" adds to it how far the forget loss lies below the
        straight line between its end values at that t, so that both inequalities of the
        definition are known; "two_sided" how far it lies from the line. A function gets one
        model, callable as the module is, and returns a scalar loss; it draws its own data.
    bends : int
        Inner control points: 1 for the quadratic Bézier curve of the paper.
    steps, lr
        AdamW with linear decay.
    sampling : {"uniform", "normal"}
        t ~ U(0, 1) as in Garipov et al. (2018), or N(0.5, 0.1) clipped to [0, 1], as in the
        public code of Cheng and Amiri.
    start : {"chord", "original"} or Stack
        Where inner control points start: evenly spaced on the chord, or all at the original model
        as in the public code of Cheng and Amiri, or at models of your own.
    select : function, optional
        Score of each curve of a path, shape (B,). Of ten states of the fit, evenly spaced, and the
        last one, each curve is returned in that of its highest score; by default, and where every
        score is NaN, in the last. Curves that diverged stay so.
    seed : int

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For an unknown curve, objective or sampling, endpoints of different architecture or
        number, an objective that is missing, or that or a `select` that gives no number a curve.

    Examples
    --------
    >>> path = connect(a, b, task, objective="npo", steps=5)
    >>> path.kind, path.objective, tuple(path.control.shape)
    ('bezier', 'npo', (3, 2, 26122))

    Two ordinary modules, and a loss of one's own:

    >>> x, y = torch.randn(20, 3), torch.arange(20) % 2
    >>> def loss(model):
    ...     return nn.functional.cross_entropy(model(x), y)
    >>> connect(nn.Linear(3, 2), nn.Linear(3, 2), objective=loss, steps=5).model_at(0.5)
    Linear(in_features=3, out_features=2, bias=True)
    """
    check_choice("curve", curve, CURVES)
    draw_t = SAMPLING[check_choice("sampling", sampling, SAMPLING)]
    a, b = (m if isinstance(m, Stack) else Stack.of(m) for m in (a, b))
    a.architecture.check_same(b.architecture, "a and b have different architectures")
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} models, b has {len(b)}")
    if bends < 1:
        raise ValueError(f"bends must be at least 1, got {bends}")
    diverged = a.diverged | b.diverged
    if curve == "linear":
        return Path(curve, torch.stack([a.rows, b.rows]), a.architecture, diverged)

    objective = _objective(objective, a, b, task)
    # Not the batches on which `a` was unlearned, which `b` has not seen.
    fit = stream("curve", seed)
    loss = objective.start(fit, steps)
    rngs = generators("t along the curve", seed, range(len(a)) if task is None else task.seeds)
    ends = torch.stack([a.rows, b.rows], 1)
    begin, states = _begin(start, a, b, bends), []
    at = {k * steps // CHECKPOINTS for k in range(CHECKPOINTS)} if select else ()
    step = count()

    def loss_on_curve(inner: Tensor) -> Tensor:
        if next(step) in at:
            states.append(inner.detach().clone())
        t = torch.stack([draw_t(rng) for rng in rngs]).to(a.rows)
        rows = _blend(CURVES[curve](t, bends + 2), ends, inner)
        return loss(rows, t) if objective.along else loss(rows)

    inner, lost = descend(
        begin,
        loss_on_curve,
        steps=steps,
        lr=lr,
        weight_decay=0.0,
        draws=objective.draws,
        seed=fit,
        label=f"fitting on {objective.name}",
    )

    def path(inner: Tensor) -> Path:
        control = torch.stack([a.rows, *inner.unbind(1), b.rows])
        return Path(curve, control, a.architecture, diverged | lost, objective.name)

    if select:
        inner = best([*states, inner], lambda own: select(path(own)), lost)
    return path(inner)


def _begin(start: str | Stack, a: Stack, b: Stack, bends: int) -> Tensor:
    """Inner control points before the fit, shape (B, bends, P)."""
    if isinstance(start, str) and check_choice("start", start, STARTS) == "chord":
        chord = torch.linspace(0, 1, bends + 2)[1:-1].view(1, -1, 1).to(a.rows)
        return a.rows.unsqueeze(1) * (1 - chord) + b.rows.unsqueeze(1) * chord
    models = a.origin or b.origin if isinstance(start, str) else start
    if models is None or models.rows.shape != a.rows.shape:
        raise ValueError(
            f"start must be 'chord', 'original' if a or b has an origin, or {len(a)} models of "
            f"their architecture, got {start!r}"
        )
    return models.rows.unsqueeze(1).repeat(1, bends, 1)


def _blend(weights: Tensor, ends: Tensor, inner: Tensor) -> Tensor:
    """Row b at its own t: weights (B, K), ends (B, 2, P) and inner control points (B, K-2, P)."""
    weights = weights.unsqueeze(1)
    with torch.autocast(ends.device.type, enabled=False):
        # Two allocations in all: at these sizes memory costs more than arithmetic.
        return (weights[..., [0, -1]] @ ends).baddbmm_(weights[..., 1:-1], inner).squeeze(1)


SAMPLING = {
    "uniform": lambda rng: torch.rand((), generator=rng),
    "normal": lambda rng: (0.5 + 0.1 * torch.randn((), generator=rng)).clamp(0, 1),
}


def _objective(objective, a: Stack, b: Stack, task: Task | None) -> Objective:
    if task is not None:
        check_rows(a, task, "a")
    if isinstance(objective, Objective):
        models = objective.models
        if models not in (None, len(a)):
            raise ValueError(
                f"objective {objective.name!r} is one of {models} models, not {len(a)}"
            )
        return objective
    if callable(objective):
        return function_objective(objective, a.architecture)
    if objective is None or task is None:
        raise ValueError("objective must be a function, or a name that comes with a task")
    theta = a.origin or b.origin or a
    if check_choice("objective", objective, [*FITTED_ON, *METHODS]) == "retain":
        return retain_objective(theta, task)
    if objective in INEQUALITIES:
        return inequality_objective(objective, a, b, task)
    return unlearning_objective(objective, theta, task)

"""A model is a row: populations of one architecture as a tensor of flat parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from mcu_lite.checks import checked
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.seeding import generators, seeded


@checked
@dataclass(frozen=True)
class Stack:
    """B models of one architecture, one per split of a task.

    Parameters
    ----------
    architecture : Architecture
    rows : Tensor, shape (B, P)
    label : str
        What the models are, for tables and figures.
    initial : Tensor, shape (B, P), optional
        The rows from which training started, where they are known.
    origin : Stack, optional
        The original models θo from which these were unlearned.
    diverged : Tensor of bool, shape (B,), optional
        Rows whose training left the finite numbers. They hold NaN and are kept
        out of every mean.
    spread : Tensor, shape (B, 2), optional
        The 5 % and 95 % quantiles of the weights that a curriculum gave to examples.

    Raises
    ------
    ValueError
        If the shapes disagree, or a row that is not marked as diverged holds NaN or infinity.

    Examples
    --------
    >>> stack = Stack.of(nn.Linear(3, 2), nn.Linear(3, 2), label="linear")
    >>> stack.rows.shape
    torch.Size([2, 8])
    >>> stack.module(1)
    Linear(in_features=3, out_features=2, bias=True)
    >>> print(stack.report())
    linear: 2 models, none diverged
    """

    architecture: Architecture
    rows: Tensor
    label: str = "model"
    initial: Tensor | None = None
    origin: Stack | None = None
    diverged: Tensor | None = None
    spread: Tensor | None = None

    def __post_init__(self) -> None:
        b, size = self.rows.shape[:1].numel(), self.architecture.size
        if self.diverged is None:
            none = torch.zeros(b, dtype=torch.bool, device=self.rows.device)
            object.__setattr__(self, "diverged", none)
        shapes = {"rows": (b, size), "initial": (b, size), "diverged": (b,), "spread": (b, 2)}
        for name, shape in shapes.items():
            part, kinds = getattr(self, name), "bool" if name == "diverged" else "float32 float64"
            found = part if part is None else (tuple(part.shape), str(part.dtype).split(".")[1])
            if found and (found[0] != shape or found[1] not in kinds.split()):
                raise ValueError(f"{name} must have shape {shape}, of {kinds}, got {found}")
        if self.origin is not None and len(self.origin) != b:
            raise ValueError(f"origin is of {len(self.origin)} models, rows are of {b}")
        broken = ~self.rows.isfinite().all(dim=1) & ~self.diverged
        if broken.any():
            where = broken.nonzero().flatten().tolist()
            raise ValueError(f"rows hold NaN or infinite weights in models {where}")

    @classmethod
    def of(cls, *modules: nn.Module, label: str = "model") -> Stack:
        """Stack ordinary modules of one architecture."""
        if not modules:
            raise ValueError("modules must hold at least one nn.Module, got none")
        architecture = Architecture(modules[0])
        for i, module in enumerate(modules[1:], 1):
            architecture.check_same(Architecture(module), f"module {i} is unlike the first")
        return cls(architecture, torch.stack([architecture.row(m) for m in modules]), label)

    @classmethod
    def cat(cls, stacks: Sequence[Stack]) -> Stack:
        """Put several stacks of one architecture under one another.

        Kept are the rows, which of them diverged, their origins and the label of the first stack;
        initial rows and spreads are not.
        """
        if not stacks:
            raise ValueError("stacks must hold at least one Stack, got none")
        first = stacks[0]
        for i, stack in enumerate(stacks[1:], 1):
            first.architecture.check_same(stack.architecture, f"stack {i} is unlike the first")
        rows, diverged = (torch.cat([getattr(s, f) for s in stacks]) for f in ("rows", "diverged"))
        origin = None
        if any(s.origin for s in stacks):
            origin = cls.cat([replace(s.origin or s, origin=None) for s in stacks])
        return cls(first.architecture, rows, first.label, origin=origin, diverged=diverged)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{self.report()}; {self.rows.shape[1]:,} numbers each"

    def module(self, i: int = 0, inputs: Tensor | None = None) -> nn.Module:
        """Return model `i` as an ordinary module; `inputs` as in `Architecture.module_at`."""
        return self.architecture.module_at(self.rows[i], inputs)

    def to(self, device: str | torch.device) -> Stack:
        """Return the same models on a device, themselves if they are there."""
        if self.rows.device == torch.device(device):
            return self
        moved = {name: v.to(device) for name, v in vars(self).items() if hasattr(v, "to")}
        return replace(self, **moved)

    def report(self) -> str:
        """Say in a sentence how many rows diverged."""
        lost = int(self.diverged.sum())
        return f"{self.label}: {len(self)} models, {lost or 'none'} diverged"

    def with_rows(self, rows: Tensor, **changes) -> Stack:
        """Return a copy that holds other rows of the same architecture."""
        return replace(self, rows=rows, **changes)


def architecture_of(build: Callable[[], nn.Module]) -> Architecture:
    """Architecture of the modules that `build` returns; what is frozen is always drawn alike."""
    with seeded(0):
        try:
            module = build()
        except TypeError as error:
            raise TypeError(f"model must be callable without arguments: {error}") from error
        return Architecture(module, build)


def initial_rows(architecture: Architecture, seed: int, seeds: Sequence[int]) -> Tensor:
    """Freshly initialised rows, one for each of `seeds`, shape (B, P).

    The global random state is left as it was found.
    """
    rows = []
    for generator in generators("initial", seed, seeds):
        with seeded(generator.initial_seed()):
            rows.append(architecture.row(architecture.fresh()))
    return torch.stack(rows)


INCOMPETENT_SEED = 77_777


@lru_cache(maxsize=1)
def incompetent_rows(architecture: Architecture, seeds: tuple[int, ...]) -> Tensor:
    """Freshly initialised rows (B, P); the curves of a stack, measured in turn, share them."""
    return initial_rows(architecture, INCOMPETENT_SEED, seeds)

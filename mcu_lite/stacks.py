"""A model is a row: populations of one architecture as a tensor of flat parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


@dataclass(frozen=True)
class Architecture:
    """How a row of P numbers becomes a module.

    Only parameters with ``requires_grad`` enter the row; frozen parameters and
    buffers are shared by all rows.

    Parameters
    ----------
    module : nn.Module
        A template; it is copied and never changed.

    Raises
    ------
    ValueError
        If the module has no trainable parameter, or keeps running statistics
        (batch norm), which a row cannot carry.

    Examples
    --------
    >>> architecture = Architecture(nn.Linear(3, 2))
    >>> architecture.size, architecture.names
    (8, ('weight', 'bias'))
    >>> architecture.logits(torch.zeros(5, 8), torch.ones(4, 3), shared=True).shape
    torch.Size([5, 4, 2])
    """

    module: nn.Module
    names: tuple[str, ...] = field(init=False)
    shapes: tuple[torch.Size, ...] = field(init=False)

    def __post_init__(self) -> None:
        trainable = {n: p.shape for n, p in self.module.named_parameters() if p.requires_grad}
        if not trainable:
            raise ValueError("module has no trainable parameter")
        if any(name.endswith("running_mean") for name, _ in self.module.named_buffers()):
            raise ValueError(
                "module keeps running statistics (batch norm); use GroupNorm or LayerNorm instead"
            )
        object.__setattr__(self, "module", copy.deepcopy(self.module))
        object.__setattr__(self, "names", tuple(trainable))
        object.__setattr__(self, "shapes", tuple(trainable.values()))

    @property
    def size(self) -> int:
        """Number of trainable parameters P."""
        return sum(shape.numel() for shape in self.shapes)

    def row(self, module: nn.Module) -> Tensor:
        """Flatten the trainable parameters of `module` into a tensor of shape (P,)."""
        own = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if tuple(own) != self.names or tuple(p.shape for p in own.values()) != self.shapes:
            raise ValueError(
                "module has another architecture: its trainable parameters are "
                f"{_shapes(own)}, expected {_shapes(dict(zip(self.names, self.shapes)))}"
            )
        return torch.cat([p.detach().reshape(-1) for p in own.values()])

    def module_at(self, row: Tensor) -> nn.Module:
        """Return an ordinary module whose trainable parameters are `row`, shape (P,)."""
        module = copy.deepcopy(self.module)
        own = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in self.named(row.detach()).items():
                own[name].copy_(value)
        return module

    def fresh(self) -> nn.Module:
        """Return a copy whose parameters are drawn anew, by each layer's own rule."""
        module = copy.deepcopy(self.module)
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
            elif next(layer.parameters(recurse=False), None) is not None:
                raise ValueError(
                    f"module cannot be initialised anew: {type(layer).__name__} has parameters "
                    "but no reset_parameters()"
                )
        return module

    def evaluating(self) -> Architecture:
        """Return the same architecture without dropout, for measurements."""
        return Architecture(copy.deepcopy(self.module).eval())

    def logits(self, rows: Tensor, inputs: Tensor, shared: bool = False) -> Tensor:
        """Outputs of B models at once.

        Parameters
        ----------
        rows : Tensor, shape (B, P)
        inputs : Tensor, shape (B, n, ...), or (n, ...) if `shared`
            One batch for each model, or one batch that all of them see.
        shared : bool
            Whether all models see the same inputs.

        Returns
        -------
        Tensor, shape (B, n, classes)
        """

        def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.module, parameters, (x,))

        if shared:
            # A large batch keeps the processor busy: batching the models only costs memory.
            return torch.stack([one(self.named(row), inputs) for row in rows])
        return vmap(one, randomness="different")(self.named(rows), inputs)

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """View rows (..., P) by parameter name, each in its shape after the leading one."""
        parts = rows.split([shape.numel() for shape in self.shapes], dim=-1)
        lead = rows.shape[:-1]
        return {n: part.reshape(*lead, *s) for n, s, part in zip(self.names, self.shapes, parts)}


def _shapes(parameters: dict) -> str:
    return ", ".join(f"{n} {tuple(getattr(p, 'shape', p))}" for n, p in parameters.items())


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
        Smallest and largest weight that a curriculum gave to an example.

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
        if self.rows.ndim != 2 or self.rows.shape[1] != self.architecture.size:
            raise ValueError(
                f"rows must have shape (B, {self.architecture.size}), got {tuple(self.rows.shape)}"
            )
        if self.diverged is None:
            object.__setattr__(self, "diverged", torch.zeros(len(self.rows), dtype=torch.bool))
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
        return cls(architecture, torch.stack([architecture.row(m) for m in modules]), label)

    @classmethod
    def cat(cls, stacks: Sequence[Stack]) -> Stack:
        """Put several stacks of one architecture under one another, with their origins."""
        first = stacks[0]
        rows, diverged = (torch.cat([getattr(s, f) for s in stacks]) for f in ("rows", "diverged"))
        origins = [s.origin or s for s in stacks] if any(s.origin for s in stacks) else None
        return cls(
            first.architecture,
            rows,
            first.label,
            origin=origins and cls.cat([replace(o, origin=None) for o in origins]),
            diverged=diverged,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def module(self, i: int = 0) -> nn.Module:
        """Return model `i` as an ordinary module."""
        return self.architecture.module_at(self.rows[i])

    def report(self) -> str:
        """Say in a sentence how many rows diverged."""
        lost = int(self.diverged.sum())
        return f"{self.label}: {len(self)} models, {lost or 'none'} diverged"

    def with_rows(self, rows: Tensor, **changes) -> Stack:
        """Return a copy that holds other rows of the same architecture."""
        return replace(self, rows=rows, **changes)


def architecture_of(build: Callable[[], nn.Module]) -> Architecture:
    """Architecture of the modules that `build` returns; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        return Architecture(build())


def initial_rows(build: Callable[[], nn.Module], seed: int, seeds: Sequence[int]) -> Tensor:
    """Freshly initialised rows, one for each of `seeds`, shape (B, P).

    The global random state is left as it was found.
    """
    rows = []
    with torch.random.fork_rng(devices=[]):
        architecture = Architecture(build())
        for generator in generators("initial", seed, seeds):
            torch.manual_seed(generator.initial_seed())
            rows.append(architecture.row(build()))
    return torch.stack(rows)


def generators(purpose: str, seed: int, seeds: Sequence[int]) -> list[torch.Generator]:
    """One independent random generator a row, named by its purpose and two seeds.

    A row's numbers depend on its own seed only, so that a stack of 20 starts
    with the very rows of a stack of 5.
    """
    names = [np.random.SeedSequence([crc32(purpose.encode()), seed, s]) for s in seeds]
    return [
        torch.Generator().manual_seed(int(n.generate_state(1, np.uint64)[0] >> 1)) for n in names
    ]

"""A loss of the user's own as an objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.templates import apart, copied
from mcu_lite.unlearning.objectives import Objective


def function_objective(function: Callable, architecture: Architecture) -> Objective:
    """Call a user's loss model by model: it may do anything, so it is not vectorised."""
    name = getattr(function, "__name__", "function")
    applied = _Applied(function, copied(architecture.module))

    def one(row: Tensor) -> Tensor:
        own = row.detach().requires_grad_()
        named = {f"module.{n}": v for n, v in architecture.named(own).items()}
        value, gradient = functional_call(applied, named, (own,))
        if not isinstance(value, Tensor) or value.ndim:
            got = getattr(value, "shape", value)
            raise ValueError(f"objective {name!r} must return a scalar tensor, got {got}")
        value = value.detach()
        return value if gradient is None else value + gradient @ (row - own.detach())

    def loss(rows: Tensor) -> Tensor:
        return torch.stack([one(row) for row in rows])

    return Objective(name, lambda seed, steps: loss)


class _Applied(nn.Module):
    """A function of a module as a module, so that its parameters are swapped while it runs.

    The gradient is computed inside as well: checkpointing computes layers again for it.
    """

    def __init__(self, function: Callable, module: nn.Module) -> None:
        super().__init__()
        self.function, self.module = function, module
        # A module that writes into what it is given would change the user's data.
        module.register_forward_pre_hook(
            lambda _, *given: tree_map_only(Tensor, Tensor.clone, given), with_kwargs=True
        )

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor | None]:
        before = {n: buffer.clone() for n, buffer in self.module.named_buffers()}
        value, gradient = self.function(self.module), None
        if names := apart(before, dict(self.module.named_buffers())):
            raise ValueError(f"module changes its buffer {names[0]!r}, which a row cannot carry")
        if isinstance(value, Tensor) and value.requires_grad and not value.ndim:
            (gradient,) = torch.autograd.grad(value, row, allow_unused=True)
        return value, gradient

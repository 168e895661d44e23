"""A loss of the user's own as an objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.templates import copied
from mcu_lite.unlearning.objectives import Objective


def function_objective(function: Callable, architecture: Architecture) -> Objective:
    """Call a user's loss model by model: it may do anything, so it is not vectorised."""
    name = getattr(function, "__name__", "function")
    applied = _Applied(function, copied(architecture.module))

    def one(row: Tensor) -> Tensor:
        named = {f"module.{n}": v for n, v in architecture.named(row).items()}
        value = functional_call(applied, named, ())
        if not isinstance(value, Tensor) or value.ndim:
            got = getattr(value, "shape", value)
            raise ValueError(f"objective {name!r} must return a scalar tensor, got {got}")
        return value

    def loss(rows: Tensor) -> Tensor:
        return torch.stack([one(row) for row in rows])

    return Objective(name, lambda seed, steps: loss)


class _Applied(nn.Module):
    """A function of a module as a module, so that its parameters are swapped while it runs."""

    def __init__(self, function: Callable, module: nn.Module) -> None:
        super().__init__()
        self.function, self.module = function, module

    def forward(self) -> Tensor:
        return self.function(self.module)

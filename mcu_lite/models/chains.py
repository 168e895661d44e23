"""Chains of dense layers on a stack of models: products of stacked matrices, without `vmap`.

The numbers are those of `torch.func.vmap` up to rounding; small stacks take a third less time.
"""

from __future__ import annotations

from collections.abc import Collection, ItemsView

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity)
"""Layers that treat every number alike, whatever the shape."""


def is_chain(module: nn.Module, names: Collection[str]) -> bool:
    """Whether a module flattens its input or not, and is dense and elementwise layers from there.

    Parameters
    ----------
    module : nn.Module
    names : collection of str
        Its trainable parameters: a layer with a frozen one makes no chain.
    """
    if type(module) is not nn.Sequential or not names:
        return False
    if any(m._forward_hooks or m._forward_pre_hooks for m in module.modules()):
        return False
    layers = dict(_layers(module))
    if _flattens(module[0]):
        layers.pop(next(iter(layers)))
    # By their very types: subclasses may do anything, as may parametrised layers.
    if not {type(layer) for layer in layers.values()} <= {nn.Linear, *ELEMENTWISE}:
        return False
    dense = [name for name, layer in layers.items() if type(layer) is nn.Linear]
    # One that occurs twice has one name only, which is not found at its second place.
    return set(names) == {f"{name}.{part}" for name in dense for part in ("weight", "bias")}


def _layers(module: nn.Sequential) -> ItemsView[str, nn.Module]:
    """Layers in their order, one that occurs twice at both places, unlike `named_children`."""
    return module._modules.items()


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)


def run_chain(module: nn.Sequential, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Outputs of a chain for one model, or for B models at once.

    Parameters
    ----------
    module : nn.Sequential
        For which `is_chain` holds.
    state : dict of Tensor
        The parameters, each in its own shape, or all with a leading dimension B.
    x : Tensor, shape (n, ...), or (B, n, ...)
    """
    stacked = next(iter(state.values())).ndim > next(module.parameters()).ndim
    if type(module[0]) is nn.Flatten:
        x = x.flatten(1 + stacked)
    places = x.shape[1:-1]
    # Examples innermost: the gradient of a weight then comes as the weight lies in its row.
    x = x.flatten(1, -2).mT if stacked else x
    for name, layer in _layers(module):
        if type(layer) is nn.Linear:
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            x = torch.baddbmm(bias[..., None], weight, x) if stacked else linear(x, weight, bias)
        elif type(layer) is not nn.Flatten:
            x = layer(x)
    return x.mT.unflatten(1, places) if stacked else x

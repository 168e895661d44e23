"""Modules made from a template: copies, and copies drawn anew."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def copied(module: nn.Module, instead: dict[int, Tensor] | None = None) -> nn.Module:
    """Copy a module but share what is frozen: a backbone is held once.

    A frozen tensor whose ``id`` is in `instead` is replaced by the tensor that stands there.
    """
    frozen = {id(p): p for p in module.parameters() if not p.requires_grad}
    try:
        return copy.deepcopy(module, frozen | (instead or {}))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            "module cannot be copied: tensors that were computed from its parameters must go "
            f"first, as torch.nn.utils.prune.remove does for a pruned layer ({error})"
        ) from error


def drawn_anew(module: nn.Module) -> nn.Module:
    """Copy a module and let each layer's own ``reset_parameters`` draw what is trainable.

    A layer with such a rule answers for all layers inside it. What is frozen stays as it is. It is
    a ValueError if a trainable parameter is in no layer with a rule, or a layer of PyTorch leaves
    one as it was: the rule of a parametrised layer draws numbers that are computed from others.
    """
    frozen = [p for p in module.parameters() if not p.requires_grad]
    blank = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), False) for p in frozen}
    try:  # a rule may write into what is frozen, and shared with other modules
        _renew(drawn := copied(module, blank))
    except (RuntimeError, NotImplementedError):  # or read it
        _renew(drawn := copied(module, {id(p): nn.Parameter(p.clone(), False) for p in frozen}))
    module = copied(module)
    with torch.no_grad():
        for own, new in zip(module.parameters(), drawn.parameters(), strict=True):
            if own.requires_grad:
                own.copy_(new)
    return module


def _renew(layer: nn.Module) -> None:
    own = {n: p for n, p in layer.named_parameters() if p.requires_grad}
    if not own:
        return
    if hasattr(layer, "reset_parameters"):
        before = {n: p.detach().clone() for n, p in own.items()}
        layer.reset_parameters()
        left = [n for n, p in own.items() if torch.equal(p, before[n]) and p.unique().numel() > 1]
        if left and type(layer).__module__.startswith("torch.nn"):
            kind = type(layer).__name__
            raise ValueError(
                f"module cannot be initialised anew: reset_parameters() of {kind} keeps {left[0]!r}"
            )
        return
    for child in layer.children():
        _renew(child)
    if hasattr(layer, "_reset_parameters"):  # attention of PyTorch, beside its inner layers
        layer._reset_parameters()
    elif any(p.requires_grad for p in layer.parameters(recurse=False)):
        raise ValueError(
            f"module cannot be initialised anew: {type(layer).__name__} has parameters "
            "but no reset_parameters()"
        )

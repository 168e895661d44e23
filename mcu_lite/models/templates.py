"""Modules made from a template: copies, and copies drawn anew."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


def copied(module: nn.Module) -> nn.Module:
    """Copy a module but share what is frozen: a backbone is held once."""
    frozen = [p for p in module.parameters() if not p.requires_grad]
    try:
        return copy.deepcopy(module, {id(p): p for p in frozen})
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            "module cannot be copied: tensors that were computed from its parameters must go "
            f"first, as torch.nn.utils.prune.remove does for a pruned layer ({error})"
        ) from error


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names under which two modules hold different numbers."""

    def same(name: str) -> bool:
        v, w = one.get(name), other.get(name)
        if v is None or w is None or v is w:
            return v is w
        return v.shape == w.shape and torch.equal(v, w.to(v))

    return sorted(name for name in one.keys() | other.keys() if not same(name))


def drawn_anew(module: nn.Module) -> nn.Module:
    """Copy a module and let each layer's own ``reset_parameters`` draw what is trainable.

    A layer with such a rule answers for all layers inside it. What is frozen stays as it is.

    Raises
    ------
    ValueError
        If a trainable parameter is in no layer with a rule, or a layer of PyTorch leaves one as
        it was: the rule of a parametrised layer draws numbers that are computed from others.
    """
    module = copied(module)
    try:
        with _instead_of_frozen(module, partial(torch.empty_like, device="meta")):
            _renew(module)
    except (RuntimeError, NotImplementedError):  # a rule reads what is frozen
        with _instead_of_frozen(module, torch.clone):
            _renew(module)
    return module


@contextmanager
def _instead_of_frozen(module: nn.Module, twin: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put twins in the place of what is frozen, and is shared with other modules."""
    places = [
        (layer._parameters, name, p)
        for layer in module.modules()
        for name, p in layer._parameters.items()
        if p is not None and not p.requires_grad
    ]
    twins = {id(p): nn.Parameter(twin(p.detach()), False) for _, _, p in places}
    for own, name, p in places:
        own[name] = twins[id(p)]
    try:
        yield
    finally:
        for own, name, p in places:
            own[name] = p


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


def shapes_of(parameters: dict) -> str:
    """Names and shapes, for a message."""
    return ", ".join(f"{n} {tuple(getattr(p, 'shape', p))}" for n, p in parameters.items())


def can_be_imported(function: Callable | None) -> bool:
    """Whether another process finds a function again by its name."""
    module = sys.modules.get(getattr(function, "__module__", None))
    return getattr(module, getattr(function, "__qualname__", ""), None) is function

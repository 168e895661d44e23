"""Before a module of one's own runs as rows, it is tried once on two examples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.func import functional_call
from torch.nn.parameter import UninitializedTensorMixin

from mcu_lite.models.seeding import random_state, seeded
from mcu_lite.models.templates import copied

FLOATS = (torch.float32, torch.float64)
TOLERANCE = 0.01
"""Of a gradient, relative: far above what bfloat16 rounds in the same operations."""


class Traits(NamedTuple):
    """What a module does besides returning logits."""

    draws: bool
    writes: bool


def check_template(module: nn.Module) -> None:
    """Raise unless rows can be made of the trainable parameters of `module`."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module, got {type(module).__name__}")
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("module has no trainable parameter")
    for name, p in module.named_parameters():
        if isinstance(p, UninitializedTensorMixin):
            raise ValueError(f"module must be called once before, {name!r} has no shape yet")
    for name, p in trainable.items():
        if p.dtype not in FLOATS:
            raise ValueError(
                f"module must be trained in float32 or float64, {name!r} is {p.dtype}: pass "
                "module.float(), and compute in half precision under torch.autocast"
            )


def tried(module: nn.Module, state: dict[str, Tensor], inputs: Tensor, graded: bool) -> Traits:
    """Find what a module draws and writes, and refuse what does not run as a row.

    Parameters
    ----------
    module : nn.Module
    state : dict of Tensor
        What it is called with, of one model.
    inputs : Tensor, shape (n, ...)
        The first two are used.
    graded : bool
        Whether the gradient of the row is compared with that of an ordinary module.

    Raises
    ------
    ValueError
        If the module fails or returns no tensor, if a buffer changes, or the gradient is wrong.
    """
    if isinstance(inputs, FakeTensor):  # there is nothing to compare
        return Traits(draws=module.training, writes=False)
    state = {n: v.detach().nan_to_num() for n, v in state.items()}
    x, template = inputs[:2].detach().clone(), copied(module)
    if not graded:
        with torch.no_grad():
            return _observed(template, state, x)[0]
    own = dict(template.named_parameters())
    leaves = {n: v.requires_grad_(n in own) for n, v in state.items()}
    weights = [v for v in leaves.values() if v.requires_grad]
    for n in leaves.keys() & own.keys():  # a template unlike the row: a mix-up then shows
        own[n].data = leaves[n].detach() * 0.9 + 0.01
    # Dropout is drawn in both, and alike.
    traits, out = _observed(template, leaves, x.clone())
    mine = _gradient(out, weights)
    for n in leaves.keys() & own.keys():
        own[n].data = leaves[n].detach()
    plain = [own[n] for n in leaves if n in own]
    buffers = {n: v for n, v in leaves.items() if n not in own}
    with seeded(0, x.device):
        theirs = _gradient(functional_call(template, buffers, (x,)), plain)
    if (mine - theirs).norm() > TOLERANCE * theirs.norm():
        raise ValueError(WRONG)
    return traits


WRONG = (
    "module has another gradient as a row than by itself, or none: what is computed again in the "
    "backward pass no longer sees the row. Switch it off (torch.utils.checkpoint in forward, "
    "gradient_checkpointing_enable() of transformers); CausalLM(checkpointing=True) does it right"
)


def _observed(module: nn.Module, state: dict[str, Tensor], x: Tensor) -> tuple[Traits, Tensor]:
    buffers = {n: b.clone() for n, b in module.named_buffers() if n not in state}
    given, version = x.clone(), x._version
    with seeded(0, x.device):
        before = random_state(x.device)
        try:
            out = functional_call(module, state, (x,))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise ValueError(
                f"module fails on inputs of {x.dtype} and shape {tuple(x.shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        draws = not torch.equal(before, random_state(x.device))
    if not isinstance(out, Tensor):
        raise ValueError(f"module must return a tensor of logits, got {type(out).__name__}")
    now = dict(module.named_buffers())
    for name, buffer in buffers.items():
        if not torch.equal(buffer, now[name]):
            raise ValueError(
                f"module changes its buffer {name!r} while it runs, which a row cannot carry; only "
                "batch norm may"
            )
    return Traits(draws, x._version != version or not torch.equal(given, x)), out


def _gradient(out: Tensor, weights: list[Tensor]) -> Tensor:
    if not out.requires_grad:
        return torch.zeros(1)
    try:
        found = torch.autograd.grad(out.float().square().mean(), weights, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"{WRONG} ({error})") from error
    return torch.cat([g.detach().flatten().float() for g in found])

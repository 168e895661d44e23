"""How many models, or examples, fit into the memory at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.func import functional_call

from mcu_lite.modules import copied

SMALL = 2**18
"""Numbers in a batch below which nothing is asked: the answer would take longer than the work."""
ON_CPU = 2**31
"""Bytes that one call may hold on a CPU, where taking all that is free would be no favour."""
OF_FREE = 0.5
"""Share of a GPU's free memory; the rest is for gradients, moments and fragments."""


def how_many(architecture, state: dict[str, Tensor], inputs: Tensor, most: int) -> int:
    """Rows (or, of one row, examples) that one call may take, between 1 and `most`.

    Parameters
    ----------
    architecture : Architecture
    state : dict of Tensor, shape (B, ...) each
        What the module is called with.
    inputs : Tensor, shape (B, n, ...)
        A single row (1, n, ...) is divided along its examples.
    most : int
    """
    if most == 1 or inputs.numel() <= SMALL:
        return most
    each = saved_bytes(architecture, {n: v[0] for n, v in state.items()}, inputs[0])
    if len(inputs) == 1:
        each /= inputs.shape[1]
    return max(1, min(most, int(free_bytes(inputs.device) / max(each, 1))))


def free_bytes(device: torch.device) -> int:
    """Bytes that one call may hold on a device."""
    if device.type != "cuda":
        return ON_CPU
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(OF_FREE * (torch.cuda.mem_get_info(device)[0] + kept))


def saved_bytes(architecture, state: dict[str, Tensor], inputs: Tensor) -> int:
    """Bytes that one model keeps for its gradient, counted without computing anything.

    Found by a call on tensors without contents; 0 for a module that needs to see the contents.
    """
    total = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    key = tuple(inputs.shape)
    if key not in (known := architecture.bytes_kept):
        module = copied(architecture.module)
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.enable_grad():
                fakes = {n: mode.from_tensor(v.detach()) for n, v in state.items()}
                given = {n: v.requires_grad_(v.is_floating_point()) for n, v in fakes.items()}
                with torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
                    functional_call(module, given, (mode.from_tensor(inputs),))
        except (RuntimeError, NotImplementedError, TypeError):
            total = 0
        known[key] = total
    return known[key]

"""How rows of models run: all at once, in parts that fit, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, vmap
from torch.utils.checkpoint import checkpoint

from mcu_lite.models.chains import run_chain
from mcu_lite.models.seeding import next_seed, seeded
from mcu_lite.models.templates import copied


def run(
    architecture, state: dict[str, Tensor], inputs: Tensor, rows: int, shared: bool = False
) -> Tensor:
    """Outputs of B models (B, n, classes), in as many parts as the memory at hand asks for.

    Parameters
    ----------
    architecture : Architecture
    state : dict of Tensor, shape (B, ...) each
        What the module is called with.
    inputs : Tensor, shape (B, n, ...), or (n, ...) if `shared`
    rows : int
        B.
    shared : bool
    """
    size = 0 if shared else how_many(architecture, state, inputs, rows)
    first = inputs if shared else inputs[0]
    seed = None
    if architecture.traits({n: v[0] for n, v in state.items()}, first).draws:
        # What a module draws (dropout) is alike in all rows: no row may depend on the others.
        seed = next_seed() if architecture.module.training else 0
    if size >= rows:
        return _at_once(architecture, state, inputs, seed)
    if shared or not torch.is_grad_enabled():
        # A large batch keeps the processor busy: batching the models only costs memory.
        batches = inputs.expand(rows, *inputs.shape) if shared else inputs
        outputs = _row_by_row(lambda *one: _in_parts(architecture, *one), state, batches, seed)
        # The outputs of a single model may be large: they are not copied.
        return torch.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)
    # What a part needs for its gradient is computed again when its turn comes.
    parts = (
        ({n: v[i : i + size] for n, v in state.items()}, inputs[i : i + size], seed)
        for i in range(0, rows, size)
    )
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    outputs = [again(_at_once, architecture, *part) for part in parts]
    return torch.cat(outputs)


def one_model(architecture) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """One model: what it is called with, and its inputs, to logits in single precision."""
    # Its own copy: what a module writes down about its inputs stays out of the template.
    chain, found = architecture.chain, architecture.found
    module = architecture.module if chain else copied(architecture.module)

    def call(state: dict[str, Tensor], x: Tensor) -> Tensor:
        return run_chain(module, state, x) if chain else functional_call(module, state, (x,))

    backend = getattr(module, "compiled", None)
    call = torch.compile(call, backend=backend) if backend else call
    # A module that writes into what it is given would change the task itself.
    return lambda state, x: call(state, x.clone() if found.get("writes") else x).float()


def _at_once(architecture, state: dict[str, Tensor], inputs: Tensor, seed: int | None) -> Tensor:
    one = architecture.one
    if architecture.chain:  # which takes many models as it takes one
        return one(state, inputs)
    if not architecture.vectorised:
        return torch.stack(_row_by_row(one, state, inputs, seed))
    with _drawing(seed, inputs.device):
        return vmap(one, randomness="same")(state, inputs)


def _row_by_row(
    call: Callable[[dict[str, Tensor], Tensor], Tensor],
    state: dict[str, Tensor],
    inputs: Sequence[Tensor],
    seed: int | None,
) -> list[Tensor]:
    outputs = []
    for i, x in enumerate(inputs):
        with _drawing(seed, x.device):
            outputs.append(call(on_16_bytes({n: v[i] for n, v in state.items()}), x))
    return outputs


def _in_parts(architecture, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Outputs of one model (n, classes), of as many examples at a time as fit."""
    whole = architecture.module.training or (architecture.norms and not architecture.measuring)
    stack = {n: v.unsqueeze(0) for n, v in state.items()}
    size = len(inputs) if whole else how_many(architecture, stack, inputs[None], len(inputs))
    if size >= len(inputs):
        return architecture.one(state, inputs)
    return torch.cat([architecture.one(state, x) for x in inputs.split(size)])


def _drawing(seed: int | None, device: torch.device) -> AbstractContextManager:
    return nullcontext() if seed is None else seeded(seed, device)


def on_16_bytes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy what lies in a row where a GPU's convolutions cannot read it: off multiples of 16."""

    def apart(v: Tensor) -> bool:
        return v.is_cuda and bool(v.storage_offset() * v.element_size() % 16)

    return {n: v.clone() if apart(v) else v for n, v in state.items()}


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

    key = "bytes", tuple(inputs.shape)
    if key not in (known := architecture.found):
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

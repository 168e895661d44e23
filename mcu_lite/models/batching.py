"""How rows of models run: all at once, in parts that fit, or one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from threading import local

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, vmap
from torch.utils.checkpoint import checkpoint

from mcu_lite.models.dense import run_chain
from mcu_lite.models.seeding import seeded
from mcu_lite.models.templates import copied
from mcu_lite.models.trial import tried


def run(architecture, state: dict[str, Tensor], inputs: Tensor, shared: bool) -> Tensor:
    """Outputs of B models (B, n, classes), in chunks that fit into memory.

    The module is called with `state`, (B, ...) each; see `Architecture.logits`.
    """
    module, cache, rows = architecture.module, architecture.cache, len(next(iter(state.values())))
    one, x = {n: v[0] for n, v in state.items()}, inputs if shared else inputs[0]
    # The first call with a gradient pays for a trial, and so does the first without.
    graded = torch.is_grad_enabled() and any(v.requires_grad for v in state.values())
    if ("tried", graded) not in cache:
        cache |= tried(module, one, x, graded) | {("tried", graded): True}
    seed = None
    if cache["draws"]:
        # What a module draws (dropout) is alike in all rows: no row may depend on the others.
        seed = int(torch.randint(2**62, ())) if module.training else 0
    size = 0 if shared else chunk_size(architecture, one, inputs, rows)
    if size >= rows:
        return _at_once(architecture, state, inputs, seed)
    if shared or not torch.is_grad_enabled():
        # A large batch keeps the processor busy: batching the models only costs memory.
        batches = inputs.expand(rows, *inputs.shape) if shared else inputs
        return _row_by_row(architecture, state, batches, seed)
    # What a part needs for its gradient is computed again when its turn comes.
    parts = (
        ({n: v[i : i + size] for n, v in state.items()}, inputs[i : i + size], seed)
        for i in range(0, rows, size)
    )
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(_at_once, architecture, *part) for part in parts])


def _one_model(architecture) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """One model: what it is called with, and its inputs, to logits in single precision."""
    # A copy for each thread: while a model is called its parameters are those of the module.
    own = (cache := architecture.cache).setdefault("own", local())
    if hasattr(own, "one"):
        return own.one
    module = copied(architecture.module)

    def call(state: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(module, state, (x,))

    if backend := getattr(module, "compiled", None):
        call = torch.compile(call, backend=backend)

    def versions() -> set[tuple]:
        return {(name, id(b), b._version) for name, b in module.named_buffers()}

    before = versions()

    def one(state: dict[str, Tensor], x: Tensor) -> Tensor:
        # A module that writes into what it is given would change the task itself.
        out = call(state, x.clone() if cache["writes"] else x).float()
        if before and (changed := versions() - before):
            raise ValueError(f"module changes its buffer {min(changed)[0]!r} after its first calls")
        return out

    own.one = one
    return one


def _at_once(architecture, state: dict[str, Tensor], inputs: Tensor, seed: int | None) -> Tensor:
    if architecture.chain:
        given = inputs.clone() if architecture.cache["writes"] else inputs
        return run_chain(architecture.module, state, given).float()
    module = architecture.module
    if not getattr(module, "vectorised", True) or getattr(module, "compiled", None):
        return _row_by_row(architecture, state, inputs, seed)
    try:
        with seeded(seed, inputs.device):
            return vmap(_one_model(architecture), randomness="same")(state, inputs)
    except RuntimeError as error:
        if not re.search("vmap|batching rule", str(error), re.IGNORECASE):
            raise
        raise ValueError(f"module: {error}; vectorised = False lets it run row by row") from error


def _row_by_row(architecture, state: dict[str, Tensor], inputs: Tensor, seed: int | None) -> Tensor:
    """Outputs of one model after the other, of as many examples at a time as fit."""
    call, outputs = _one_model(architecture), []
    # A gradient needs all examples; what is drawn, and trained batch norm, belong to a whole batch.
    whole = torch.is_grad_enabled() or architecture.module.training
    whole = whole or (architecture.norms and not architecture.measuring)
    for i, x in enumerate(inputs):
        one = aligned_to_16_bytes({n: v[i] for n, v in state.items()})
        size = len(x) if whole else chunk_size(architecture, one, x[None], len(x))
        with seeded(seed, x.device):
            parts = [call(one, part) for part in x.split(size)]
        outputs.append(torch.cat(parts) if len(parts) > 1 else parts[0])
    # The outputs of a single model may be large: they are not copied.
    return torch.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)


def aligned_to_16_bytes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy what lies in a row where a GPU's convolutions cannot read it: off multiples of 16."""
    return {
        n: v.clone() if v.is_cuda and v.storage_offset() * v.itemsize % 16 else v
        for n, v in state.items()
    }


SMALL = 2**18
"""Numbers in a batch below which memory is not counted: that would take longer than the work."""
ON_CPU = 2**31
"""Bytes that one call may hold on a CPU, whose memory other programs share."""
OF_FREE = 0.5
"""Share of a GPU's free memory; the rest is for gradients, moments and fragments."""


def chunk_size(architecture, one: dict[str, Tensor], inputs: Tensor, most: int) -> int:
    """Rows of `inputs`, (B, n, ...), that one call may take, or examples if there is one row.

    `one` is the state of one model; the answer lies between 1 and `most`.
    """
    if most == 1 or inputs.numel() <= SMALL:
        return most
    each = saved_bytes(architecture, one, inputs[0])
    if len(inputs) == 1:
        each /= inputs.shape[1]
    free = ON_CPU
    if (device := inputs.device).type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = OF_FREE * (torch.cuda.mem_get_info(device)[0] + cached)
    return max(1, min(most, int(free / max(each, 1))))


def saved_bytes(architecture, state: dict[str, Tensor], inputs: Tensor) -> int:
    """Bytes that one model keeps for its gradient, counted without computing anything.

    Found by a call on tensors without contents; 0 for a module that needs to see the contents.
    """
    key, cache, sizes = ("bytes", tuple(inputs.shape)), architecture.cache, []
    if key not in cache:
        module = copied(architecture.module)
        count = saved_tensors_hooks(lambda v: sizes.append(v.nbytes) or v, lambda v: v)
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.enable_grad(), count:
                fakes = {n: mode.from_tensor(v.detach()) for n, v in state.items()}
                given = {n: v.requires_grad_(v.is_floating_point()) for n, v in fakes.items()}
                functional_call(module, given, (mode.from_tensor(inputs),))
        except (RuntimeError, NotImplementedError, TypeError):
            sizes.clear()
        cache[key] = sum(sizes)
    return cache[key]

"""How rows of models run: all at once, in parts that fit, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils.checkpoint import checkpoint

from mcu_lite.memory import how_many
from mcu_lite.randomness import seeded


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
    # What a module draws (dropout) is alike in all rows: no row may depend on the others.
    draws = architecture.module.training and not architecture.chain
    seed = int(torch.randint(2**62, ())) if draws else None
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
    outputs = [checkpoint(_at_once, architecture, *part, use_reentrant=False) for part in parts]
    return torch.cat(outputs)


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
            outputs.append(call(aligned({n: v[i] for n, v in state.items()}), x))
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


def aligned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy what lies in a row where a GPU's convolutions cannot read it: off multiples of 16."""

    def apart(v: Tensor) -> bool:
        return v.is_cuda and bool(v.storage_offset() * v.element_size() % 16)

    return {n: v.clone() if apart(v) else v for n, v in state.items()}

"""Before a module of one's own runs as rows, it is tried once on two examples."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.func import functional_call
from torch.nn.parameter import UninitializedTensorMixin

from mcu_lite.models.seeding import seeded
from mcu_lite.models.templates import copied

TOLERANCE = 0.01
"""Of a gradient, relative: far above what bfloat16 rounds in the same operations."""


def check_template(module: nn.Module) -> None:
    """Raise unless rows can be made of the trainable parameters of `module`."""
    if not any(p.requires_grad for p in module.parameters()):
        raise ValueError("module has no trainable parameter")
    for name, p in module.named_parameters():
        if isinstance(p, UninitializedTensorMixin):
            raise ValueError(f"module must be called once before, {name!r} has no shape yet")
        if p.is_meta:
            raise ValueError(f"module must hold numbers, {name!r} is on the meta device")
        if p.requires_grad and p.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"module must be trained in float32 or float64, {name!r} is {p.dtype}: pass "
                "module.float(), and compute in half precision under torch.autocast"
            )


def tried(
    module: nn.Module, state: dict[str, Tensor], inputs: Tensor, graded: bool
) -> dict[str, bool]:
    """Find whether a module ``draws`` and ``writes`` into its inputs, by two of `inputs` (n, ...).

    It is called with `state`, the tensors of one model. If `graded`, the gradient of the row is
    compared with that of an ordinary module. It is a ValueError if that is another, if a parameter
    or buffer changes, or if the module fails or returns no tensor.
    """
    if isinstance(inputs, FakeTensor):  # there is nothing to compare
        return {"draws": module.training, "writes": False}
    state = {n: v.detach().nan_to_num() for n, v in state.items()}
    x, template = inputs[:2].detach().clone(), copied(module)
    if not graded:
        with torch.no_grad():
            return _observed(template, state, x)[0]
    own = dict(template.named_parameters())
    row = {n: v.requires_grad_() for n, v in state.items() if n in own}
    for n, v in row.items():  # a template unlike the row: a mix-up then shows
        own[n].data = v.detach() * 0.9 + 0.01
    # Dropout is drawn in both, and alike.
    seen, out = _observed(template, state, x.clone())
    mine = _gradient(out, list(row.values()))
    for n, v in row.items():
        own[n].data = v.detach()
    buffers = {n: v for n, v in state.items() if n not in row}
    with seeded(0, x.device):
        theirs = _gradient(functional_call(template, buffers, (x,)), [own[n] for n in row])
    if (mine - theirs).norm() > TOLERANCE * theirs.norm():
        raise ValueError(GRADIENT_MISMATCH)
    return seen


GRADIENT_MISMATCH = (
    "module has another gradient as a row than by itself, or none: what is computed again in the "
    "backward pass no longer sees the row. Switch it off (torch.utils.checkpoint in forward, "
    "gradient_checkpointing_enable() of transformers); CausalLM(checkpointing=True) does it right"
)


def _observed(module: nn.Module, state: dict[str, Tensor], x: Tensor) -> tuple[dict, Tensor]:
    held = dict(module.named_buffers()) | state
    before, given, version = {n: v.detach().clone() for n, v in held.items()}, x.clone(), x._version
    state_of = partial(torch.cuda.get_rng_state, x.device) if x.is_cuda else torch.get_rng_state
    with seeded(0, x.device):
        drawn = state_of()
        try:
            out = functional_call(module, state, (x,))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise ValueError(
                f"module fails on inputs of {x.dtype} and shape {tuple(x.shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        draws = not torch.equal(drawn, state_of())
    if not isinstance(out, Tensor):
        raise ValueError(f"module must return a tensor of logits, got {type(out).__name__}")
    parameters, now = dict(module.named_parameters()), dict(module.named_buffers()) | state
    for name, value in before.items():
        kind = "parameter" if name in parameters else "buffer"
        if not torch.equal(value, now[name]):
            raise ValueError(
                f"module changes its {kind} {name!r} while it runs, which a row cannot carry; only "
                "batch norm may change buffers"
            )
    writes = x._version != version or not torch.equal(given, x)
    return {"draws": draws, "writes": writes}, out


def _gradient(out: Tensor, weights: list[Tensor]) -> Tensor:
    if not out.requires_grad:
        return torch.zeros(1)
    try:
        found = torch.autograd.grad(out.float().square().mean(), weights, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"{GRADIENT_MISMATCH} ({error})") from error
    return torch.cat([g.detach().flatten().float() for g in found])

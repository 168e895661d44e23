"""Batch norm in rows: statistics of the batch in training, recomputed ones in measurements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mcu_lite.models.batching import aligned_to_16_bytes

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
STATISTICS_BATCH = 500
"""Examples a batch when batch-norm statistics are recomputed; more only cost memory."""


def drop_running_stats(module: nn.Module) -> tuple[str, ...]:
    """Drop the statistics of batch norm that is trained, in place; return the names of its layers.

    A frozen backbone keeps its statistics, as it keeps its weights.
    """
    names = []
    for name, layer in module.named_modules():
        if getattr(layer, "running_mean", None) is not None and _frozen(layer):
            layer.eval()
        elif isinstance(layer, _BatchNorm):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            names.append(name)
    return tuple(names)


def _frozen(layer: nn.Module) -> bool:
    own = list(layer.parameters(recurse=False))
    return any(not p.requires_grad for p in own) if own else not layer.training


def tracking(module: nn.Module, norms: Sequence[str]) -> nn.Module:
    """Let batch-norm layers keep the plain mean of the statistics of the batches they see."""
    for name in norms:
        layer = module.get_submodule(name)
        layer.track_running_stats, layer.momentum = True, None
        layer.running_mean = torch.zeros(layer.num_features)
        layer.running_var = torch.ones(layer.num_features)
        layer.num_batches_tracked = torch.tensor(0)
    return module


@torch.no_grad()
def recomputed(
    module: nn.Module, norms: Sequence[str], own: dict[str, Tensor], inputs: Tensor
) -> dict[str, Tensor]:
    """Statistics of one model on `inputs`, (n, ...), by the names of their buffers.

    The module is in eval mode and `tracking`; `own` are the model's parameters.
    """
    device = inputs.device
    names = [f"{name}.{buffer}" for name in norms for buffer in STATISTICS]
    found = {n: module.get_buffer(n).to(device, copy=True) for n in names}
    for name in norms:
        module.get_submodule(name).train()
    for part in inputs.chunk(-(-len(inputs) // STATISTICS_BATCH)):
        # A copy, since a module may write into what it is given.
        functional_call(module, aligned_to_16_bytes(own) | found, (part.clone(),))
    return found

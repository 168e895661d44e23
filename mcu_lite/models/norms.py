"""Batch norm: whose statistics are frozen, and how those of one model are recomputed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mcu_lite.models.templates import copied

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
RECOMPUTED_FROM = 500
"""Examples a batch when batch-norm statistics are recomputed; more only cost memory."""


def frozen(layer: nn.Module) -> bool:
    """Whether a layer keeps its statistics: it is not trained, or has nothing to train."""
    own = list(layer.parameters(recurse=False))
    return any(not p.requires_grad for p in own) if own else not layer.training


def without_statistics(module: nn.Module) -> list[str]:
    """Let batch norm use the statistics of each batch, in place; names of these layers.

    Frozen layers keep their own, and use them.
    """
    norms = []
    for name, layer in module.named_modules():
        if getattr(layer, "running_mean", None) is not None and frozen(layer):
            layer.eval()
        elif isinstance(layer, _BatchNorm):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            norms.append(name)
    return norms


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
    module: nn.Module, norms: Sequence[str], state: dict[str, Tensor], inputs: Tensor
) -> dict[str, Tensor]:
    """Statistics of one model on inputs (n, ...), by the names of its buffers.

    They are averaged over batches of at most 500.
    """
    module = tracking(copied(module).eval(), norms)
    for name in norms:
        module.get_submodule(name).train()
    names = [f"{name}.{buffer}" for name in norms for buffer in STATISTICS]
    own = {n: module.get_buffer(n).to(inputs.device, copy=True) for n in names}
    for part in inputs.chunk(-(-len(inputs) // RECOMPUTED_FROM)):
        functional_call(module, state | own, (part.clone(),))
    return own

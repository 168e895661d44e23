"""Causal language models of any size: adapters are the row, the backbone is shared."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class CausalLM(nn.Module):
    """A causal model of ``transformers``: tokens (n, L) in, logits (n, L, vocabulary) out.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        What of it has ``requires_grad`` is trained; the rest is never copied.
    bf16 : bool
        Compute in bfloat16 by autocast. What is trained stays in its own precision, and losses
        are in single precision.
    checkpointing : bool
        Keep only what goes into each layer and compute the rest again for the gradient: less
        memory, about a third more time. The checkpointing of `model` itself is switched off.

    Raises
    ------
    ValueError
        If `checkpointing` and the model has no list of as many layers as its configuration says.
    """

    vectorised = False

    def __init__(self, model: nn.Module, bf16: bool = True, checkpointing: bool = True) -> None:
        super().__init__()
        self.model, self.bf16 = model, bf16
        for layer in model.modules():
            if hasattr(layer, "gradient_checkpointing"):  # it would compute with the template
                layer.gradient_checkpointing = False
        if checkpointing:
            _recompute_layers(model)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each of `tokens`."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(input_ids=tokens, use_cache=False).logits

    def reset_parameters(self) -> None:
        """Draw adapters anew, by the rule of ``peft``; without adapters, stay pretrained."""
        for layer in self.model.modules():
            if hasattr(layer, "reset_lora_parameters"):
                for name in layer.active_adapters:
                    layer.reset_lora_parameters(name, init_lora_weights=True)


class Recomputed(nn.Module):
    """A layer that is computed again for its gradient, with the parameters it had before.

    The checkpointing of ``transformers`` would take those of the template instead: a row's
    parameters are in the module only while it is called, and the gradient comes later.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, *args, **options):
        """Return what the layer returns."""
        if not torch.is_grad_enabled():
            return self.layer(*args, **options)
        own = dict(self.layer.named_parameters())

        def again(own: dict[str, Tensor], *args):
            return functional_call(self.layer, own, args, options)

        return checkpoint(again, own, *args, use_reentrant=False)


def _recompute_layers(model: nn.Module) -> None:
    depth = model.config.num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise ValueError(f"checkpointing needs a list of {depth} layers, which the model lacks")
    for i, layer in enumerate(lists[0]):
        lists[0][i] = Recomputed(layer)


def with_lora(
    model: nn.Module,
    rank: int = 8,
    scale: float = 2.0,
    layers: str | list[str] = "all-linear",
    **options,
) -> CausalLM:
    """Freeze a causal model and put low-rank adapters beside its linear layers (Hu et al., 2022).

    A row is then the adapters alone, so that a curve with K control points holds K times their
    size and one backbone.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        It is changed in place.
    rank : int
    scale : float
        Of what an adapter adds, ``alpha`` over rank.
    layers : str or list of str
        Names as ``target_modules`` of `peft.LoraConfig`.
    **options
        Of `CausalLM`.

    Raises
    ------
    ValueError
        If the rank is not positive, or no layer has one of the names.
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    config = LoraConfig(
        r=rank, lora_alpha=scale * rank, target_modules=layers, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        # Of names that one of the two libraries has changed and the other has not.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(model, config)
    return CausalLM(adapted, **options)


def bytes_held(*things) -> int:
    """Bytes of all tensors that stacks, paths, architectures and modules hold, each counted once.

    Parameters
    ----------
    *things : Stack, Path, Architecture, nn.Module or Tensor
    """
    storages: dict[int, int] = {}

    def visit(thing) -> None:
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, nn.Module):
            for tensor in (*thing.parameters(), *thing.buffers()):
                visit(tensor)
        elif hasattr(thing, "__dataclass_fields__"):
            for name in thing.__dataclass_fields__:
                visit(getattr(thing, name))

    for thing in things:
        visit(thing)
    return sum(storages.values())

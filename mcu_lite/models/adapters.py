"""Causal language models of any size: adapters are the row, the backbone is shared."""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass
from types import MethodType

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class CausalLM(nn.Module):
    """A causal model of ``transformers``: tokens (n, L) in, logits (n, L, vocabulary) out.

    What of `model` has ``requires_grad`` is trained; the rest is never copied. With `bf16` it
    computes in bfloat16 by autocast; what is trained stays in its own precision, and losses are in
    single precision. With `checkpointing` it keeps only what goes into each layer and computes the
    rest again for the gradient: less memory, about a third more time. That needs a list of as many
    layers as the model's configuration says; the checkpointing of the model itself is switched off.
    """

    vectorised = False

    def __init__(self, model: nn.Module, bf16: bool = True, checkpointing: bool = True) -> None:
        super().__init__()
        self.model, self.bf16 = model, bf16
        for layer in model.modules():
            if hasattr(layer, "gradient_checkpointing"):  # it would compute with the template
                layer.gradient_checkpointing = False
        depth = model.config.num_hidden_layers if checkpointing else 0
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
        if checkpointing and not lists:
            raise ValueError(f"checkpointing needs a list of {depth} layers, which the model lacks")
        for layer in lists[0] if checkpointing else ():
            layer.forward = MethodType(_recomputed, layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each of `tokens`."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(input_ids=tokens, use_cache=False).logits

    def extra_repr(self) -> str:
        """Return the scales of adapters, which their layers do not tell, to be compared."""
        scales = [getattr(layer, "scaling", None) for layer in self.model.modules()]
        scales = {scale for own in scales if isinstance(own, dict) for scale in own.values()}
        return f"scales={sorted(scales)}"

    def reset_parameters(self) -> None:
        """Draw adapters anew, by the rule of ``peft``; without adapters, stay pretrained."""
        for layer in self.model.modules():
            if hasattr(layer, "reset_lora_parameters"):
                for name in layer.active_adapters:
                    layer.reset_lora_parameters(name, init_lora_weights=True)


def _recomputed(layer: nn.Module, *args, once: bool = False, **options):
    """Call a layer that is computed again for its gradient, with the parameters it has now.

    The checkpointing of ``transformers`` would take those of the template instead: a row's
    parameters are in the module only while it is called, and the gradient comes later.
    """
    if once or not torch.is_grad_enabled():
        return type(layer).forward(layer, *args, **options)
    own, options = dict(layer.named_parameters()), options | {"once": True}

    def again(own: dict[str, Tensor], *args):
        return functional_call(layer, own, args, options)

    return checkpoint(again, own, *args, use_reentrant=False)


def with_lora(
    model: nn.Module,
    rank: int = 8,
    scale: float = 2.0,
    layers: str | list[str] = "all-linear",
    **options,
) -> CausalLM:
    """Freeze a causal model and put low-rank adapters beside its linear layers (Hu et al., 2022).

    A row is then the adapters alone, so that a curve with K control points holds K times their
    size and one backbone. `model`, of ``transformers``, is changed in place; `scale` is ``alpha``
    over `rank`, `layers` are the ``target_modules`` of `peft.LoraConfig`, `options` those of
    `CausalLM`. A rank below 1 and names that no layer has raise a ValueError.
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
    """Bytes of all tensors that stacks, paths, architectures or modules hold, each counted once."""
    storages, left = {}, list(things)
    while left:
        thing = left.pop()
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, nn.Module):
            left += [*thing.parameters(), *thing.buffers()]
        elif is_dataclass(thing):
            left += [getattr(thing, f.name) for f in fields(thing)]
    return sum(storages.values())

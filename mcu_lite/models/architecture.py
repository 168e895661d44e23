"""How a row of numbers becomes a module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from torch import Tensor, nn

from mcu_lite.checks import checked
from mcu_lite.models.batching import run
from mcu_lite.models.batchnorm import drop_running_stats, recomputed, tracking
from mcu_lite.models.dense import is_chain
from mcu_lite.models.seeding import seeded
from mcu_lite.models.templates import copied, drawn_anew
from mcu_lite.models.trial import check_template


@checked
@dataclass(frozen=True)
class Architecture:
    """How a row of P numbers becomes a module.

    Only parameters with ``requires_grad`` enter the row; frozen parameters and
    other buffers are shared by all rows, and with `module` itself.

    Parameters
    ----------
    module : nn.Module
        A template; it is copied and never changed. With an attribute ``vectorised = False`` it
        runs row by row: for modules that `torch.func.vmap` cannot run, or runs slower, such as
        those that draw from probabilities of their own making. With
        ``compiled = "inductor"``, or another backend of `torch.compile`, each row runs compiled.
    build : function, optional
        Without arguments; returns such a module, initialised anew.

    Raises
    ------
    ValueError
        If the module has no trainable parameter, one without a shape (`nn.LazyLinear`), one in
        half precision, or cannot be copied. When it is called: if forward fails, changes a
        parameter or buffer, or recomputes activations with the template's weights.
    TypeError
        If `module` is not an nn.Module.

    Notes
    -----
    Batch norm uses the statistics of the batch while a model is trained, and those of `statistics`
    while it is measured. Running statistics are not interpolated: those of an average of models are
    not the average of theirs. Frozen batch norm keeps its own: with frozen parameters, or without
    any and in eval mode.

    Examples
    --------
    >>> architecture = Architecture(nn.Linear(3, 2))
    >>> architecture.size, architecture.names
    (8, ('weight', 'bias'))
    >>> architecture.logits(torch.zeros(5, 8), torch.ones(4, 3), shared=True).shape
    torch.Size([5, 4, 2])
    """

    module: nn.Module
    build: Callable[[], nn.Module] | None = field(default=None, repr=False, compare=False)
    names: tuple[str, ...] = field(init=False)
    """Of the trainable parameters, in the order in which they lie in a row."""
    shapes: tuple[torch.Size, ...] = field(init=False)
    """Of the same."""
    norms: tuple[str, ...] = field(init=False)
    """Layers of batch norm whose statistics are recomputed."""
    chain: bool = field(init=False)
    """Whether it is dense and elementwise layers only, which run without `torch.func.vmap`."""
    cache: dict = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_template(self.module)
        module = copied(self.module)
        norms = drop_running_stats(module)
        trainable = {n: p.shape for n, p in module.named_parameters() if p.requires_grad}
        names, shapes = tuple(trainable), tuple(trainable.values())
        own = {"module": module, "names": names, "shapes": shapes, "norms": norms}
        vars(self).update(own, chain=is_chain(module, names))

    @property
    def size(self) -> int:
        """Number of trainable parameters P."""
        return sum(shape.numel() for shape in self.shapes)

    def row(self, module: nn.Module) -> Tensor:
        """Flatten the trainable parameters of `module` into a tensor of shape (P,)."""
        own = {n: p for n, p in module.named_parameters() if p.requires_grad}
        given = {n: tuple(p.shape) for n, p in own.items()}
        expected = dict(zip(self.names, map(tuple, self.shapes)))
        if list(given.items()) != list(expected.items()):
            raise ValueError(
                "module has another architecture: its trainable parameters are "
                f"{given}, expected {expected}"
            )
        return torch.cat([p.detach().reshape(-1) for p in own.values()])

    def check_same(self, other: Architecture, complaint: str) -> None:
        """Raise a `ValueError` unless the same row is the same function in both."""
        mine, theirs = self._shared(), other._shared()
        own, others = ([p.dtype for p in a.module.parameters()] for a in (self, other))
        if (self.names, self.shapes, own) != (other.names, other.shapes, others):
            raise ValueError(f"{complaint}: their trainable parameters do not match")
        if str(self.module) != str(other.module) or mine.keys() != theirs.keys():
            raise ValueError(f"{complaint}: their layers do not match")
        for name, v in mine.items():
            if v is not theirs[name] and not torch.equal(v, theirs[name].to(v)):
                raise ValueError(f"{complaint}: what they do not train differs, {name!r}")

    def _shared(self) -> dict[str, Tensor]:
        """Frozen parameters and buffers, which all rows share."""
        own = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        return {name: v for name, v in own.items() if name not in self.names}

    def module_at(self, row: Tensor, inputs: Tensor | None = None) -> nn.Module:
        """Return an ordinary module whose trainable parameters are `row`, shape (P,).

        With batch norm `inputs` are needed, retain examples (n, ...) to recompute the statistics.
        """
        state = self.named(row.detach())
        module = copied(self.module)
        if self.norms:
            if inputs is None:
                raise ValueError("module has batch norm: inputs must be given, retain examples")
            module = tracking(module, self.norms)
            state |= {n: s[0] for n, s in self.statistics(row[None], inputs, shared=True).items()}
        module.load_state_dict(state, strict=False)
        return module.to(row.device)

    def fresh(self) -> nn.Module:
        """Return a module that is initialised anew: by `build`, else by the layers' own rules."""
        return drawn_anew(self.module) if self.build is None else self.build()

    @cached_property
    def renewable(self) -> bool:
        """Whether there can be fresh models."""
        try:
            with seeded(0):
                return self.build is not None or bool(drawn_anew(self.module))
        except ValueError:
            return False

    def evaluating(self) -> Architecture:
        """Return the same architecture without dropout, for measurements; always the same one."""
        if "evaluating" not in self.cache:
            module = tracking(copied(self.module).eval(), self.norms)
            self.cache["evaluating"] = self._with(module)
        return self.cache["evaluating"]

    @property
    def measuring(self) -> bool:
        """Whether batch norm uses statistics that are given, not those of the batch."""
        return any(self.module.get_submodule(n).track_running_stats for n in self.norms)

    def to(self, device: str | torch.device) -> Architecture:
        """Return the same architecture with its frozen parameters and buffers on a device.

        The template's trainable parameters are never used; they stay on the CPU, where `fresh`
        draws the same numbers whatever the device.
        """
        moved = {}
        for v in self._shared().values():
            own = v.to(device)
            moved[id(v)] = nn.Parameter(own, False) if isinstance(v, nn.Parameter) else own
        return self._with(copied(self.module, moved))

    def _with(self, module: nn.Module) -> Architecture:
        other = copy.copy(self)
        vars(other)["module"] = module
        return other

    def __getstate__(self) -> dict:
        """Itself without what it remembers, for copies and other processes."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"cache": {}}

    def statistics(self, rows: Tensor, inputs: Tensor, shared: bool = False) -> dict[str, Tensor]:
        """Batch-norm statistics of B models on `inputs`, for `logits` of `evaluating`.

        They are recomputed from nothing but `inputs`, (B, n, ...), or (n, ...) if `shared`, at most
        500 at a time, and averaged over these batches: give it retain examples, and nothing about
        the forget set enters a measurement. Shape (B, ...) each; empty without batch norm.
        """
        if not self.norms:
            return {}
        module = tracking(copied(self.module).eval(), self.norms)
        found = [
            recomputed(module, self.norms, self.named(row), inputs if shared else inputs[i])
            for i, row in enumerate(rows)
        ]
        return {n: torch.stack([own[n] for own in found]) for n in found[0]}

    def logits(
        self,
        rows: Tensor,
        inputs: Tensor,
        shared: bool = False,
        statistics: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Outputs (B, n, classes) of B models, rows (B, P), in chunks that fit into memory.

        `inputs` are one batch for each model, (B, n, ...), or if `shared` one that all of them see,
        (n, ...). When a module with batch norm is measured it needs its `statistics`. The outputs
        are in single precision, also below `torch.autocast`.
        """
        if self.norms and bool(statistics) != self.measuring:
            raise ValueError(
                "statistics are for an architecture with batch norm that is `evaluating`, "
                f"which needs them; got {'some' if statistics else 'none'}"
            )
        version = inputs._version
        out = run(self, self.named(rows) | (statistics or {}), inputs, shared)
        if inputs._version != version:
            raise ValueError("module writes into its inputs, though not into two, its first ones")
        return out

    @torch.no_grad()
    def predict(self, rows: Tensor, inputs: Tensor, retain: Tensor, shared: bool = False) -> Tensor:
        """`logits` of B models as they are measured: without dropout, and without a gradient.

        Batch norm takes its `statistics` from `retain`, shaped as `inputs`, and from nothing else.
        """
        measured = self.evaluating()
        own = measured.statistics(rows, retain, shared)
        return measured.logits(rows, inputs, shared, own)

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """View rows (..., P) by parameter name, each in its shape after the leading one."""
        parts = rows.split([shape.numel() for shape in self.shapes], dim=-1)
        lead = rows.shape[:-1]
        return {n: part.reshape(*lead, *s) for n, s, part in zip(self.names, self.shapes, parts)}

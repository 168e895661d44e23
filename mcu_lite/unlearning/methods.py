"""An unlearning method is two per-example losses, in one registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf, isfinite
from reprlib import repr as short

from torch import Tensor
from torch.nn.functional import logsigmoid

from mcu_lite.checks import check_choice, checked
from mcu_lite.training.losses import per_example
from mcu_lite.unlearning.curriculum import ORDERS
from mcu_lite.unlearning.examples import Examples

Losses = tuple[Tensor | None, Tensor | None]
RESERVED_NAMES = ("", "original", "retain", "connected", "two_sided")


@checked
@dataclass(frozen=True)
class Method:
    """A registered method: its two losses and the recipe that was tuned for it.

    Parameters
    ----------
    name, terms, source
        As for `method`.
    losses : function of (forget, retain), both `Examples`
        Returns the two per-example losses; None for an absent term.
    forget_weight : float
        Weight of the forget term; the retain term has weight 1.
    lr, steps
        AdamW with linear decay, 32 forget and 64 retain examples a step.
    begins : {"original", "initial", "fresh"}
        The last two retrain on the retain set: from the original's initialisation, or another one.
    saliency : float in (0, 1]
        Share of the weights that may change: those with the largest gradient of the forget loss.
    forget_every, forget_until
        The forget term enters every so many steps, and only in this first share of them.
    l1 : float
        Weight of the penalty on the sum of absolute weights; it decays linearly to 0.
    """

    name: str
    losses: Callable[[Examples, Examples], Losses]
    terms: tuple[str, str] = ("", "")
    source: str = ""
    forget_weight: float = 1.0
    lr: float = 1e-3
    steps: int = 90
    begins: str = "original"
    saliency: float = 1.0
    forget_every: int = 1
    forget_until: float = 1.0
    l1: float = 0.0
    description: str = ""

    def __post_init__(self) -> None:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"name must not be {self.name!r}, which is reserved")
        check_choice("beginning", self.begins, ("original", "initial", "fresh"))
        rules = {
            "finite": (isfinite, "lr", "forget_weight", "l1"),
            "> 0": (lambda v: v > 0, "lr", "steps", "forget_every"),
            ">= 0": (lambda v: v >= 0, "forget_weight", "l1"),
            "in (0, 1]": (lambda v: 0 < v <= 1, "saliency", "forget_until"),
        }
        for allowed, (rule, *parts) in rules.items():
            for part in parts:
                if not rule(getattr(self, part)):
                    raise ValueError(f"{part} must be {allowed}, got {getattr(self, part)}")

    def terms_on(self, forget: Examples, retain: Examples) -> Losses:
        """Return the two losses of a batch, checked to be one number an example, or None."""
        both = self.losses(forget, retain)
        if not isinstance(both, tuple) or len(both) != 2 or both == (None, None):
            raise ValueError(f"method {self.name!r} must return two losses, got {short(both)}")
        for name, term, seen in zip(("forget", "retain"), both, (forget, retain)):
            if term is not None and term.shape != seen.labels.shape[:2]:
                raise ValueError(
                    f"method {self.name!r} must return one {name} loss an example, shape "
                    f"{tuple(seen.labels.shape[:2])}, got {tuple(term.shape)}"
                )
        return both


METHODS: dict[str, Method] = {}
FIELDS = [field.name for field in fields(Method) if field.name not in ("name", "losses")]
RECIPE = ("lr", "steps", "forget_weight")


def method(
    name: str,
    terms: tuple[str, str] = ("", ""),
    source: str = "",
    *,
    version: str = "",
    **recipe: float | str,
) -> Callable[[Callable], Callable]:
    """Register a function of (forget, retain) as an unlearning method.

    The function gets two `Examples`, a batch of each split, and returns two losses per example,
    each of shape (B, n), or None for an absent term. The first line of its docstring becomes the
    method's description.

    Parameters
    ----------
    name : str
        By which `mcu_lite.unlearn`, `mcu_lite.connect` and `mcu_lite.Endpoint` know it.
    terms : tuple of two str
        The forget and the retain term in words, for tables.
    source : str
    version : str
        Change it when code that the function calls has changed: see `mcu_lite.run`.
    **recipe
        ``forget_weight``, ``lr``, ``steps`` and the other fields of `Method`.

    Raises
    ------
    ValueError
        For a field that `Method` does not have, or a value or a name that it cannot have.

    Examples
    --------
    >>> @method("hinge", ("raise the loss to 2 nats", "cross-entropy"), forget_weight=0.1)
    ... def hinge(forget, retain):
    ...     '''Raise the forget loss up to 2 nats.'''
    ...     return (2 - forget.loss).relu(), retain.loss
    >>> METHODS.pop("hinge").forget_weight
    0.1
    """
    for part in recipe:
        check_choice("part of the recipe", part, FIELDS)

    def register(losses: Callable) -> Callable:
        if version:
            losses.version = version
        summary = (losses.__doc__ or "").strip().split("\n")[0]
        METHODS[name] = Method(name, losses, terms, source, description=summary, **recipe)
        return losses

    return register


def check_switches(recipe: Method, curriculum: float | str, order: int, changes: dict) -> None:
    """Raise a `ValueError` unless a method takes these switches and changes of its recipe."""
    check_choice("order", order, (1, 2))
    if isinstance(curriculum, str):
        check_choice("curriculum", curriculum, ORDERS)
    elif not 0 <= curriculum < inf:
        raise ValueError(f"curriculum must be >= 0 and finite, got {curriculum}")
    if recipe.begins != "original" and (curriculum or order == 2 or set(changes) - {"lr"}):
        raise ValueError(
            f"{recipe.name!r} retrains: it takes no curriculum, order or recipe but lr"
        )


CE, ABSENT = "cross-entropy", "none"
CE_WRONG_LABEL = (CE + " with another label", CE)
KL, NPO = "KL(original ‖ model)", "2/β · log(1 + (p/p₀)^β)"


@method("retrain", (ABSENT, CE), "the oracle; Bourtoule et al. 2021", begins="fresh")
def retrain(forget: Examples, retain: Examples) -> Losses:
    """Train from another initialisation on the retain set alone."""
    return None, retain.loss


@method("retrain_same", (ABSENT, CE), "the oracle, initialised as the original", begins="initial")
def retrain_same(forget: Examples, retain: Examples) -> Losses:
    """Train from the original model's own initialisation on the retain set alone."""
    return None, retain.loss


@method("finetune", (ABSENT, CE), "Golatkar et al. 2020", lr=1.5e-2)
def finetune(forget: Examples, retain: Examples) -> Losses:
    """Go on training on the retain set and hope that the rest fades."""
    return None, retain.loss


@method("gradient_ascent", ("−" + CE, ABSENT), "Thudi et al. 2022", lr=5e-4, steps=15)
def gradient_ascent(forget: Examples, retain: Examples) -> Losses:
    """Maximise the forget loss; it knows nothing of the retain set and must stop early."""
    return -forget.loss, None


@method(
    "graddiff",
    ("−min(cross-entropy, 4)", CE),
    "Liu et al. 2022; NegGrad+ of Kurmanji et al. 2023",
    forget_weight=0.1,
)
def graddiff(forget: Examples, retain: Examples, cap: float = 4.0) -> Losses:
    """Maximise the forget loss up to a cap in nats while the retain loss is minimised."""
    return -forget.loss.clamp(max=cap), retain.loss


@method("npo", (NPO, CE), "Zhang et al. 2024", forget_weight=0.1)
def npo(forget: Examples, retain: Examples, beta: float = 1.0) -> Losses:
    """Negative preference optimisation: make the label less probable than the original has it."""
    return npo_forget(forget, retain, beta)[0], retain.loss


@method("npo_forget", (NPO, ABSENT), "Zhang et al. 2024", lr=5e-4, steps=15)
def npo_forget(forget: Examples, retain: Examples, beta: float = 1.0) -> Losses:
    """Negative preference optimisation on the forget set alone."""
    return -2.0 / beta * logsigmoid(-beta * forget.log_ratio), None


@method("simnpo", ("2/β · log(1 + e^γ p^β)", CE), "Fan et al. 2024", forget_weight=0.1)
def simnpo(forget: Examples, retain: Examples, beta: float = 1.0, gamma: float = 0.0) -> Losses:
    """NPO without the original as a reference."""
    return -2.0 / beta * logsigmoid(beta * forget.loss - gamma), retain.loss


@method(
    "random_labels", CE_WRONG_LABEL, "Golatkar et al. 2020; Graves et al. 2021", forget_weight=0.01
)
def random_labels(forget: Examples, retain: Examples) -> Losses:
    """Learn wrong labels for the forget set, drawn once for each seed."""
    return per_example(forget.logits, forget.wrong), retain.loss


@method("bad_teacher", ("KL(incompetent ‖ model)", KL), "Chundawat et al. 2023", forget_weight=0.03)
def bad_teacher(forget: Examples, retain: Examples) -> Losses:
    """Imitate an untrained teacher on the forget set and the original on the retain set."""
    return forget.kl_from(forget.incompetent), retain.kl_from(retain.original)


@method(
    "salun", CE_WRONG_LABEL, "Fan et al. 2024 (ICLR)", forget_weight=0.01, lr=2e-3, saliency=0.5
)
def salun(forget: Examples, retain: Examples) -> Losses:
    """Random labels, on the half of the weights that matter most for the forget loss."""
    return random_labels(forget, retain)


@method(
    "scrub",
    (f"−min({KL}, 4), in alternate steps, ended early", KL + " + CE"),
    "Kurmanji et al. 2023",
    forget_weight=0.3,
    lr=2e-3,
    forget_every=2,
    forget_until=0.6,
)
def scrub(forget: Examples, retain: Examples, cap: float = 4.0) -> Losses:
    """Part from the original on the forget set, stay with it on the retain set, by turns."""
    away = -forget.kl_from(forget.original).clamp(max=cap)
    return away, retain.kl_from(retain.original) + retain.loss


@method(
    "l1_sparse", (ABSENT, "cross-entropy + α‖θ‖₁"), "Jia et al. 2023", lr=1.5e-2, steps=180, l1=1e-4
)
def l1_sparse(forget: Examples, retain: Examples) -> Losses:
    """Fine-tune towards sparse weights: what is pruned is forgotten."""
    return None, retain.loss


@method(
    "delete",
    ("KL(original without the label ‖ model)", ABSENT),
    "Zhou et al. 2025",
    lr=5e-4,
    steps=15,
)
def delete(forget: Examples, retain: Examples) -> Losses:
    """Distil the original with the label's probability masked out; no retain data needed."""
    masked = forget.original.scatter(-1, forget.labels.clamp(min=0).unsqueeze(-1), -1e4)
    return forget.kl_from(masked), None

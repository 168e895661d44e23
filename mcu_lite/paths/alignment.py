"""Hidden units have no order: permute one model's so that they match another's."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack

UNSUPPORTED = "module must be a chain of nn.Linear layers to be aligned"


def align(b: Stack, a: Stack, rounds: int = 50) -> Stack:
    """Permute the hidden units of each model of `b` to bring its weights closest to `a`'s.

    Two models that differ in the order of their units only are one function, yet a straight
    line between them climbs. What is left of a barrier after alignment is not due to the order.

    Parameters
    ----------
    b, a : Stack
        B models each, of one architecture: a chain of ``nn.Linear``, in the order of their
        definition, with element-wise functions between them, like ``mcu_lite.mlp``.
    rounds : int
        At most so many passes over the hidden layers; it stops when nothing changes.

    Returns
    -------
    Stack
        The functions of `b`, its label and origin. The initial rows change places with their
        units: from there training would have led here. Where either model diverged, the row
        stays as it is.

    Raises
    ------
    ValueError
        If the architectures or the numbers of models differ, or the module is no such chain.

    Notes
    -----
    Weight matching (Ainsworth et al., 2023, algorithm 1): coordinate descent over the hidden
    layers, here from the first to the last, each step a linear assignment. The distance to `a`
    never increases, but where it ends need not be the closest of all permutations.

    Examples
    --------
    >>> other = train(task, seed=1, epochs=5)
    >>> bool(((align(other, theta).rows - theta.rows).norm() < (other.rows - theta.rows).norm()))
    True
    """
    b.architecture.check_same(a.architecture, "b and a have different architectures")
    if len(b) != len(a):
        raise ValueError(f"b has {len(b)} models, a has {len(a)}")
    if rounds < 0:
        raise ValueError(f"rounds must be >= 0, got {rounds}")
    units = hidden_units(b.architecture)
    places = torch.arange(b.architecture.size).repeat(len(b), 1)
    for i in (~(b.diverged | a.diverged)).nonzero().flatten().tolist():
        own, other = (s.rows[i].double().cpu().numpy() for s in (b, a))
        places[i] = torch.from_numpy(_match(own, other, units, rounds))
    places = places.to(b.rows.device)
    initial = None if b.initial is None else b.initial.gather(1, places)
    return b.with_rows(b.rows.gather(1, places), initial=initial)


def _match(row: np.ndarray, target: np.ndarray, units: list[np.ndarray], rounds: int) -> np.ndarray:
    """Where each number of the permuted row stood in `row`, shape (P,)."""
    places = np.arange(len(row))
    for _ in range(rounds):
        changed = False
        for own in units:
            # |target - row|² is constant but for the inner product, which is to be maximal.
            products = target[own] @ row[places[own]].T
            order = linear_sum_assignment(products, maximize=True)[1]
            gain = (products[np.arange(len(own)), order] - products.diagonal()).sum()
            # Rounding alone must not keep equal units changing places.
            if gain > 1e-12 * np.abs(products).sum():
                places[own] = places[own[order]]
                changed = True
        if not changed:
            break
    return places


def hidden_units(architecture: Architecture) -> list[np.ndarray]:
    """Where each hidden unit of a chain of linear layers stands in a row: (units, k) a layer.

    Line j holds the k positions in the row of unit j's incoming weights, bias and outgoing
    weights: to exchange two units is to exchange two lines. Layers count as defined, not as called.
    """
    modules = architecture.module.named_modules(remove_duplicate=False)
    layers = [name for name, module in modules if type(module) is nn.Linear]
    place = architecture.named(torch.arange(architecture.size))
    weights = [place.pop(f"{name}.weight", None) for name in layers]
    biases = [place.pop(f"{name}.bias", None) for name in layers]
    if place or not layers or any(w is None for w in weights):
        why = f"it also has {', '.join(place)}" if place else "a layer is frozen, shared or missing"
        raise ValueError(f"{UNSUPPORTED}: {why}")
    if any(len(w) != v.shape[1] for w, v in zip(weights, weights[1:])):
        raise ValueError(f"{UNSUPPORTED}: a layer's outputs are not the inputs of the next")
    units = [
        torch.cat([w, *([] if bias is None else [bias[:, None]]), v.T], dim=1).numpy()
        for w, bias, v in zip(weights, biases, weights[1:])
    ]
    # Shortcuts, and functions that mix units, do not show in the parameters, but in the outputs.
    rng = np.random.default_rng(0)
    rows = np.tile(0.1 * rng.normal(size=architecture.size), (2, 1))
    for own in units:
        rows[1, own] = rows[1, rng.permutation(own)]
    x = torch.from_numpy(rng.normal(size=(8, weights[0].shape[1])))
    measured = architecture.to("cpu").evaluating()
    if not torch.allclose(*measured.logits(torch.from_numpy(rows), x, shared=True)):
        raise ValueError(f"{UNSUPPORTED}: permuting its hidden units changes its outputs")
    return units

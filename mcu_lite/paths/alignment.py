"""Hidden units have no order: permute one model's so that they match another's."""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, fx, nn

from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack


def align(b: Stack, a: Stack, rounds: int = 50) -> Stack:
    """Permute the hidden units of each model of `b` to bring its weights closest to `a`'s.

    Two models that differ in the order of their units only are one function, yet a straight
    line between them climbs. What is left of a barrier after alignment is not due to the order.

    Parameters
    ----------
    b, a : Stack
        B models each, of one architecture: a chain of ``nn.Linear`` with element-wise
        functions between them, like ``mcu_lite.mlp``.
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
    one, two = b.architecture, a.architecture
    if (one.names, one.shapes) != (two.names, two.shapes):
        raise ValueError("b and a have different architectures: their parameters do not match")
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
    """Where each hidden unit of a chain of linear layers stands in a row.

    Parameters
    ----------
    architecture : Architecture

    Returns
    -------
    list of int arrays, shape (units, k)
        One array a hidden layer. Line j holds the k positions in the row of unit j's incoming
        weights, bias and outgoing weights: to exchange two units is to exchange two lines.

    Raises
    ------
    ValueError
        If the module is not a chain of ``nn.Linear``.
    """
    graph = _trace(architecture.module)
    modules = dict(graph.named_modules())
    calls = [n for n in graph.graph.nodes if isinstance(modules.get(n.target), nn.Linear)]
    place = architecture.named(torch.arange(architecture.size))
    weights = [place.pop(f"{n.target}.weight", None) for n in calls]
    biases = [place.pop(f"{n.target}.bias", None) for n in calls]
    if place or not calls or any(w is None for w in weights):
        raise _unsupported(
            f"it also has {', '.join(place)}" if place else "a layer is frozen, shared or missing"
        )
    if any(w.shape[0] != v.shape[1] for w, v in zip(weights, weights[1:])):
        raise _unsupported("a layer's outputs are not the inputs of the next")
    units = [
        torch.cat([w, *([] if bias is None else [bias[:, None]]), v.T], dim=1).numpy()
        for w, bias, v in zip(weights, biases, weights[1:])
    ]
    _probe(architecture, graph.graph, calls[0], weights[0].shape[1], units)
    return units


def _trace(module: nn.Module) -> fx.GraphModule:
    """Record the order of calls; it need not be the order in which layers were defined."""
    try:
        return fx.symbolic_trace(copy.deepcopy(module).eval())
    except Exception as error:  # Whatever forward() raises when it is given a proxy.
        raise _unsupported(f"its forward() cannot be traced: {error}") from error


def _probe(
    architecture: Architecture, graph: fx.Graph, first: fx.Node, inputs: int, units: list
) -> None:
    """Exchange units of a random model; its outputs tell whether layers only follow each other.

    Shortcuts, and functions that mix units, do not show in the parameters.
    """
    rng = np.random.default_rng(0)
    row = 0.1 * rng.normal(size=architecture.size)
    other = row.copy()
    for own in units:
        other[own] = other[rng.permutation(own)]
    x = torch.from_numpy(rng.normal(size=(8, inputs)))
    given: dict[fx.Node, Tensor] = {}
    for node in graph.nodes:  # What comes before the first layer is given, of whatever shape.
        if node is first:
            break
        given[node] = x
    values = []
    for weights in (row, other):
        module = architecture.module_at(torch.from_numpy(weights)).double().eval()
        run = fx.Interpreter(fx.GraphModule(module, graph))
        with torch.no_grad():
            values.append(run.run(x, initial_env=dict(given)))
    if not torch.allclose(*values):
        raise _unsupported("permuting its hidden units changes its outputs")


def _unsupported(why: str) -> ValueError:
    return ValueError(f"module must be a chain of nn.Linear layers to be aligned: {why}")

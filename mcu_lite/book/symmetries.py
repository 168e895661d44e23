"""The same function at other weights: hidden units in another order, or of another scale."""

from __future__ import annotations

import numpy as np
import torch

from mcu_lite.models.stack import Stack
from mcu_lite.paths.alignment import hidden_units


def elsewhere(stack: Stack, *, rename: bool = True, rescale: float = 1.0, seed: int = 0) -> Stack:
    """Move models to other weights that compute the same function.

    Parameters
    ----------
    stack : Stack
        Of chains of linear layers, as for `mcu_lite.align`; to be rescaled with ReLU between them.
    rename : bool
        Whether the hidden units of each layer change places at random.
    rescale : float
        Each hidden unit's incoming weights and bias are multiplied, and its outgoing weights
        divided, by a factor drawn log-uniformly between 1/rescale and rescale. At least 1.
    seed : int

    Returns
    -------
    Stack
        Its logits differ by rounding only.

    Raises
    ------
    ValueError
        For another module, a `rescale` below 1, or one above 1 where functions other than ReLU
        make it change the outputs.
    """
    if not 1 <= rescale < np.inf:
        raise ValueError(f"rescale must be >= 1 and finite, got {rescale}")
    units = hidden_units(stack.architecture)
    rng, rows = np.random.default_rng(seed), stack.rows.double().cpu().numpy()
    outgoing = [len(after) for after in units[1:]]
    outgoing.append(len(stack.architecture.named(stack.rows)[stack.architecture.names[-1]][0]))
    for own, after in zip(units, outgoing):
        for row in rows:
            factor = np.exp(np.log(rescale) * rng.uniform(-1, 1, (len(own), 1)))
            power = np.ones(own.shape[1])
            power[-after:] = -1
            order = rng.permutation(len(own)) if rename else np.arange(len(own))
            row[own] = (row[own] * factor**power)[order]
    moved = stack.with_rows(torch.from_numpy(rows).to(stack.rows))
    x = torch.from_numpy(rng.normal(size=(8, units[0].shape[1] - 1 - outgoing[0])))
    measured = stack.architecture.to("cpu").evaluating()
    before, now = (measured.logits(s.rows.double().cpu(), x, shared=True) for s in (stack, moved))
    if not torch.allclose(before, now, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise ValueError("rescale must be 1 for a module with functions other than ReLU")
    return moved

"""Choose a state of a fit, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import torch
from torch import Tensor


def best(states: Sequence[Tensor], score: Callable[[Tensor], Tensor], lost: Tensor) -> Tensor:
    """Take each row from the state of its highest score; states (B, ...), scores and lost (B,).

    Rows that are lost, or have no score but NaN, are those of the last state.
    """
    scores = torch.stack([_checked(score(state), len(lost)) for state in states])
    first = scores.nan_to_num(-inf).argmax(0)
    first[scores.isnan().all(0) | lost.cpu()] = len(states) - 1
    return torch.stack([states[k][row] for row, k in enumerate(first.tolist())])


def _checked(given: object, n: int) -> Tensor:
    if not isinstance(given, Tensor) or given.shape != (n,) or given.is_complex():
        what = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"{given!r:.60}"
        raise ValueError(f"select must give a tensor of {n} scores, one a curve, got {what}")
    return given.detach().cpu().double()

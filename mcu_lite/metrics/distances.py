"""How far weights moved."""

from __future__ import annotations

import numpy as np
import torch

from mcu_lite.models.stack import Stack


def distance(a: Stack, b: Stack) -> np.ndarray:
    """Euclidean distance ‖θ_a - θ_b‖ of each row of a from the same row of b, shape (B,).

    NaN where one of the two diverged.
    """
    if a.rows.shape != b.rows.shape:
        raise ValueError(
            f"a and b must hold models of one shape, got {tuple(a.rows.shape)} and "
            f"{tuple(b.rows.shape)}"
        )
    apart = torch.linalg.vector_norm(a.rows - b.rows, dim=1, dtype=torch.float64).cpu().numpy()
    return np.where((a.diverged | b.diverged).cpu().numpy(), np.nan, apart)


def displacement(stack: Stack) -> np.ndarray:
    """Distance ‖θ' - θo‖ of each unlearned model from its original, shape (B,)."""
    if stack.origin is None:
        raise ValueError("stack does not know the original models from which it was unlearned")
    return distance(stack, stack.origin)

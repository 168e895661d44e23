"""A plane through three models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mcu_lite.models.stack import Stack


@dataclass(frozen=True)
class Plane:
    """B planes in weight space, one a seed, with right-angled axes of length 1.

    Its `origin` (B, P) is the first model. The `basis` (2, B, P) points towards the second model,
    and from the line through both to the third. The `corners` (3, B, 2) are the coordinates of the
    three models.
    """

    origin: Tensor
    basis: Tensor
    corners: Tensor

    @property
    def chord(self) -> Tensor:
        """Distance of the second model from the first, shape (B,)."""
        return self.corners[1, :, 0]

    def coordinates(self, rows: Tensor) -> Tensor:
        """Nearest points of the plane to rows (..., B, P): coordinates, shape (..., B, 2)."""
        apart = rows.double() - self.origin
        return torch.stack([(apart * axis).sum(-1) for axis in self.basis], dim=-1)

    def rows(self, points: Tensor) -> Tensor:
        """Models at coordinates (..., B, 2), shape (..., B, P)."""
        return (self.origin + self._offset(points.double())).float()

    def distance(self, rows: Tensor) -> Tensor:
        """How far rows (..., B, P) lie off the plane, shape (..., B)."""
        offset = self._offset(self.coordinates(rows))
        return (rows.double() - self.origin - offset).norm(dim=-1)

    def _offset(self, points: Tensor) -> Tensor:
        return sum(points[..., k, None] * self.basis[k] for k in (0, 1))


def plane(a: Tensor | Stack, b: Tensor | Stack, c: Tensor | Stack) -> Plane:
    """Lay a plane through three models (B, P) of each seed, as Garipov et al. (2018) draw it.

    `a` lies at the origin, `b` on the first axis, `c` on the side of the second axis. The three
    models of a seed must not lie on one line.
    """
    a, b, c = (m.rows if isinstance(m, Stack) else m for m in (a, b, c))
    if a.ndim != 2 or not a.shape == b.shape == c.shape:
        shapes = [tuple(m.shape) for m in (a, b, c)]
        raise ValueError(f"a, b and c must have one shape (B, P), got {shapes}")
    origin, along, aside = a.double(), b.double() - a.double(), c.double() - a.double()
    chord = along.norm(dim=-1)
    first = along / chord.unsqueeze(-1)
    off = aside - (aside * first).sum(-1, keepdim=True) * first
    height = off.norm(dim=-1)
    # Rounding in single precision leaves about a millionth of the length.
    flat = ~(torch.minimum(chord, height) > 1e-5 * torch.maximum(chord, aside.norm(dim=-1)))
    if flat.any():
        where = flat.nonzero().flatten().tolist()
        raise ValueError(f"a, b and c lie on one line, or are not finite, for seeds {where}")
    basis = torch.stack([first, off / height.unsqueeze(-1)])
    zero = torch.zeros_like(chord)
    foot = (aside * first).sum(-1)
    corners = torch.stack([zero, zero, chord, zero, foot, height], -1).view(-1, 3, 2)
    return Plane(origin, basis, corners.movedim(1, 0))


def at_random(plane: Plane, seed: int = 0) -> Plane:
    """Lay another plane through the first two models, turned to a random side of their line.

    Its third corner has the same coordinates, but is another model.
    """
    rng, first = torch.Generator().manual_seed(seed), plane.basis[0]
    aside = torch.randn(first.shape, generator=rng, dtype=first.dtype).to(first.device)
    aside -= (aside * first).sum(-1, keepdim=True) * first
    return replace(plane, basis=torch.stack([first, aside / aside.norm(dim=-1, keepdim=True)]))


def grid(plane: Plane, points: int = 25, margin: tuple[float, float] = (0.2, 0.2)) -> Tensor:
    """Even grid around the corners, the same for all seeds in units of each seed's chord.

    Coordinates, shape (points, points, B, 2); the first axis goes along y. `margin` is the space
    around the corners of all seeds, as a share of what they span along x and y.
    """
    if points < 2 or not min(margin) >= 0:
        raise ValueError(f"points must be >= 2 and margin >= 0, got {points} and {margin}")
    scaled = plane.corners / plane.chord.unsqueeze(-1)
    low, high = scaled.amin((0, 1)), scaled.amax((0, 1))
    space = torch.tensor(margin) * (high - low)
    low, high = low - space, high + space
    x, y = (torch.linspace(*ends, points, dtype=torch.float64) for ends in zip(low, high))
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return cells.unsqueeze(2) * plane.chord.unsqueeze(-1)

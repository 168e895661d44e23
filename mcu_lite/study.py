"""Profiles: how much a run of the book computes."""

from __future__ import annotations

from dataclasses import dataclass

from mcu_lite.tasks import known


@dataclass(frozen=True)
class Profile:
    """Number of seeds, points along a curve, and epochs of training from scratch."""

    seeds: int
    ts: int
    epochs: int


PROFILES = {
    "ci": Profile(seeds=2, ts=11, epochs=40),
    "book": Profile(seeds=5, ts=41, epochs=100),
    "full": Profile(seeds=20, ts=41, epochs=100),
}


def load_profile(name: str) -> Profile:
    """Return a profile of ``PROFILES`` by name."""
    return PROFILES[known("profile", name, PROFILES)]

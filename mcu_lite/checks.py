"""What a caller may pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SPLITS = ("retain", "forget", "test")


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Turn the seeds, or how many, into a tuple."""
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more, none negative and none twice, got {seeds}")
    return seeds


def known(what: str, name: str, names: Iterable[str]) -> str:
    """Return `name`, or raise a `ValueError` that lists the known ones."""
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(map(repr, names))}")
    return name

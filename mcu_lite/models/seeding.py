"""Random numbers that depend on named seeds, and on nothing that was drawn before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from zlib import crc32

import numpy as np
import torch

DRAWING = RLock()


@contextmanager
def seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """What is drawn inside depends on `seed` alone; the global random state stays.

    ``fork_rng`` is process-wide, so a lock serialises threads; wrap single calls only. With None
    this does nothing.
    """
    if seed is None:
        yield
        return
    devices = [device] if torch.device(device).type == "cuda" else []
    with DRAWING, torch.random.fork_rng(devices):
        torch.manual_seed(seed) if devices else torch.default_generator.manual_seed(seed)
        yield


def generators(purpose: str, seed: int, seeds: Sequence[int]) -> list[torch.Generator]:
    """One independent random generator a row, named by its purpose and two seeds.

    A row's numbers depend on its own seed only, so that a stack of 20 starts
    with the very rows of a stack of 5.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    names = [np.random.SeedSequence([crc32(purpose.encode()), seed, s]) for s in seeds]
    # numpy 1 cannot shift its own unsigned numbers by an int.
    return [
        torch.Generator().manual_seed(int(n.generate_state(1, np.uint64)[0]) >> 1) for n in names
    ]

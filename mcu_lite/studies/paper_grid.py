"""The paper's conditions as one declarative list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from mcu_lite.studies.conditions import ORIGINAL, Condition, Endpoint

COMPARED = tuple(
    "finetune gradient_ascent graddiff npo simnpo random_labels bad_teacher salun scrub l1_sparse "
    "delete".split()
)
"""The approximate methods of the grid."""
ORACLES = ("retrain", "retrain_same")
PATHS = ("linear", "bezier")
NEITHER, CL, SO, BOTH = (0.0, 1), (1.0, 1), (0.0, 2), (1.0, 2)
"""Curriculum and order."""


def grid(methods: Sequence[str] = COMPARED, paths: Sequence[str] = PATHS) -> list[Condition]:
    """Return every condition of the paper's table, on straight and on curved paths.

    Parameters
    ----------
    methods : sequence of str
        Names in ``METHODS``.
    paths : sequence of str

    Examples
    --------
    >>> pairs = grid(["npo", "scrub"])
    >>> sorted({condition.name for condition in pairs})[:3]
    ['CL', 'CL×SO', 'CL–CL']
    """
    plain = {m: Endpoint(m) for m in (*methods, *ORACLES)}
    # One method, two seeds; two retrained models from different initialisations.
    ends = [("Rand", plain[m], Endpoint(m, 1)) for m in (*methods, "retrain")]
    ends += [("Met", plain[m], plain[n]) for m, n in combinations(methods, 2)]
    # One switch off and on; on, two seeds.
    for name, (lam, order) in {"CL": CL, "SO": SO}.items():
        for on in (Endpoint(m, 0, lam, order) for m in methods):
            ends += [(name, plain[on.method], on), (f"{name}–{name}", on, replace(on, seed=1))]
    # Every other pair of settings of the two switches.
    pairs = [*combinations((NEITHER, CL, SO, BOTH), 2)][2:]
    ends += [("CL×SO", *(Endpoint(m, 0, *s) for s in pair)) for m in methods for pair in pairs]
    # Every method and the retrained model, of either initialisation; the two oracles.
    ends += [("Oracle", plain[o], plain[m]) for m in methods for o in ORACLES]
    ends += [("Oracle", *map(plain.get, ORACLES))]
    ends += [("Original", ORIGINAL, end) for end in plain.values()]
    return [Condition(name, a, b, path) for name, a, b in ends for path in paths]

"""The paper's conditions as one declarative list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from mcu_lite.studies.conditions import Condition, Endpoint
from mcu_lite.unlearning.methods import METHODS

COMPARED = tuple(
    name for name, m in METHODS.items() if m.begins == "original" and name != "npo_forget"
)
"""The approximate methods of the grid."""
ORACLES = ("retrain", "retrain_same")
PATHS = ("linear", "bezier")
NEITHER, CL, SO, BOTH = (0.0, 1), (1.0, 1), (0.0, 2), (1.0, 2)
"""Curriculum and order."""

Ends = tuple[str, Endpoint, Endpoint]


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
    families = (rand, met, curriculum, order, both, oracles, original)
    ends = [line for family in families for line in family(methods)]
    return [Condition(name, a, b, path) for name, a, b in ends for path in paths]


def rand(methods: Iterable[str]) -> list[Ends]:
    """One method, two seeds; two retrained models from different initialisations."""
    return [("Rand", Endpoint(m, 0), Endpoint(m, 1)) for m in (*methods, "retrain")]


def met(methods: Iterable[str]) -> list[Ends]:
    """All pairs of methods."""
    return [("Met", Endpoint(m), Endpoint(n)) for m, n in combinations(methods, 2)]


def curriculum(methods: Iterable[str]) -> list[Ends]:
    """Without and with curriculum; with it, two seeds."""
    return [line for m in methods for line in _switched("CL", m, curriculum=1.0)]


def order(methods: Iterable[str]) -> list[Ends]:
    """First and second order; second order, two seeds."""
    return [line for m in methods for line in _switched("SO", m, order=2)]


def _switched(name: str, method: str, **switch) -> list[Ends]:
    on, again = Endpoint(method, 0, **switch), Endpoint(method, 1, **switch)
    return [(name, Endpoint(method), on), (f"{name}–{name}", on, again)]


def both(methods: Iterable[str]) -> list[Ends]:
    """The pairs of switch settings that the two families before do not have."""
    seen = {(NEITHER, CL), (NEITHER, SO)}
    pairs = [pair for pair in combinations((NEITHER, CL, SO, BOTH), 2) if pair not in seen]
    return [
        ("CL×SO", *(Endpoint(m, curriculum=c, order=o) for c, o in pair))
        for m in methods
        for pair in pairs
    ]


def oracles(methods: Iterable[str]) -> list[Ends]:
    """Every method and the retrained model, of either initialisation; the two oracles."""
    lines = [("Oracle", Endpoint(o), Endpoint(m)) for m in methods for o in ORACLES]
    return [*lines, ("Oracle", *map(Endpoint, ORACLES))]


def original(methods: Iterable[str]) -> list[Ends]:
    """The original model and every unlearned or retrained one."""
    return [("Original", Endpoint("original"), Endpoint(m)) for m in (*methods, *ORACLES)]

"""Which models answer alike, pair by pair, and how they cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from mcu_lite.metrics.registry import Outputs
from mcu_lite.models.stack import Stack
from mcu_lite.tasks.task import Task, check_range, check_rows


def disagreement(a: Stack, b: Stack, task: Task, split: str = "test") -> np.ndarray:
    """Share of a split's examples that a and b classify differently, shape (B,)."""
    inputs, _ = task.split(split)
    (p, diverged_a), (q, diverged_b) = (classified(s, task, inputs) for s in (a, b))
    return np.where(diverged_a | diverged_b, np.nan, (p != q).mean(-1))


def classified(stack: Stack, task: Task, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes (B, n) on inputs (B, n, ...), and which models diverged, shape (B,)."""
    check_rows(stack, task)
    logits = stack.architecture.predict(stack.rows, inputs, task.inputs[task.retain])
    outputs = Outputs({"": logits.cpu().numpy()}, {})
    return outputs.logits[""].argmax(-1), outputs.diverged | stack.diverged.cpu().numpy()


# Many models at once.


def pairwise(
    stacks: dict[str, Stack],
    measure: Callable[[Stack, Stack], np.ndarray],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Apply a measure to every unordered pair of stacks; tidy: a, b, seed, value.

    `measure` maps two stacks to an array (B,), such as ``partial(disagreement, task=task)``;
    `seeds` names the B rows, such as ``task.seeds``.
    """
    if len(stacks) < 2:
        raise ValueError(f"stacks must hold at least two, got {list(stacks)}")
    frames = [
        pd.DataFrame({"a": a, "b": b, "seed": seeds, "value": measure(stacks[a], stacks[b])})
        for a, b in combinations(stacks, 2)
    ]
    return pd.concat(frames, ignore_index=True)


def cluster(table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Average linkage of the distances of `pairwise`, averaged over seeds that did not diverge.

    Returns the names in the optimal order of the leaves, and SciPy's linkage (names - 1, 4), whose
    numbers count the names in the order of `pairwise`'s stacks. Distances are such as disagreement,
    or 1 - CKA.
    """
    names, tree = _tree(table)
    return [names[i] for i in leaves_list(tree)], tree


def _tree(table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    names = list(pd.unique(pd.concat([table.a, table.b])))
    half = table.groupby(["a", "b"]).value.mean().unstack().reindex(index=names, columns=names)
    distance = half.fillna(half.T).to_numpy(copy=True)
    np.fill_diagonal(distance, 0.0)
    if not np.isfinite(distance).all():
        raise ValueError("table lacks a distance: some pair is missing or NaN for every seed")
    return names, linkage(squareform(distance), "average", optimal_ordering=True)


def clusters(table: pd.DataFrame, cuts: Sequence[int]) -> pd.DataFrame:
    """Cut the tree of a table of `pairwise` into so many clusters: names by cuts, labels."""
    names, tree = _tree(table)
    for groups in cuts:
        check_range("groups", groups, 2, len(names) - 1)
    labels = {groups: fcluster(tree, groups, "maxclust") for groups in cuts}
    return pd.DataFrame(labels, names).sort_index()


def agreement_of(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985) of two tables of `clusters`, mean over cuts.

    1: the same clusters; about 0: agreement of chance.
    """
    if list(one.index) != list(other.index):
        raise ValueError(f"other must hold the names of one, {list(one.index)}, got {other.index}")
    return float(np.mean([_adjusted_rand(one[cut], other[cut]) for cut in one]))


def _adjusted_rand(one: pd.Series, other: pd.Series) -> float:
    """By pairs of names: how many both join, beyond chance, over the most that could be."""
    # That of scikit-learn checks its arguments for ten times as long as it counts.
    u, v = (pdist(labels.to_numpy()[:, None]) == 0 for labels in (one, other))
    chance, most = u.sum() * v.sum() / max(len(u), 1), (u.sum() + v.sum()) / 2
    return 1.0 if most == chance else float(((u & v).sum() - chance) / (most - chance))


def cluster_agreement(one: pd.DataFrame, other: pd.DataFrame, groups: int) -> float:
    """`agreement_of` the clusters of two tables of `pairwise`, each cut into `groups`."""
    return agreement_of(clusters(one, [groups]), clusters(other, [groups]))


def cluster_stability(table: pd.DataFrame, groups: int) -> float:
    """Mean `cluster_agreement` of each seed with the mean of the others; 0 on average by chance.

    Seeds with a missing distance are left out.
    """
    whole = table.groupby("seed").filter(lambda own: own.value.notna().all())
    seeds = whole.seed.unique()
    if len(seeds) < 2:
        raise ValueError(f"table must have every distance for two seeds, has it for {len(seeds)}")
    held_out = [(whole[whole.seed != s], whole[whole.seed == s]) for s in seeds]
    return float(np.mean([cluster_agreement(rest, own, groups) for rest, own in held_out]))

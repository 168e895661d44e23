"""Similarity of answers, activations and mechanisms, each against another way to compute it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.cluster.hierarchy import fcluster
from torch import nn

import mcu_lite as mcu
from mcu_lite.book import likeness
from mcu_lite.metrics import similarity as s

RNG = np.random.default_rng(0)


def lost(stack):
    rows = stack.rows.clone()
    rows[0] = torch.nan
    return replace(stack, rows=rows, diverged=torch.tensor([True, False]))


# Answers.


def test_disagreement_by_a_loop(theta, oracle, task):
    value = s.disagreement(theta, oracle, task, "forget")
    for b in range(len(task)):
        one, two = theta.module(b), oracle.module(b)
        differ = [
            one(task.inputs[[i]]).argmax().item() != two(task.inputs[[i]]).argmax().item()
            for i in task.forget[b].tolist()
        ]
        assert value[b] == pytest.approx(sum(differ) / len(differ))
    assert 0 < value.min() and value.max() < 1
    assert (s.disagreement(theta, theta, task) == 0).all()
    assert np.isnan(s.disagreement(lost(theta), oracle, task)).tolist() == [True, False]


def test_dropout_is_off(task):
    module = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.9), nn.ReLU(), nn.Linear(64, 10))
    stack = mcu.Stack.of(module, module)
    assert (s.disagreement(stack, stack, task) == 0).all()
    assert likeness.layer_cka(stack, stack, task).cka.to_numpy() == pytest.approx(1.0)


def test_kappa_by_hand(theta, oracle, task):
    value = likeness.agreement_on_forgotten(theta, oracle, task)
    for b in range(len(task)):
        x, y = (part[b] for part in task.split("forget"))
        p, q = ((m.module(b)(x).argmax(1) == y).float() for m in (theta, oracle))
        observed = (p == q).float().mean()
        chance = p.mean() * q.mean() + (1 - p.mean()) * (1 - q.mean())
        assert value[b] == pytest.approx(((observed - chance) / (1 - chance)).item(), abs=1e-5)
    assert likeness.agreement_on_forgotten(oracle, oracle, task) == pytest.approx(1.0)
    assert np.isnan(likeness.agreement_on_forgotten(theta, lost(oracle), task))[0]


def constant(task, answers):
    """Models that give one answer to everything."""
    modules = []
    for answer in answers:
        module = nn.Linear(64, 10)
        module.weight.data.zero_()
        module.bias.data = nn.functional.one_hot(torch.tensor(answer), 10).float()
        modules.append(module)
    return mcu.Stack.of(*modules)


@pytest.mark.filterwarnings("error")
def test_kappa_is_undefined_where_both_know_all_or_nothing():
    task = mcu.load_task("digits", seeds=2, forget_class=3)
    same = constant(task, [3, 4])  # knows all of the forget set; knows nothing of it
    assert np.isnan(likeness.agreement_on_forgotten(same, same, task)).all()
    assert likeness.agreement_on_forgotten(same, constant(task, [4, 3]), task).tolist() == [
        0.0,
        0.0,
    ]


# Activations.


def test_cka_invariances():
    x, y = RNG.normal(size=(50, 7)), RNG.normal(size=(50, 5))
    turn = np.linalg.qr(RNG.normal(size=(7, 7)))[0]
    value = likeness.cka(x, y)
    assert 0 < value < 1
    assert likeness.cka(y, x) == pytest.approx(value)
    assert likeness.cka(3.7 * x @ turn + 2.0, y) == pytest.approx(value)
    assert likeness.cka(x, x) == pytest.approx(1.0)
    assert likeness.cka(x, -0.1 * x @ turn - 5) == pytest.approx(1.0)
    assert likeness.cka(x @ np.diag(np.arange(7.0)), y) != pytest.approx(value)
    assert np.isnan(likeness.cka(x, np.ones((50, 3))))


def test_cka_is_normalised_hsic():
    n = 20
    x, y = RNG.normal(size=(n, 40)), RNG.normal(size=(n, 4))

    def hsic(u, v):
        """Gretton et al. (2005): the trace of K H L H, element by element of the kernels."""
        k = np.array([[sum(p * q for p, q in zip(i, j)) for j in u] for i in u])
        m = np.array([[sum(p * q for p, q in zip(i, j)) for j in v] for i in v])
        h = np.eye(n) - 1 / n
        return np.trace(k @ h @ m @ h) / (n - 1) ** 2

    assert likeness.cka(x, y) == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def test_layer_cka_sees_the_hidden_layers(theta, oracle, task):
    table = likeness.layer_cka(theta, oracle, task)
    assert table.columns.tolist() == ["seed", "layer", "cka"]
    x = task.inputs[task.test[1]]
    one, two = theta.module(1), oracle.module(1)
    for layer, depth in (("2", 3), ("4", 5)):
        u, v = (m[:depth](x).detach().numpy() for m in (one, two))
        (value,) = table[(table.seed == 1) & (table.layer == layer)].cka
        assert value == pytest.approx(likeness.cka(u, v))
    assert len(table) == 4 and table.cka.between(0, 1).all()
    assert likeness.layer_cka(theta, theta, task, "forget").cka.to_numpy() == pytest.approx(1.0)
    overflowing = theta.with_rows(theta.rows * torch.tensor([[1e30], [1.0]]))
    for broken in (lost(theta), overflowing):
        found = likeness.layer_cka(broken, oracle, task).cka
        assert found.isna().tolist() == [True, True, False, False]


def test_layer_cka_of_convolutions_and_of_an_activation_used_twice(task):
    def convolving():
        convolution = nn.Unflatten(-1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*convolution, nn.Linear(72, 6), nn.ReLU(), nn.Linear(6, 10))

    theta = mcu.train(task, convolving, epochs=0)
    assert likeness.layer_cka(theta, theta, task, "forget").layer.nunique() == 2

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = nn.Linear(64, 6), nn.Linear(6, 5), nn.Linear(5, 10)
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.three(self.act(self.two(self.act(self.one(x)))))

    stack = mcu.Stack.of(Twice(), Twice())
    assert likeness.layer_cka(stack, stack, task).layer.tolist() == ["act", "act#2"] * 2

    pair = nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.ReLU(inplace=True), nn.Linear(6, 10))
    other = nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.ReLU(), nn.Linear(6, 10))
    one, two = (mcu.Stack.of(m, m) for m in (pair, other))
    two = two.with_rows(one.rows)
    assert likeness.layer_cka(one, two, task).cka.to_numpy() == pytest.approx(1.0)

    bare = mcu.Stack.of(nn.Linear(64, 10), nn.Linear(64, 10))
    with pytest.raises(ValueError, match="activation modules"):
        likeness.layer_cka(bare, bare, task)


# Many models.


def blocks(jitter=0.0, seeds=3):
    """Five names in two groups, given out of order: a c e | b d."""
    rng = np.random.default_rng(0)
    names, group = "abcde", [0, 1, 0, 1, 0]
    return pd.DataFrame(
        {
            "a": names[i],
            "b": names[j],
            "seed": seed,
            "value": (0.1 if group[i] == group[j] else 0.9) + jitter * rng.random(),
        }
        for i in range(5)
        for j in range(i + 1, 5)
        for seed in range(seeds)
    )


def test_clusters_of_a_block_matrix_are_found():
    order, tree = s.cluster(blocks(0.05))
    assert {frozenset(order[:3]), frozenset(order[:2])} & {frozenset("ace"), frozenset("bd")}
    assert sorted(order) == list("abcde") and tree.shape == (4, 4)
    cut = fcluster(tree, 2, "maxclust")
    assert cut[0] == cut[2] == cut[4] != cut[1] == cut[3]
    # Average linkage by hand: the last merge lies at the mean distance between the groups.
    table = blocks(0.05)
    across = [
        set(pair) not in ({"a", "c"}, {"a", "e"}, {"c", "e"}, {"b", "d"})
        for pair in zip(table.a, table.b)
    ]
    assert tree[-1, 2] == pytest.approx(table.value[across].mean())


def test_the_order_is_that_of_points_on_a_line():
    place = dict(zip("fbadgce", RNG.permutation(7) ** 1.5))
    lines = [(a, b, 0, abs(place[a] - place[b])) for a in place for b in place if a != b]
    lines = [line for line in lines if list(place).index(line[0]) < list(place).index(line[1])]
    order, _ = s.cluster(pd.DataFrame(lines, columns=["a", "b", "seed", "value"]))
    assert order in (sorted(place, key=place.get), sorted(place, key=place.get)[::-1])


def test_stability_is_one_for_equal_seeds_and_lower_for_one_that_differs():
    assert s.cluster_stability(blocks(), 2) == 1.0
    assert s.cluster_stability(blocks(0.05), 2) == 1.0
    # One seed that groups otherwise, a pair with c and b with e: adjusted Rand index by hand.
    table = blocks(seeds=4)
    inside = table.apply(lambda r: {r.a, r.b} <= set("ab") or {r.a, r.b} <= set("cde"), axis=1)
    table.loc[table.seed == 3, "value"] = np.where(inside, 0.1, 0.9)[table.seed == 3]
    same = {(x, y) for x, y in zip("aacb", "ceed")}, {(x, y) for x, y in zip("acdc", "bdee")}
    common, chance = len(same[0] & same[1]), 4 * 4 / 10
    odd = (common - chance) / (4 - chance)
    assert s.cluster_stability(table, 2) == pytest.approx((3 + odd) / 4)
    # Of two seeds, each is compared with the other alone.
    assert s.cluster_stability(table[table.seed > 1], 2) == pytest.approx(odd)


@pytest.mark.parametrize("groups", [2, 3])
def test_stability_of_unrelated_seeds_is_zero_on_average(groups):
    rng, table = np.random.default_rng(1), blocks()
    drawn = [
        s.cluster_stability(table.assign(value=rng.random(len(table))), groups) for _ in range(200)
    ]
    assert abs(np.mean(drawn)) < 4 * np.std(drawn, ddof=1) / np.sqrt(len(drawn)) < 0.1


def test_missing_distances():
    table = blocks()
    table.loc[(table.seed == 1) & (table.a == "a"), "value"] = np.nan
    assert s.cluster_stability(table, 2) == 1.0
    with pytest.raises(ValueError, match="lacks a distance"):
        s.cluster(table[table.seed == 1])
    with pytest.raises(ValueError, match="every distance for two seeds, has it for 0"):
        # The first pair lacks seed 0, the second seed 1, the third seed 2.
        s.cluster_stability(blocks().assign(value=lambda t: t.value.where(t.index % 4 > 0)), 2)
    with pytest.raises(ValueError, match=r"2\.\.4"):
        s.cluster_stability(table, 5)


def test_every_pair_once(theta, oracle, task):
    stacks = {"θo": theta, "oracle": oracle, "again": theta}
    table = s.pairwise(stacks, partial(s.disagreement, task=task), task.seeds)
    pairs = [("θo", "oracle"), ("θo", "again"), ("oracle", "again")]
    assert list(zip(table.a, table.b))[:: len(task)] == pairs
    assert table.seed.tolist() == [0, 1] * 3
    first = table[(table.a == "θo") & (table.b == "oracle")].value
    assert first.to_numpy() == pytest.approx(s.disagreement(theta, oracle, task))
    order, _ = s.cluster(table)
    assert order in (["oracle", "θo", "again"], ["oracle", "again", "θo"]) or order[2] == "oracle"
    with pytest.raises(ValueError, match="at least two"):
        s.pairwise({"θo": theta}, partial(s.disagreement, task=task), task.seeds)
    with pytest.raises(ValueError, match="1 models but task has 2"):
        s.disagreement(mcu.Stack.of(mcu.mlp()), mcu.Stack.of(mcu.mlp()), task)


def test_agreement_is_the_adjusted_rand_index_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(0)
    names = [f"m{i}" for i in range(7)]
    for _ in range(50):
        labels = rng.integers(1, rng.integers(2, 8), (2, 7))
        one, other = (pd.DataFrame({2: own}, names) for own in labels)
        assert s.agreement_of(one, other) == pytest.approx(adjusted_rand_score(*labels))
    assert s.agreement_of(pd.DataFrame({2: [1]}), pd.DataFrame({2: [1]})) == 1.0

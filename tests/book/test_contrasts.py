"""What chapters ask of their paths, against loops over made-up tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import spearmanr, ttest_1samp
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.book.contrasts import (
    against,
    agreement,
    both_minus_sum,
    by_pair,
    effects,
    ends_apart,
    from_zero,
    needed,
    partial_correlation,
    plot_pairs,
    plot_shares,
    related,
    switches_of,
    to_lower_end,
)

TS = (0.0, 0.25, 0.5, 0.75, 1.0)
PATHS = [
    ("Rand", mcu.Endpoint("npo"), mcu.Endpoint("npo", 1)),
    ("Rand", mcu.Endpoint("salun"), mcu.Endpoint("salun", 1)),
    ("CL", mcu.Endpoint("npo"), mcu.Endpoint("npo", curriculum=1.0)),
    ("Met", mcu.Endpoint("npo"), mcu.Endpoint("salun")),
]
pytestmark = pytest.mark.filterwarnings("error")


def measured(paths=PATHS, seeds=6, kinds=(("loss", "retain"), ("loss", "forget")), seed=0):
    """A table like that of `mcu_lite.run`, of normal values in shuffled order."""
    rng = np.random.default_rng(seed)
    rows = [
        {"condition": name, "a": str(a), "b": str(b), "method": a.method, "other": b.method}
        | {"curve": "linear", "seed": s, "metric": metric, "split": split}
        | {"t": t, "value": rng.normal()}
        for (name, a, b), s, (metric, split), t in product(paths, range(seeds), kinds, TS)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


def curve(table, a, b, seed, split, metric="loss"):
    own = table[(table.a == str(a)) & (table.b == str(b)) & (table.seed == seed)]
    own = own[(own.split == split) & (own.metric == metric)]
    return own.set_index("t").value[list(TS)].to_numpy()


def eps_of(retain, forget):
    """The two inequalities, t by t."""
    worst = -np.inf
    for i, t in enumerate(TS):
        up = retain[i] - ((1 - t) * retain[0] + t * retain[-1])
        down = ((1 - t) * forget[0] + t * forget[-1]) - forget[i]
        worst = max(worst, up, down)
    return worst


def test_needed_is_the_smallest_epsilon_that_connects():
    table = measured()
    found = needed(table)
    assert len(found) == len(PATHS) * 6
    for row in found.itertuples():
        both = (curve(table, row.a, row.b, row.seed, split) for split in ("retain", "forget"))
        assert row.eps == pytest.approx(eps_of(*both))
        own = table[(table.a == row.a) & (table.b == row.b) & (table.seed == row.seed)]
        assert mcu.is_connected(own, max(row.eps, 0) + 1e-9).connected.all()
        if row.eps > 1e-6:
            assert not mcu.is_connected(own, row.eps - 1e-6).connected.any()


def test_the_forget_loss_is_held_to_its_lower_end_only():
    table = measured()
    lower = to_lower_end(table)
    for name, a, b in PATHS:
        for s in range(6):
            forget = curve(table, a, b, s, "forget")
            floor = min(forget[0], forget[-1])
            expected = [min(v, floor) for v in forget]
            np.testing.assert_array_equal(curve(lower, a, b, s, "forget"), expected)
            same = (curve(own, a, b, s, "retain") for own in (table, lower))
            np.testing.assert_array_equal(*same)
            eps = needed(lower).set_index(["condition", "a", "seed"]).eps[name, str(a), s]
            falls, rises = floor - forget.min(), eps_of(curve(table, a, b, s, "retain"), [0] * 5)
            assert eps == pytest.approx(max(falls, rises))
    assert (needed(lower).eps <= needed(table).eps.clip(lower=0) + 1e-12).all()


def values(shifts, seeds=8):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"method": m, "condition": c, "seed": s, "eps": shift + rng.normal(scale=0.1)}
        for (m, c), shift in shifts.items()
        for s in range(seeds)
    )


SHIFTS = {
    ("npo", "Rand"): 0.0, ("npo", "CL"): 1.0, ("npo", "SO"): 0.02,
    ("salun", "Rand"): 2.0, ("salun", "CL"): 2.0, ("delete", "Rand"): 0.0,
}  # fmt: skip


def test_conditions_are_compared_with_the_baseline_method_by_method():
    table = values(SHIFTS)
    found = against(table, ["CL", "SO"], "Rand")
    assert list(found) == ["CL", "SO"]
    # Only methods that have the condition.
    assert found["CL"].a.tolist() == ["npo CL", "salun CL"] and found["SO"].a.tolist() == ["npo SO"]
    for name, own in found.items():
        p = []
        for row in own.itertuples():
            method = row.a.split()[0]
            assert row.b == f"{method} Rand" and row.n == 8
            wide = table[table.method == method].pivot(
                index="seed", columns="condition", values="eps"
            )
            differences = wide[name] - wide.Rand
            assert row.difference == pytest.approx(differences.mean())
            p.append(ttest_1samp(differences, 0).pvalue)
        ranked = sorted(p)
        limit = max([q for i, q in enumerate(ranked) if q <= 0.05 * (i + 1) / len(p)], default=-1)
        assert own.visible.tolist() == [q <= limit for q in p]


def test_diverged_seeds_are_left_out_and_columns_can_be_chosen():
    table = values(SHIFTS).rename(columns={"condition": "kind", "eps": "far"})
    table.loc[(table.method == "npo") & (table.kind == "CL") & (table.seed < 2), "far"] = np.nan
    found = against(table, ["CL"], "Rand", values="far", by="kind")["CL"]
    assert found.n.tolist() == [6, 8]


@pytest.mark.parametrize(("names", "baseline"), [(["XX"], "Rand"), (["CL"], "XX")])
def test_unknown_conditions_are_named(names, baseline):
    with pytest.raises(ValueError, match="unknown condition 'XX'.*'Rand'"):
        against(values(SHIFTS), names, baseline)


@pytest.mark.parametrize("n", [5, 30])
def test_a_partial_correlation_is_that_of_residuals(n):
    x, y, given = np.random.default_rng(n).normal(size=(3, n))
    y, given = y + x, given + x
    ranks = [np.argsort(np.argsort(v)) for v in (x, y, given)]
    base = np.c_[ranks[2], np.ones(n)]
    left = [r - base @ np.linalg.lstsq(base, r, rcond=None)[0] for r in ranks[:2]]
    expected = np.corrcoef(left)[0, 1]
    assert partial_correlation(x, y, given) == pytest.approx(expected)
    # Ranks do not change where values are stretched.
    assert partial_correlation(np.exp(x), y**3, given) == pytest.approx(expected)


def test_a_common_cause_is_held_and_a_relation_of_its_own_stays():
    cause, *noise = np.random.default_rng(0).normal(size=(3, 2000))
    x, y = (cause + 0.3 * v for v in noise)
    assert spearmanr(x, y).statistic > 0.8 and abs(partial_correlation(x, y, cause)) < 0.06
    assert partial_correlation(x, x + 0.01 * y, cause) > 0.9
    assert partial_correlation(x, y, noise[0] ** 2) == pytest.approx(spearmanr(x, y)[0], abs=0.02)
    assert np.isnan(partial_correlation(x, y, x))


def test_settings_are_read_off_both_ends():
    settings = {"neither": (0.0, 1), "CL": (1.0, 1), "SO": (0.0, 2), "both": (1.0, 2)}
    pairs = list(product(settings, settings))
    a, b = ([str(mcu.Endpoint("npo", i, *settings[p[i]])) for p in pairs] for i in (0, 1))
    found = switches_of(pd.DataFrame({"a": a, "b": b}))
    assert list(zip(found.one, found.two)) == pairs
    slower = str(mcu.Endpoint("npo", 0, 1.0, 2, lr=1e-4))
    assert switches_of(pd.DataFrame({"a": [slower], "b": [slower]})).two.tolist() == ["both"]


def crossed(seeds=5):
    rng = np.random.default_rng(1)
    settings = ("neither", "CL", "SO", "both")
    return pd.DataFrame(
        {"method": m, "seed": s, "one": one, "two": two, "eps": rng.normal()}
        for m, s, one, two in product(("npo", "salun"), range(seeds), ("neither", "CL"), settings)
    )


@pytest.mark.parametrize("base", [None, "neither"])
def test_effects_are_added_up(base):
    table = crossed()
    found = effects(table, against=base)
    assert len(found) == 2 * 5 * 4
    at = table[table.one == "neither"].set_index(["method", "seed", "two"]).eps
    for row in found.itertuples():
        of = {k: at[row.method, row.seed, k] for k in ("neither", "CL", "SO", "both")}
        start = of["neither"] if base else 0.0
        wanted = {k: of[k] - start for k in ("CL", "SO", "both")}
        wanted["sum"] = of["CL"] + of["SO"] - 2 * start
        assert row.value == pytest.approx(wanted[row.effect])
    compared = both_minus_sum(found).set_index("a").difference
    for m in ("npo", "salun"):
        own = found[found.method == m].groupby("effect").value.mean()
        assert compared[f"{m} both"] == pytest.approx(own["both"] - own["sum"])


def test_an_effect_of_a_diverged_end_is_missing():
    table = crossed()
    one = (table.method == "npo") & (table.seed == 0) & (table.two == "CL")
    compared = both_minus_sum(effects(table.assign(eps=table.eps.mask(one))))
    assert compared.n.tolist() == [4, 5]


def related_table(seeds=7, pairs=20):
    rng = np.random.default_rng(2)
    own = pd.DataFrame(rng.normal(size=(seeds * pairs, 3)), columns=["eps", "forget", "hidden"])
    own["seed"] = np.repeat(range(seeds), pairs)
    # Levels that differ between seeds are no relation.
    own["eps"] += own.forget + 100 * own.seed
    return own.assign(answers=own.forget + 0.1 * own.hidden - 100 * own.seed)


@pytest.mark.parametrize("given", [None, "forget"])
def test_relations_are_means_of_what_each_seed_shows(given):
    table = related_table()
    found = related(table, "eps", ["answers", "hidden"], given)
    assert found.label.tolist() == ["answers", "hidden"] and (found.n == 7).all()
    for row in found.itertuples():
        each = [
            partial_correlation(own.eps, own[row.label], own[given])
            if given
            else spearmanr(own.eps, own[row.label]).statistic
            for _, own in table.groupby("seed")
        ]
        assert row.difference == pytest.approx(np.mean(each))
    # The answers follow from the forget loss, and so does the tolerance.
    assert found.visible.tolist() == [given is None, False]


def test_pairs_that_diverged_are_no_relation():
    table = related_table()
    table.loc[table.index[:5], "hidden"] = np.nan
    kept = table[5:]
    pd.testing.assert_frame_equal(
        related(table, "eps", ["hidden"]), related(kept, "eps", ["hidden"])
    )


HALVES = [(f"{m}_{h}", "forget") for m in ("loss", "auc") for h in ("even", "odd")]


def test_agreement_is_that_of_halves():
    table = measured(PATHS[:2] + PATHS[3:], kinds=HALVES)
    found = agreement(table).set_index(["method", "seed", "of"]).value
    assert len(found) == 2 * 6 * 2
    for method, s in product(("npo", "salun"), range(6)):
        rho = {}
        for one, two in product(("loss_even", "auc_even"), ("loss_odd", "auc_odd")):
            own = [
                spearmanr(*(curve(table, a, b, s, "forget", m) for m in (one, two))).statistic
                for _, a, b in PATHS[:2] + PATHS[3:]
                if method in (a.method, b.method)
            ]
            rho[one[:3], two[:3]] = np.mean(own)
        within = np.sqrt(max(rho["los", "los"], 0) * max(rho["auc", "auc"], 0))
        assert found[method, s, "one metric"] == pytest.approx(within)
        between = -(rho["los", "auc"] + rho["auc", "los"]) / 2
        assert found[method, s, "two metrics"] == pytest.approx(between)


def test_noise_alone_lowers_both_agreements_alike():
    rng = np.random.default_rng(0)
    many = [("Rand", mcu.Endpoint("npo"), mcu.Endpoint("npo", i)) for i in range(1, 200)]
    table = measured(many, seeds=2, kinds=HALVES)
    sign = np.where(table.metric.str.startswith("loss"), 1.0, -1.0)
    table["value"] = sign * table.t + rng.normal(scale=0.4, size=len(table))
    mean = agreement(table).groupby("of").value.mean()
    assert 0.4 < mean["one metric"] < 0.9
    assert mean["one metric"] == pytest.approx(mean["two metrics"], abs=0.05)


def test_pairs_of_methods_by_tolerance_and_by_their_ends():
    table = measured()
    found = by_pair(table[table.condition == "Met"])
    assert list(found) == ["a", "b", "seed", "eps", "forget"] and len(found) == 6
    a, b = PATHS[3][1:]
    for row in found.itertuples():
        assert (row.a, row.b) == ("npo", "salun")
        retain, forget = (curve(table, a, b, row.seed, split) for split in ("retain", "forget"))
        assert row.eps == pytest.approx(max(eps_of(retain, forget), 0))
        assert row.forget == pytest.approx(abs(forget[0] - forget[-1]))


def test_columns_are_compared_with_zero_one_by_one():
    table = pd.DataFrame({"one, two": [0.1, 0.3, 0.2], "none": [-1.0, 2.0, np.nan]}, [7, 8, 9])
    found = from_zero(table).set_index("label")
    for name, own in table.items():
        alone = mcu.paired(own, 0 * own)
        for field in ("difference", "low", "high", "n"):
            assert found.loc[name, field] == pytest.approx(getattr(alone, field))
    assert list(found.index) == list(table)


def test_ends_are_apart_as_loops_over_ordinary_modules_find_them():
    setting = mcu.Setting(seeds=[3, 1], ts=3, epochs=2, metrics=("loss",))
    straight = [c for c in mcu.grid(["npo", "scrub"], ["linear"]) if c.name in ("Met", "Rand")]
    stacks = mcu.endpoints({end for c in straight for end in (c.a, c.b)}, setting)
    found = ends_apart(mcu.run(straight, setting), stacks).set_index(["a", "b", "seed"])
    assert len(found) == 2 * len(straight)
    task = mcu.load_task("digits", setting.seeds)
    inputs, labels = task.split("forget")
    for c in straight:
        for row, seed in enumerate(task.seeds):
            nets = [stacks[end].module(row) for end in (c.a, c.b)]
            squares = [
                ((p - q) ** 2).sum().item() for p, q in zip(*(net.parameters() for net in nets))
            ]
            one, other = (cross_entropy(net(inputs[row]), labels[row]).item() for net in nets)
            own = found.loc[(str(c.a), str(c.b), seed)]
            assert own.distance == pytest.approx(sum(squares) ** 0.5, rel=1e-4)
            assert own.gap == pytest.approx(abs(one - other), abs=1e-4)


def test_pairs_are_drawn_at_their_means_with_one_deviation():
    rng = np.random.default_rng(0)
    points = pd.DataFrame({"a": list("xxyyzz") * 2, "b": "w", "seed": [0, 1] * 6})
    points["b"] = ["v"] * 6 + ["w"] * 6
    points[["far", "eps"]] = rng.normal(size=(12, 2))
    ax = plot_pairs(points, "far", "eps", ("distance", "needed ε"))
    dots = sorted(map(tuple, ax.lines[0].get_xydata()))
    own = [points[(points.a == a) & (points.b == b)] for a in "xyz" for b in "vw"]
    assert np.allclose(dots, sorted((o.far.mean(), o.eps.mean()) for o in own))
    lengths = [np.ptp(path.vertices[:, 1]) for path in ax.collections[0].get_paths()]
    assert np.allclose(sorted(lengths), sorted(2 * o.eps.std() for o in own))
    ranks = [stats.spearmanr(o.far, o.eps)[0] for _, o in points.groupby("seed")]
    assert f"6 pairs: rank correlation {np.mean(ranks):z.2f}" in ax.get_label()
    assert ax.get_xlabel() == "distance" and ax.get_ylabel() == "needed ε"


def test_discs_are_filled_by_their_area():
    shares = pd.DataFrame([[0.0, 0.25], [1.0, np.nan]], ["few", "all"], [0, 25])
    ax = plot_shares(shares, "steps")
    whole, filled = ax.collections
    assert filled.get_offsets().tolist() == [[0, 0], [1, 0], [0, 1]]
    assert np.allclose(filled.get_sizes() / whole.get_sizes(), [0, 0.25, 1])
    low, high = (ax.transData.transform((0, y))[1] for y in (1, 0))
    assert high > low
    assert "few: 0% at 0, 25% at 25" in ax.get_label()

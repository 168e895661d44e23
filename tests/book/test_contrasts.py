import numpy as np
import pandas as pd
import pytest
from scipy import stats
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.book.contrasts import ends_apart, plot_pairs, plot_shares


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
"""What chapters ask of their paths."""

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu
from mcu_lite.book.contrasts import from_zero


def test_columns_are_compared_with_zero_one_by_one():
    table = pd.DataFrame({"one, two": [0.1, 0.3, 0.2], "none": [-1.0, 2.0, np.nan]}, [7, 8, 9])
    found = from_zero(table).set_index("label")
    for name, own in table.items():
        alone = mcu.paired(own, 0 * own)
        for field in ("difference", "low", "high", "n"):
            assert found.loc[name, field] == pytest.approx(getattr(alone, field))
    assert list(found.index) == list(table)

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu
from mcu_lite.figures import look
from mcu_lite.figures.heatmaps import COLOUR, clustered, heatmap

PLACES = {"left": 0.0, "far": 9.0, "near": 1.0, "farther": 11.0}
"""Four points on a line: two pairs."""


def matrix():
    return pd.DataFrame([[0.0, np.nan], [0.25, 1.0]], index=["a", "b"], columns=["c", "d"])


def distances(seeds=(0, 1)):
    """Distances of the points, one more or less on every other seed, so that means are exact."""
    return pd.DataFrame(
        [
            {"a": a, "b": b, "seed": s, "value": abs(PLACES[a] - PLACES[b]) + 0.5 * (-1) ** s}
            for a, b in combinations(PLACES, 2)
            for s in seeds
        ]
    )


def cells(ax):
    return {tuple(np.floor(t.get_position()).astype(int)[::-1]): t.get_text() for t in ax.texts}


def names(ticks):
    return [tick.get_text() for tick in ticks]


def test_every_number_stands_in_its_cell_and_nan_is_empty():
    ax = heatmap(matrix(), fmt="{:.0%}")
    assert cells(ax) == {(0, 0): "0%", (1, 0): "25%", (1, 1): "100%"}
    assert names(ax.get_xticklabels()) == ["c", "d"]
    assert names(ax.get_yticklabels()) == ["a", "b"]


def test_the_first_line_is_drawn_on_top():
    ax = heatmap(matrix())
    low, high = (ax.transData.transform((0.5, y))[1] for y in (1.5, 0.5))
    assert high > low


def test_the_shade_grows_with_the_value_and_lets_the_page_through():
    (mesh,) = heatmap(matrix()).collections
    mesh.update_scalarmappable()
    shades = mesh.get_facecolor()[:, 3].reshape(2, 2)
    assert shades[0, 0] == shades[0, 1] == 0 < shades[1, 0] < shades[1, 1] < 0.7
    (mesh,) = heatmap(matrix(), top=10.0).collections
    mesh.update_scalarmappable()
    assert mesh.get_facecolor()[:, 3].max() < 0.1


def test_equal_values_of_zero_can_be_drawn():
    assert set(cells(heatmap(matrix() * 0, fmt="{:.2f}")).values()) == {"0.00"}


def test_counts_are_whole_and_none_is_a_dot():
    assert set(cells(heatmap(matrix() * 4)).values()) == {"·", "1", "4"}


def test_text_on_the_strongest_cell_is_readable_on_a_light_and_on_a_dark_page():
    (mesh,) = heatmap(matrix()).collections
    mesh.update_scalarmappable()
    *cell, opacity = mesh.get_facecolor()[-1]
    assert np.round(np.array(cell) * 255).astype(int).tolist() == [
        int(COLOUR[i : i + 2], 16) for i in (1, 3, 5)
    ]
    for page, text in ((1.0, 0.13), (0.07, 0.81)):
        shown = opacity * np.array(cell) + (1 - opacity) * page
        assert contrast(shown, np.full(3, text)) > 4.5


def contrast(a, b):
    """Of two colours, as the Web Content Accessibility Guidelines define it."""
    light = [
        np.dot(
            [0.2126, 0.7152, 0.0722],
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4),
        )
        for c in (a, b)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_clusters_are_neighbours_and_the_cells_hold_means_over_seeds():
    ax = clustered(distances())
    order = names(ax.get_xticklabels())
    assert names(ax.get_yticklabels()) == order
    assert {frozenset(order[:2]), frozenset(order[2:])} == {
        frozenset(("left", "near")),
        frozenset(("far", "farther")),
    }
    for (i, j), text in cells(ax).items():
        assert float(text) == abs(PLACES[order[i]] - PLACES[order[j]])
    assert len(ax.texts) == 4 * 3


def test_the_tree_stands_above_the_columns():
    """Average linkage by hand: 1 and 2 within the pairs, (9 + 11 + 8 + 10) / 4 between them."""
    ax = clustered(distances())
    (tree,) = ax.child_axes
    heights = sorted(y.max() for y in (path.vertices[:, 1] for path in paths(tree)))
    np.testing.assert_allclose(heights, [1, 2, 9.5])
    n = len(PLACES)
    assert tree.get_xlim() == (0, 10 * n) and ax.get_xlim() == (0, n)
    assert tree.get_position().y0 >= ax.get_position().y1


def paths(tree):
    return [path for collection in tree.collections for path in collection.get_paths()]


def test_a_picture_takes_the_pages_colours_and_says_what_it_shows():
    html = mcu.picture(clustered(distances(), title="distance")).data
    assert look.INK not in html and "currentColor" in html
    (label,) = re.findall('aria-label="([^"]*)"', html)
    assert label.startswith("distance: 4 by 4 cells, smallest 1.00 (")
    assert "largest 11.00 (" in label and "median 8.50" in label
    assert "neighbours in the tree: " in label
    drawn = re.findall(r">([\d.]+)</text>", html)
    assert sorted(map(float, drawn)) == sorted(2 * [1.0, 2.0, 8.0, 9.0, 10.0, 11.0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: heatmap(matrix() * np.nan), "no finite number"),
        (lambda: clustered(distances().query("b != 'near'")), "lacks a distance"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()

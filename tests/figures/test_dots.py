import numpy as np
import pandas as pd
import pytest

from mcu_lite.figures.dots import PALETTE, plot_dots


def table():
    lines = [
        {"method": m, "condition": c, "seed": s, "value": 10 * i + j + s / 10}
        for i, m in enumerate(("npo", "delete"))
        for j, c in enumerate(("Rand", "CL"))
        for s in (1, 2, 3)
    ]
    return pd.DataFrame(lines)


def test_every_value_is_a_dot_and_every_mean_a_bar():
    ax = plot_dots(table(), "method", "condition")
    dots, bars = ax.get_lines()[::2], ax.get_lines()[1::2]
    assert sorted(np.concatenate([line.get_ydata() for line in dots])) == sorted(table().value)
    assert [line.get_label() for line in bars] == ["Rand", "CL"]
    np.testing.assert_allclose([line.get_ydata() for line in bars], [[0.2, 10.2], [1.2, 11.2]])
    # The bar stands where its dots stand, and each method near its own tick.
    for line, bar in zip(dots, bars):
        assert set(line.get_xdata()) == set(bar.get_xdata())
        assert np.array_equal(np.round(bar.get_xdata()), [0, 1])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["npo", "delete"]


def test_it_says_the_means_in_words_and_leaves_nan_out():
    own = table()
    own.loc[0, "value"] = np.nan
    words = plot_dots(own, "method", "condition").get_label()
    assert "Rand: npo 0.25, delete 10.20" in words and "CL: npo 1.20, delete 11.20" in words


def test_a_place_without_values_is_an_empty_one():
    own = table()
    ax = plot_dots(own.assign(value=own.value.mask(own.method == "npo")), "method", "condition")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["npo", "delete"]
    assert {x for line in ax.get_lines() for x in np.round(line.get_xdata())} == {1}


def test_the_order_chooses():
    ax = plot_dots(table(), "method", "condition", order=["CL", "Rand"])
    assert [line.get_label() for line in ax.get_lines()[1::2]] == ["CL", "Rand"]
    assert len(plot_dots(table(), "method", "condition", order=["CL"]).get_lines()) == 2


def test_long_names_are_turned():
    own = table().replace({"method": {"npo": "n" * 40, "delete": "d" * 40}})
    ticks = plot_dots(own, "method", "condition").get_xticklabels()
    assert {tick.get_rotation() for tick in ticks} == {30.0}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="unknown column 'by'"):
        plot_dots(table(), "method", "condition", "by")
    with pytest.raises(ValueError, match="unknown condition 'SO'"):
        plot_dots(table(), "method", "condition", order=["SO"])
    with pytest.raises(ValueError, match="table must hold values"):
        plot_dots(table().assign(value=np.nan), "method", "condition")
    many = pd.concat([table().assign(condition=str(i)) for i in range(len(PALETTE) + 1)])
    with pytest.raises(ValueError, match="table must hold values"):
        plot_dots(many, "method", "condition")

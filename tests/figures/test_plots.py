import re

import numpy as np
import pandas as pd
import pytest

import mcu_lite as mcu
from mcu_lite.figures import along_t as plots
from mcu_lite.figures import look
from mcu_lite.figures.definition import definition


def table(values, seeds=(0, 1)):
    """A made-up accuracy along t: `values` for the first seed, one more for every other."""
    ts = np.linspace(0, 1, len(values))
    frames = [
        pd.DataFrame({"t": ts, "seed": s, "split": "retain", "metric": "accuracy"}).assign(
            value=np.asarray(values, float) + i
        )
        for i, s in enumerate(seeds)
    ]
    return pd.concat(frames, ignore_index=True)


def test_the_line_is_the_mean_and_the_band_one_standard_deviation():
    ax = mcu.plot_along_t(table([1, 5, 3]), "accuracy")
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), [1.5, 5.5, 3.5])
    (band,) = ax.collections
    low, high = band.get_datalim(ax.transData).get_points()[:, 1]
    assert (low, high) == pytest.approx((1.5 - 0.5**0.5, 5.5 + 0.5**0.5))


def test_diverged_seeds_are_left_out_and_the_figure_says_so():
    whole = table([1, 2], seeds=(0, 1, 2))
    whole.loc[whole.seed == 2, "value"] = np.nan
    ax = mcu.plot_along_t(whole, "accuracy")
    assert "1 diverged left out" in text_of(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.5, 2.5])


def test_a_picture_takes_the_pages_colours_and_says_what_it_shows():
    ax = mcu.plot_along_t(table([1, 5, 3]), "accuracy", name="npo")
    html = mcu.picture(ax).data
    assert look.INK not in html and "currentColor" in html
    assert "font-family" not in html and "DejaVu" not in html
    (label,) = re.findall('aria-label="([^"]*)"', html)
    assert (
        label.startswith("npo, accuracy")
        and "retain from 1.50 at t=0 to 3.50 at t=1, between 1.50 and 5.50" in label
    )


def text_of(ax):
    return "; ".join(text.get_text() for text in (ax.title, ax._left_title, *ax.texts))


def losses(retain, forget, **names):
    """A made-up loss along t on two splits, of two seeds."""
    own = [
        table(values).assign(split=split, metric="loss", **names)
        for split, values in (("retain", retain), ("forget", forget))
    ]
    return pd.concat(own, ignore_index=True)


def test_curves_are_named_at_their_ends_with_the_direction_that_is_wanted():
    said = text_of(mcu.plot_along_t(losses([0, 0], [1, 1]), "loss"))
    assert "retain ↓" in said and "forget ↑" in said
    own = table([1, 2])
    assert "retain ↑" in text_of(mcu.plot_along_t(own, "accuracy"))
    assert "forget ↓" in text_of(mcu.plot_along_t(own.assign(split="forget"), "accuracy"))
    near = own.assign(split="forget", metric="js_to_oracle")
    assert "forget ↓" in text_of(mcu.plot_along_t(near, "js_to_oracle"))
    attack = text_of(mcu.plot_along_t(near.assign(metric="mia_auc"), "mia_auc"))
    assert "goal: oracle" in attack and not re.search("[↑↓]", attack)
    plain = text_of(mcu.plot_along_t(losses([0, 0], [1, 1]), "loss", tolerance=None))
    assert not re.search("[↑↓]|connected", plain)


def test_what_breaks_the_straight_line_is_filled_and_measured():
    """Half-way the forget loss lies 0.5 below the line of its ends, of which 0.1 is allowed."""
    whole = losses([0, 0, 0], [1, 1, 2])
    ax = mcu.plot_along_t(whole, "loss")
    assert "breaks by 0.40" in text_of(ax) and "connected on 0 of 2 seeds" in text_of(ax)
    dashed = [line for line in ax.lines if line.is_dashed()]
    assert [line.get_ydata().tolist() for line in dashed] == [[0.5] * 3, [1.5, 2, 2.5]]
    fine = text_of(mcu.plot_along_t(whole, "loss", tolerance=0.5))
    assert "breaks" not in fine and "connected on 2 of 2 seeds" in fine
    assert "breaks" not in text_of(mcu.plot_along_t(losses([0, 0, 0], [1, 3, 2]), "loss"))


@pytest.mark.parametrize(
    ("names", "ends"),
    [
        ({}, ("t = 0", "t = 1")),
        ({"method": "npo", "other": "scrub", "a": "npo seed=0", "b": "x"}, ("npo", "scrub")),
        (
            {"method": "npo", "other": "original", "a": "original seed=0", "b": "npo seed=0"},
            ("original", "npo"),
        ),
        ({"method": "npo", "other": "original"}, ("t = 0", "t = 1")),
        (
            {"method": "npo", "other": "npo", "a": "npo seed=0", "b": "npo seed=1"},
            ("npo seed=0", "npo seed=1"),
        ),
    ],
)
def test_the_axis_begins_and_ends_with_the_two_models(names, ends):
    ax = mcu.plot_along_t(losses([0, 0], [1, 1], **names), "loss")
    first, _, last = (tick.get_text() for tick in ax.get_xticklabels())
    assert (first, last) == ends


def test_the_two_models_can_be_named():
    known = {"method": "npo", "other": "scrub", "a": "npo seed=0", "b": "x"}
    for own in (losses([0, 0], [1, 1]), losses([0, 0], [1, 1], **known)):
        ax = mcu.plot_along_t(own, "loss", ends=("neither", "both"))
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["neither", "t", "both"]


def test_two_sentences_on_breaks_keep_apart():
    ax = mcu.plot_along_t(losses([0, 1, 0], [3, 1.4, 3]), "loss")
    (one, other) = (t.get_position()[1] for t in ax.texts if "breaks" in t.get_text())
    assert abs(one - other) > 0.08 * np.ptp(ax.get_ylim())


def test_a_part_of_a_path_is_called_so_and_is_not_judged():
    part = losses([0, 0.9, 0], [2, 1, 2]).assign(t=lambda own: 0.2 + own.t / 2)
    ax = mcu.plot_along_t(part, "loss")
    assert "at t=0.2 to" in ax.get_label() and "at t=0.7" in ax.get_label()
    assert "breaks" not in text_of(ax) and not any(line.is_dashed() for line in ax.lines)


def test_seeds_are_left_out_of_the_metric_that_they_lack():
    table = pd.concat([losses([0, 0], [1, 1]), losses([0, 0], [1, 1]).assign(metric="accuracy")])
    table.loc[(table.metric == "loss") & (table.seed == 0), "value"] = np.nan
    assert "1 diverged left out" in text_of(mcu.plot_along_t(table, "loss"))
    assert "left out" not in text_of(mcu.plot_along_t(table, "accuracy"))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (lambda own: own[own.t == 0], "must be of a path"),
        (lambda own: own.assign(value=np.inf), "values of 'loss' must be finite numbers or NaN"),
        (lambda own: own.assign(value="1"), "values of 'loss' must be finite numbers or NaN"),
    ],
)
def test_what_cannot_be_drawn_is_named(table, says):
    with pytest.raises(ValueError, match=says):
        mcu.plot_along_t(table(losses([0, 0], [1, 1])), "loss")
    with pytest.raises(ValueError, match="metrics must name at least one metric"):
        mcu.scrub(losses([0, 0], [1, 1]), [])


def test_labels_keep_apart_and_move_no_more_than_they_must():
    assert plots.apart([3.0, 1.0], 1).tolist() == [3.0, 1.0]
    np.testing.assert_allclose(plots.apart([1.0, 1.0, 1.0], 2), [-1, 1, 3])


def test_the_definition_is_drawn_with_words_for_it():
    html = definition().data
    labels = re.findall('role="img" aria-label="([^"]*)"', html)
    assert [label.split(":")[0] for label in labels] == [
        "The retain loss must not rise",
        "The forget loss must not fall",
    ]
    assert "<figcaption><b>" in html and html.count(">barrier<") == 2


def test_models_side_by_side_show_every_seed(theta, oracle, task):
    tables = {n: mcu.evaluate(s, task) for n, s in (("original", theta), ("oracle", oracle))}
    ax = mcu.plot_models(tables, "accuracy")
    dots = ax.lines[::2]  # each followed by its mean
    assert [len(line.get_ydata()) for line in dots] == [2 * len(task)] * 3
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["original", "oracle"]
    own = tables["oracle"].query("split == 'forget' and metric == 'accuracy'")
    words = ax.get_label().split("forget: ")[1].split(";")[0]
    assert words.startswith("original ") and words.endswith(f"oracle {own.value.mean():.2f}")


def test_mean_and_standard_deviation_in_words():
    assert mcu.mean_sd(pd.Series([1.0, 3.0, np.nan])) == "2.00 ± 1.41"


def test_one_seed_has_no_standard_deviation():
    one = table([1, 5, 3], seeds=[0])
    assert mcu.mean_sd(one.value[:1]) == "1.00"
    assert not mcu.plot_along_t(one, "accuracy").collections
    _, numbers = frames(mcu.scrub(one, metrics=["accuracy"]))
    assert "<td>5.000</td>" in numbers[1] and not re.search("±|nan", "".join(numbers))


def frames(widget):
    """The overlay's and the text's frames, by panel, of a slider."""
    found = []
    for child in getattr(widget, "children", ()):
        if type(child).__name__ == "Stack":
            found.append([frame.value for frame in child.children])
        else:
            found += frames(child)
    return found


def test_nothing_is_marked_on_a_curve_that_diverged():
    gone = table([1, 2]).assign(split="forget", value=np.nan)
    marks, _ = frames(mcu.scrub(pd.concat([table([1, 2]), gone]), metrics=["accuracy"]))
    assert all(m.count("<circle") == 1 and "nan" not in m for m in marks)


def test_the_slider_has_one_frame_for_each_t_with_marker_and_numbers():
    values = [1, 5, 3]
    slider = mcu.scrub({"a": table(values), "b": table(values[::-1])}, metrics=["accuracy"])
    marks, _, numbers = frames(slider)
    assert len(marks) == len(numbers) == 3 == len(set(marks)) == len(set(numbers))
    assert "5.500" in numbers[1] and "0.707" in numbers[1]
    height = {m: float(re.findall(r'cy="([\d.]+)"', m)[0]) for m in marks}
    assert height[marks[1]] < height[marks[2]] < height[marks[0]]


def test_the_marker_lies_on_the_curve():
    """Base and overlay share one coordinate system: the dot is where matplotlib drew the line."""
    slider = mcu.scrub(table([1, 5, 3]), metrics=["accuracy"])
    marks, _ = frames(slider)
    dots = [tuple(map(float, re.search(r'cx="([\d.]+)" cy="([\d.]+)"', m).groups())) for m in marks]
    base = next(v for v in html_values(slider) if "clip-path" in v)
    drawn = re.findall(r'd="(M[\d. ]+\nL[\d. ]+\nL[\d. ]+)\n"', base)
    assert any(np.allclose(points(path), dots, atol=0.2) for path in drawn)


def points(path):
    return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float)


def html_values(widget):
    if hasattr(widget, "children"):
        return [value for child in widget.children for value in html_values(child)]
    return [widget.value] if type(widget).__name__ == "HTML" else []


def several():
    return pd.concat([table([1, 2]), table([3, 4])])


def test_every_table_has_a_panel_of_its_own_on_one_scale():
    slider = mcu.scrub({f"model {i}": table([i, i + 1]) for i in range(3)}, metrics=["accuracy"])
    *marks, _ = frames(slider)
    assert len(marks) == 3
    heights = [float(re.search(r'cy="([\d.]+)"', own[0])[1]) for own in marks]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 3
    titles = [f"model {i}" for i in range(3)]
    drawn = [value for value in html_values(slider) if "clip-path" in value]
    assert all(title in value for title, value in zip(titles, drawn, strict=True))


def test_the_slider_is_light():
    long = {name: table(np.linspace(0, 1, 101)) for name in "ab"}
    assert sum(map(len, html_values(mcu.scrub(long, metrics=["accuracy"])))) < 150_000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mcu.scrub(table([1, 2]), metrics=["beauty"]), "'accuracy'"),
        (lambda: mcu.scrub({"a": table([1, 2]), "b": table([1, 2, 3])}), "same ts"),
        (lambda: mcu.scrub({}), "at least one"),
        (lambda: mcu.scrub(table([1, 2]).assign(t=np.nan)), "must be of a path: it has no t"),
        (lambda: mcu.plot_along_t(pd.DataFrame({"t": [0.0]}), "accuracy"), "columns"),
        (lambda: mcu.plot_models({"a": table([1, 2])}, "beauty"), "'accuracy'"),
        (lambda: mcu.plot_along_t(several(), "accuracy"), "one curve"),
        (lambda: mcu.scrub({"x": several()}, ["accuracy"]), "table 'x' must hold one curve"),
        (lambda: mcu.plot_models({"x": several().assign(t=np.nan)}, "accuracy"), "one curve"),
        (lambda: mcu.scrub(table([1, 2]).assign(split="class")), "unknown split 'class'"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()

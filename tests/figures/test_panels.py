"""Small multiples: a panel a curve, the controls in each, and the last values in words."""

import numpy as np
import pandas as pd
import pytest

from mcu_lite.figures.panels import plot_panels

CURVES = pd.DataFrame(
    {"npo": [0.0, 0.5], "scrub": [0.0, 0.25], "retrain": [0.0, 0.1], "salun": [0, 1], "x": [1, 0]},
    index=[0, 32],
)


def test_each_curve_has_a_panel_with_the_controls():
    ax = plot_panels(CURVES, ["retrain"], ("steps", "accuracy"))
    panels = [own for own in ax.figure.axes if own.get_title("left")]
    assert [own.get_title("left") for own in panels] == ["npo", "scrub", "salun", "x"]
    for own in panels:
        control, curve = own.get_lines()
        np.testing.assert_array_equal(control.get_ydata(), CURVES.retrain)
        np.testing.assert_array_equal(curve.get_ydata(), CURVES[own.get_title("left")])
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["retrain"]
    assert ax.get_label().startswith("accuracy against steps. At 32: npo 0.50, scrub 0.25")


@pytest.mark.parametrize("controls", [[], list(CURVES), list("abcd"), ["other"]])
def test_what_cannot_be_drawn_is_refused(controls):
    with pytest.raises(ValueError, match=r"control"):
        plot_panels(CURVES, controls, ("x", "y"))

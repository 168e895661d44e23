"""How figures look in a page: colours, type, and SVG in place of images."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"retain": "#0072B2", "forget": "#D55E00", "test": "#009E73"}
"""Okabe-Ito, distinct for every kind of colour vision; the same split everywhere."""
INKS = {"retain": "#00609A", "forget": "#A84A00", "test": "#00704F"}
"""The same for words, which need more contrast."""
INK = "#010203"
"""Drawn by matplotlib in place of black, then replaced by the page's own text colour."""
SIZE = 12
"""Of all words, in pixels of a figure that is shown as large as it was drawn."""
PAGE = dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
) | {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.columnspacing": 1,
    "legend.handletextpad": 0.5,
}
"""How figures of a page look, as settings of matplotlib."""
NOTHING = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def blank(width: float, height: float) -> Axes:
    """Axes of a new figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def themed(split: str, kind: str = "") -> str:
    """Colour of a split, or of words on it ("-text"), which the page's style sheet may replace."""
    return f"var(--mcu-{split}{kind}, {(INKS if kind else COLOURS)[split]})"


def svg(figure: Figure, text: str) -> str:
    """Return a figure as inline SVG in the colours of the page, with a text alternative."""
    buffer = io.StringIO()
    # Names of clip paths must differ between the figures of a page.
    with matplotlib.rc_context(PAGE | {"svg.hashsalt": text}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    body = re.search(r"<svg[^>]*>(.*)</svg>", buffer.getvalue(), re.S).group(1)
    body = body.replace(INK, "currentColor").replace('id="mcu-halo"', 'class="mcu-halo"')
    for kind, colours in (("", COLOURS), ("-text", INKS)):
        for split, colour in colours.items():
            body = re.sub(colour, themed(split, kind), body, flags=re.I)
    # A hundredth of a pixel is enough.
    body = re.sub(r' d="[^"]+"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    # The page's own font, and sizes in units that it may set.
    body = re.sub(r'\bfont: [^;"]*?([\d.]+px) [^;"]*', r"font-size: \1", body)
    body = re.sub(r'font-family: [^;"]*(; )?', "", body)
    body = re.sub(
        r"font-size: ([\d.]+)px", lambda m: f"font-size: {float(m[1]) / SIZE:.3g}em", body
    )
    return drawing(figure, body, f'role="img" aria-label="{escape(text)}"')


def drawing(figure: Figure, body: str, attributes: str = 'aria-hidden="true"') -> str:
    """Inline SVG of the size of a figure, without a text alternative unless it has attributes."""
    width, height = figure.get_size_inches() * 72
    style = f"display:block;width:100%;max-width:{1.25 * width:.0f}px"
    head = f'class="mcu-figure" viewBox="0 0 {width:g} {height:g}" font-size="{SIZE}"'
    return f'<div class="mcu-panel"><svg {head} style="{style}" {attributes}>{body}</svg></div>'


def picture(*axes: Axes) -> HTML:
    """Show figures in a page, light or dark.

    Parameters
    ----------
    *axes : matplotlib.axes.Axes
        One figure each; its label is its text alternative.

    Examples
    --------
    >>> "<svg" in picture(plot_along_t(table, "loss")).data
    True
    """
    cells = (
        f'<div style="flex:1 1 320px;max-width:{ax.figure.get_figwidth() * 90:.0f}px">'
        f"{svg(ax.figure, ax.get_label())}</div>"
        for ax in axes
    )
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(cells)}</div>')

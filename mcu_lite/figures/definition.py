"""The drawing of what "connected" means: two inequalities along a path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from IPython.display import HTML

from mcu_lite.figures.look import themed

T = np.linspace(0, 1, 61)
BUMP = 1.15 * (np.exp(-(((T - 0.52) / 0.22) ** 2)) - np.exp(-((0.48 / 0.22) ** 2)))
LEFT, RIGHT, TOP, FLOOR, WIDE, HIGH = 20, 300, 46, 262, 340, 286
EPSILON = 0.28
CAPTION = (
    "<b>What “connected” means.</b> Both losses are read along a path from θ′₁ to θ′₂ and compared "
    "with the straight line between their end values (dashed). The path connects the two models "
    "if, at every t, the retain loss stays below that line and the forget loss above it, up to the "
    "tolerance ε (tinted). The solid paths do; the dotted ones each break one of the two. "
    "The largest distance on the wrong side is the barrier."
)


def definition() -> HTML:
    """Draw the two inequalities, and for each a path that holds and one that breaks it.

    Examples
    --------
    >>> definition().data.count("<svg")
    2
    """
    hump, sag = "a hump above ε", "a sag below ε"
    low, high = -0.17 * np.sin(2 * np.pi * T) - 0.06 * np.sin(np.pi * T), 0.32 * np.sin(np.pi * T)
    retain = _panel("retain", "rise", 1, (0.35, 0.6), low, (hump, 0.86, 1.5), (0.3, 0.05))
    forget = _panel("forget", "fall", -1, (1.4, 1.05), high, (sag, 0.18, 0.42), (0.62, 1.67))
    return HTML(
        f'<figure class="mcu-plate"><div class="mcu-pair">{retain}{forget}</div>'
        f"<figcaption>{CAPTION}</figcaption></figure>"
    )


def _panel(
    split: str, verb: str, side: int, ends: Sequence, good: np.ndarray, bad: Sequence, at: Sequence
) -> str:
    """One loss along t as SVG, forbidden on one `side` of the straight line between its ends.

    `good` is what a path that holds adds to that line, `at` the place of its name; `bad` is what
    the other one does, and where that is said.
    """
    line = np.interp(T, (0, 1), ends)
    edge, broken, middle = line + side * EPSILON, line + side * BUMP, int(BUMP.argmax())
    beyond = line + side * np.maximum(BUMP, EPSILON)
    colour, ink = themed(split), themed(split, "-text")
    x, foot = _at(T[middle], line[middle])
    _, tip = _at(T[middle], broken[middle])
    (_, start), (_, stop) = _at(1, line[-1]), _at(1, edge[-1])
    bars = "".join(
        f"M{here} {a}V{b}M{here - 4} {a}h8M{here - 4} {b}h8"
        for here, a, b in ((x, foot, tip), (RIGHT + 9, start, stop))
    )
    (x1, y1), (x2, y2) = _at(*bad[1:]), _at(*at)
    parts = [
        _path(f"{_points(line)}L{_points(edge, -1)}Z", fill=colour, opacity=0.18),
        _path(f"{_points(beyond)}L{_points(edge, -1)}Z", fill=colour, opacity=0.42),
        _path(_points(edge), stroke=colour),
        _path(_points(broken), stroke=colour, stroke_width=2, stroke_dasharray="2 3"),
        _path(_points(line + good), stroke=colour, stroke_width=2.2),
        _path(_points(line), stroke="currentColor", stroke_width=1.4, stroke_dasharray="5 4"),
        _path(bars[1:], stroke="currentColor", stroke_width=1.3),
        _path(f"4 {FLOOR}H{WIDE - 8}M4 {FLOOR}V{TOP}m-3 6l3 -6l3 6", stroke="currentColor"),
        *('<circle cx="{}" cy="{}" r="4.5"/>'.format(*_at(*end)) for end in enumerate(ends)),
        f'<text y="12" class="mcu-title"><tspan fill="{ink}">{split.title()} loss</tspan> '
        f"must not {verb}</text>",
        _text(0, 28, f"{'below' if side > 0 else 'above'} the dashed line all is welcome", "start"),
        _text(12, TOP + 8, "loss", "start"),
        _text(x1, y1, bad[0], fill=ink, font_weight=650),
        _text(x1, y1 + 15, "breaks it", fill=ink, font_weight=650),
        _text(x2, y2, "a path that connects", fill=ink),
        _text(x + 6, (foot + tip) / 2 + 4 - 8 * side, "barrier", "start", **{"class": "mcu-halo"}),
        _text(RIGHT + 21, (start + stop) / 2 + 4, "ε", font_style="italic"),
        _text(LEFT - 8, HIGH - 6, "θ′₁, t = 0", "start"),
        _text((LEFT + RIGHT) / 2, HIGH - 6, "path φ(t)"),
        _text(RIGHT + 12, HIGH - 6, "θ′₂, t = 1", "end"),
    ]
    said = (
        f"The {split} loss must not {verb}: one path stays on the right side of the straight line "
        f"between the ends at t = 0 and t = 1, up to ε; another breaks it by {bad[0]}, whose "
        "height is the barrier."
    )
    head = f'viewBox="0 0 {WIDE} {HIGH}" style="max-width:420px" font-size="12" fill="currentColor"'
    svg = f'<svg class="mcu-figure" {head} role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return f'<div class="mcu-panel">{svg}</div>'


def _at(t: float, loss: float) -> tuple[float, float]:
    """Place of a point in the SVG."""
    y = FLOOR - 12 - (FLOOR - TOP - 20) * loss / 1.8
    return round(LEFT + (RIGHT - LEFT) * t, 1), round(y, 1)


def _points(loss: np.ndarray, step: int = 1) -> str:
    return "L".join("{} {}".format(*_at(*point)) for point in zip(T[::step], loss[::step]))


def _path(points: str, fill: str = "none", **how: object) -> str:
    return f'<path d="M{points}" fill="{fill}"{_attributes(how)}/>'


def _text(x: float, y: float, words: str, anchor: str = "middle", **how: object) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{_attributes(how)}>{words}</text>'


def _attributes(how: dict) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in how.items())

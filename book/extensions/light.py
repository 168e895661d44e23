"""Leave out of the pages what they would load and not use."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx


def tags(name: str) -> re.Pattern:
    """Match what loads a file of this name."""
    return re.compile(rf"<script[^>]*{name}[^>]*></script>\n?|<link[^>]*{name}[^>]*>\n?")


UNUSED, FORMULAS = tags(r"fontawesome\.js"), tags("katex")


def drop_unused(app: Sphinx, exception: Exception | None) -> None:
    """Leave icons to the theme's style sheet and font, and formulas to pages that have some.

    The theme's script draws the same icons as SVG, weighs 1.5 MB, and would replace the <i> that
    the Play widget rewrites at every click.
    """
    if exception is not None:
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        light = UNUSED.sub("", text)
        if 'class="math' not in text:
            light = FORMULAS.sub("", light)
        if light != text:
            page.write_text(light, "utf-8")
    for file in (Path(app.outdir) / "_static" / "scripts").glob("fontawesome.js*"):
        file.unlink()


def setup(app: Sphinx) -> dict:
    """Register the step."""
    app.connect("build-finished", drop_unused)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Leave out of the pages what they would load and not use."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

TAG = r"<script[^>]*{0}[^>]*></script>\n?|<link[^>]*{0}[^>]*>\n?"


def drop_unused(app: Sphinx, exception: Exception | None) -> None:
    """Leave icons to the theme's style sheet and font, and formulas to pages that have some.

    The theme's script draws the same icons as SVG, weighs 1.5 MB, and would replace the <i> that
    the Play widget rewrites at every click.
    """
    if exception:
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        unused = r"fontawesome\.js" if 'class="math' in text else r"(?:fontawesome\.js|katex)"
        page.write_text(re.sub(TAG.format(unused), "", text), "utf-8")
    for file in (Path(app.outdir) / "_static" / "scripts").glob("fontawesome.js*"):
        file.unlink()


def setup(app: Sphinx) -> dict:
    """Register the step."""
    app.connect("build-finished", drop_unused)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What a link to a page shows elsewhere: title, description, and a picture of its first figure."""

from __future__ import annotations

import json
import re
from functools import cache
from html import escape, unescape
from pathlib import Path
from textwrap import shorten, wrap

import matplotlib
import nbformat
import resvg_py
from docutils import nodes
from sphinx.application import Sphinx

FIGURE = re.compile(
    r'<svg (?:class=\\"[\w -]*\\" )?viewBox=\\"[^>]* role=\\"img\\" aria-label=\\"[^>]*>.*?</svg>'
)
"""A figure as it stands in a notebook's JSON."""
CARD = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
  viewBox="0 0 1200 630" font-family="DejaVu Sans" fill="#1b1f23">
<rect width="100%" height="100%" fill="#ffffff"/><rect width="16" height="100%" fill="#0072B2"/>
<text x="64" y="96" font-size="26" fill="#57606a">{book}</text>
<g font-weight="bold" font-size="44">{title}</g>
<svg x="590" y="130" width="560" height="440" {figure}
</svg>"""
"""A preview, in the size that those who show them ask for."""


def add_tags(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Describe a page in its head; with an address, where it lies as well."""
    if doctree is None:
        return
    title = unescape(re.sub("<[^>]*>", "", context["title"]))
    text = app.env.metadata[pagename].get("description") or first_paragraph(doctree)
    sources = (Path(app.env.doc2path(name)) for name in (pagename, app.config.root_doc))
    figure = next(filter(None, map(figure_of, sources)), "")
    tags = {"og:type": "article", "og:title": title, "og:description": text}
    tags["og:site_name"] = app.config.html_title
    if address := app.config.book_address.rstrip("/"):
        tags["og:url"] = f"{address}/{pagename}.html"
    if figure:
        image = f"_images/preview-{pagename.replace('/', '-')}.png"
        Path(app.outdir, "_images").mkdir(exist_ok=True)
        Path(app.outdir, image).write_bytes(draw(app.config.html_title, title, figure))
        tags["og:image"] = f"{address}/{image}" if address else context["pathto"](image, 1)
        tags |= {"og:image:width": "1200", "og:image:height": "630"}
        tags["og:image:alt"] = unescape(re.search('aria-label="([^"]*)"', figure)[1])
    lines = [f'<meta property="{name}" content="{escape(v)}">' for name, v in tags.items()]
    lines.append(f'<meta name="description" content="{escape(text)}">')
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] += "\n".join(lines)


def first_paragraph(doctree: nodes.document) -> str:
    """Return the first words of a page, up to what previews show."""
    texts = (paragraph.astext() for paragraph in doctree.findall(nodes.paragraph))
    return shorten(next(filter(str.strip, texts), ""), 200, placeholder=" …")


@cache
def figure_of(source: Path) -> str:
    """Return the first figure that an executed page shows or stores, as SVG; "" without one."""
    if source.suffix != ".ipynb":
        return ""
    found = FIGURE.search(json.dumps(nbformat.read(source, as_version=4)))
    return json.loads(f'"{found[0]}"') if found else ""


def draw(book: str, title: str, figure: str) -> bytes:
    """Draw a page's preview as PNG."""
    # Outside of a page there is no style sheet to ask for colours.
    figure = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", figure)
    figure = figure.replace("currentColor", "#1b1f23").removeprefix("<svg ")
    figure = re.sub(r'^([^>]*?) style="[^"]*"', r"\1", figure)
    lines = [
        f'<text x="64" y="{190 + 58 * i}">{escape(line)}</text>'
        for i, line in enumerate(wrap(title, 18))
    ]
    return resvg_py.svg_to_bytes(
        svg_string=CARD.format(book=escape(book), title="".join(lines), figure=figure),
        font_dirs=[f"{matplotlib.get_data_path()}/fonts/ttf"],
        skip_system_fonts=True,
        sans_serif_family="DejaVu Sans",
    )


def setup(app: Sphinx) -> None:
    """Register the tags; `launch` reads the book's address."""
    app.setup_extension("launch")
    app.connect("html-page-context", add_tags)

"""How a chapter reads: where it stands, what folds, and to what line."""

from __future__ import annotations

from html import escape

import yaml
from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

MORE = "More"
"""Title of a section that folds; its summary names what is in it."""


class Guess(SphinxDirective):
    """`{dropdown}`: an answer to unfold, in plain HTML; notebooks know this directive as well."""

    has_content, required_arguments, final_argument_whitespace = True, 1, True

    def run(self) -> list[nodes.Node]:
        """Put the content between the tags."""
        summary, _ = self.state.inline_text(self.arguments[0], self.lineno)
        body = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, body)
        opened = _raw('<details class="mcu-guess"><summary>')
        return [opened, *summary, _raw("</summary>"), *body, _raw("</details>")]


def fold(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Say how many lines a folded cell has; fold the sections that are called More."""
    for cell in doctree.findall(HideCodeCellNode):
        source = next(cell.findall(nodes.literal_block), None)
        if source is not None and "output" not in cell.get("prompt_show", ""):
            lines = sum(bool(line.strip()) for line in source.astext().splitlines())
            cell["prompt_show"] = cell["prompt_hide"] = f"Code, {lines} lines"
    for section in doctree.findall(nodes.section):
        title, *rest = section.children
        if title.astext() == MORE:
            parts = [part[0].astext() for part in rest if isinstance(part, nodes.section)]
            summary = escape(" · ".join(parts) or MORE)
            opened = f'<details class="mcu-fold mcu-more"><summary>{summary}</summary>'
            section[:] = [title, _raw(opened), *rest, _raw("</details>")]


def _raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def add_place(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Write above a chapter's title which part it belongs to, and its number there."""
    for caption, chapters in app.reading_parts.items():
        if pagename in chapters and len(chapters) > 1 and "body" in context:
            number = chapters.index(pagename) + 1
            place = f"{caption} · {number} of {len(chapters)}"
            context["body"] = f'<p class="mcu-place">{escape(place)}</p>{context["body"]}'


def setup(app: Sphinx) -> None:
    """Register all of it; parts are those of the table of contents."""
    toc = yaml.safe_load(open(f"{app.srcdir}/_toc.yml", encoding="utf-8"))
    app.reading_parts = {
        p["caption"]: [c["file"] for c in p["chapters"]] for p in toc.get("parts", [])
    }
    app.add_directive("dropdown", Guess, override=True)
    app.connect("doctree-resolved", fold)
    app.connect("html-page-context", add_place)

"""MyST as plain Markdown, for notebooks that are opened where nobody knows MyST, as in Colab."""

from __future__ import annotations

import re
from pathlib import Path

from nbformat import NotebookNode
from pybtex.database import parse_file
from sphinx.util.nodes import _make_id
from used_in import pages

HIDDEN = {"remove-input", "remove-cell", "hide-input"}
"""Tags of cells whose code the page does not show, or not at once."""
FENCE = re.compile(r"^(`{3,}|:{3,})(.*)\n((?:.*\n)*?)\1 *$", re.M)
BODY = re.compile(r"((?::[\w-]+:[^\n]*\n)*)\s*(.*)", re.S)
ROLE = re.compile(r"(?<!`)\{(term|doc|ref|numref|cite:[pt]|py:\w+)\}`([^`]+)`")
LINK = re.compile(r"\[([^]]*)\]\(([\w-]+)\)")
COMMENT = re.compile(r"^(?:%.*|\([\w-]+\)=)(?:\n|\Z)", re.M)
PLACE = re.compile(r"^(?:```\{(exercise)\}\n:label: (\S+)|\(([\w-]+)\)=\n+#* *(.*))$", re.M)


class Book:
    """What roles stand for; where the book is published, they link to it."""

    def __init__(self, root: Path, address: str = ""):
        self.address, self.places, number = address.rstrip("/"), {}, 0
        for page in pages(root):
            text, page = (root / f"{page}.md").read_text(encoding="utf-8"), Path(page).name
            self.places[page] = re.search(r"^# (.*)$", text, re.M)[1], page
            for exercise, label, target, title in PLACE.findall(text):
                number += bool(exercise)
                self.places[label or target] = title or f"Exercise {number}", page, label or target
        self.works = parse_file(root / "book" / "references.bib").entries

    def plain(self, text: str) -> str:
        """Markdown that needs no MyST and says the same."""
        prose, *rest = FENCE.split(text)
        blocks = zip(*(rest[k::4] for k in range(4)))
        return self._prose(prose) + "".join(self._block(*b) + self._prose(p) for *b, p in blocks)

    def _prose(self, text: str) -> str:
        text = ROLE.sub(lambda found: self._role(*found.groups()), COMMENT.sub("", text))
        return LINK.sub(lambda m: self._to(m[2], m[1]) if m[2] in self.places else m[0], text)

    def _block(self, fence: str, info: str, text: str) -> str:
        if not (directive := re.match(r"\{([\w-]+)\} *(.*)", info)):
            return f"{fence}{info}\n{text}{fence}"
        (kind, argument), (options, body) = directive.groups(), BODY.match(text.rstrip()).groups()
        if kind in ("code", "code-block"):
            return f"{fence}{argument or 'python'}\n{body}\n{fence}"
        body = self.plain(body)
        if kind == "exercise":
            label = re.search(r":label: (\S+)", options)[1]
            return f"### {self.places[label][0]}\n\n{body}"
        if kind == "solution":
            argument = f"Solution to {self.places[argument][0]}"
        if kind in ("solution", "dropdown"):
            return f"<details><summary>{argument}</summary>\n\n{body}\n\n</details>"
        lines = [f"**{argument or kind.capitalize()}**", "", *body.splitlines()]
        return "\n".join(f"> {line}".rstrip() for line in lines)

    def _role(self, kind: str, content: str) -> str:
        text, target = re.fullmatch(r"(.*?)(?:\s*<(.*)>)?", " ".join(content.split())).groups()
        if kind == "term":
            return self._link(text, "glossary", _make_id(f"term-{target or text}"))
        if kind.startswith("cite"):
            works = [self._cited(key.strip(), kind) for key in content.split(",")]
            return f"({'; '.join(works)})" if kind == "cite:p" else ", ".join(works)
        if kind.startswith("py"):
            return f"`{text}`"
        return self._to(target or text, text if target else "")

    def _cited(self, key: str, kind: str) -> str:
        first, *more = (
            " ".join(p.prelast_names + p.last_names) for p in self.works[key].persons["author"]
        )
        names = f"{first} et al." if more[1:] else " and ".join([first, *more])
        year = self.works[key].fields["year"]
        return self._link(
            f"{names}, {year}" if kind == "cite:p" else f"{names} ({year})", "bibliography"
        )

    def _to(self, target: str, text: str) -> str:
        title, *place = self.places[Path(target).name]
        return self._link(text or title, *place)

    def _link(self, text: str, page: str, anchor: str = "") -> str:
        address = f"{self.address}/book/{page}.html" + (anchor and f"#{anchor}")
        return f"[{text}]({address})" if self.address else text


def make_plain(notebook: NotebookNode, book: Book) -> None:
    """Rewrite a notebook's Markdown; fold in Colab what the page does not show."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = book.plain(cell.source)
        elif HIDDEN & set(cell.metadata.get("tags", [])):
            cell.metadata["cellView"] = "form"
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = book.plain(output.data["text/markdown"])

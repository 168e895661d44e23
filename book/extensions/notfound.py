"""A page for addresses that do not exist, which static hosts serve at any depth as 404.html."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

BODY = """<h1>Page not found</h1>
<p>This address has no page: it may have moved, or it was mistyped. Start at the
<a href="{start}">first page</a>, or search the book:</p>
<form action="search.html"><p><label>Words to look for
<input type="search" name="q"></label> <button>Search</button></p></form>"""
SCRIPT = """<script>
// Hosts show this page in the place of a missing one, so its links are relative to no known
// folder. The book lies in the nearest folder above that holds its inventory.
for (let folder = new URL(".", location); location.protocol.startsWith("http"); ) {
  const request = new XMLHttpRequest();
  request.open("HEAD", new URL("objects.inv", folder), false);
  request.send();
  const found = request.status === 200;
  if (found) document.write(`<base href="${new URL("404.html", folder)}">`);
  if (found || folder.pathname === "/") break;
  folder = new URL("..", folder);
}
</script>"""


def pages(app: Sphinx):
    """Yield the page, in the book's own dress."""
    start = app.builder.get_target_uri(app.config.root_doc)
    yield "404", {"title": "Page not found", "body": BODY.format(start=start)}, "page.html"


def insert_script(app: Sphinx, exception: Exception | None) -> None:
    """Put the script before everything that the page loads."""
    page = Path(app.outdir) / "404.html"
    if exception is None and page.exists():
        page.write_text(page.read_text("utf-8").replace("<head>", f"<head>\n{SCRIPT}", 1), "utf-8")


def setup(app: Sphinx) -> dict:
    """Register the page."""
    app.connect("html-collect-pages", pages)
    app.connect("build-finished", insert_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

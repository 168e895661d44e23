"""Every link of the built book leads somewhere, and nothing is loaded from another host."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from browsing import PAGES
from bs4 import BeautifulSoup


def broken_links(site):
    """Links to no file or anchor, and whatever a page would load from another host."""
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    soups = {page: BeautifulSoup(read(page), "html.parser") for page in pages}
    anchors = {page: {tag["id"] for tag in soup.select("[id]")} for page, soup in soups.items()}
    found = []
    for page, soup in soups.items():
        for loads, address in references(soup):
            url = urlsplit(address)
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if url.scheme in {"data", "mailto", "javascript"}:
                continue
            if url.scheme or url.netloc:
                problem = "is remote" if loads else ""
            elif not target.is_file():
                problem = "does not exist"
            else:
                known = {"", *anchors.get(target, [url.fragment])}
                problem = "" if unquote(url.fragment) in known else "has no such anchor"
            if problem:
                found.append(f"{page.relative_to(site)}: {address} {problem}")
    return found + [
        f"{sheet.relative_to(site)}: {address} is remote"
        for sheet in site.rglob("*.css")
        for address in re.findall(
            r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", read(sheet)
        )
    ]


def references(soup):
    """Every address in a page, and whether the browser loads it unasked."""
    for tag in soup.select("[href], [src]"):
        loads = "src" in tag.attrs or (tag.name == "link" and "stylesheet" in tag.get("rel", []))
        yield loads, tag.get("src", tag.get("href"))
    for tag in soup.select("meta[http-equiv=refresh]"):
        yield True, tag["content"].partition("url=")[2]


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def test_every_link_of_the_book_resolves(site):
    assert broken_links(site) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">', "gone.html does not exist"),
        ('<a href="/page.html">', "/page.html does not exist"),
        ('<a href="#gone">', "#gone has no such anchor"),
        ('<a href="page.html#gone">', "page.html#gone has no such anchor"),
        ('<img src="gone.png">', "gone.png does not exist"),
        ('<img src="https://example.org/a.png">', "https://example.org/a.png is remote"),
        ('<script src="//example.org/a.js">', "//example.org/a.js is remote"),
        ('<link rel="stylesheet" href="http://example.org/a.css">', "is remote"),
        ('<meta http-equiv="refresh" content="0; url=gone.html">', "gone.html does not exist"),
        ('<p id="here"></p><a href="#here"><a href="page.html#here"><a href="#">', None),
        ('<a href="https://example.org"><a href="mailto:a@example.org"><a href="a%20b.txt">', None),
    ],
)
def test_broken_links_are_found(tmp_path, html, problem):
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    (tmp_path / "a b.txt").touch()
    found = broken_links(tmp_path)
    assert len(found) == 1 and found[0].endswith(problem) if problem else found == []


def test_remote_fonts_are_found(tmp_path):
    (tmp_path / "a.css").write_text(
        '@font-face { src: url("https://example.org/a.woff2") }', encoding="utf-8"
    )
    assert broken_links(tmp_path) == ["a.css: https://example.org/a.woff2 is remote"]


@pytest.mark.parametrize("name", PAGES)
def test_no_markup_is_left_in_the_text(name):
    """Tables, roles and links of computed sentences are rendered as those of the prose."""
    soup = BeautifulSoup(PAGES[name], "html.parser").select_one("article")
    for part in soup.select("script, pre, code, svg, .math, .sig, dt strong"):
        part.decompose()
    assert re.findall(r"\{[\w:]+\}|\|[-—:]+\||\]\(|\*\*|\$\S", soup.get_text()) == []

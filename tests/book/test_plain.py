"""Notebooks that are opened where nobody knows MyST: plain Markdown, and code folded in Colab."""

import re
import sys
from itertools import chain
from pathlib import Path

import jupytext
import nbformat
import pytest
from browsing import SITE
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "extensions"))
from plain import HIDDEN, Book, make_plain  # noqa: E402

HERE = "https://example.org/book"
DOWNLOADS = sorted(SITE.glob("_sources/book/*.ipynb"))
PAGES = sorted((ROOT / "book").glob("*.md"))
MYST = re.compile(r"\{[\w:]+\}`[^`{]+`|^[`:]{3,}\{|^%|^\([\w-]+\)=$", re.M)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A book of two pages."""
    root = tmp_path_factory.mktemp("small")
    (root / "book").mkdir()
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/first\nchapters: [{file: book/second}]\n", encoding="utf-8"
    )
    (root / "book/first.md").write_text(
        "# The *first* page\n\n```{exercise}\n:label: ex-a\n\nWhy?\n```\n", encoding="utf-8"
    )
    (root / "book/second.md").write_text(
        "# The second\n\n(here)=\n\n## Look here\n\n```{exercise}\n:label: ex-b\n\nHow?\n```\n",
        encoding="utf-8",
    )
    (root / "book/references.bib").write_text(
        "@misc{one1, author={Lovelace, Ada}, year={1843}}\n"
        "@misc{two2, author={Ada Lovelace and Alan van Turing}, year={1950}}\n"
        "@misc{many, author={A B and C D and E F}, year={2000}}\n",
        encoding="utf-8",
    )
    return root


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("no roles, `{code}` and `x`", "no roles, `{code}` and `x`"),
        ("a {term}`basin`", "a basin"),
        ("`{term}` and `x`", "`{term}` and `x`"),
        ("two {term}`basins\n<basin>` and", "two basins and"),
        ("see {doc}`second`", "see The second"),
        (
            "see {doc}`this <second>` and [](first), [it](second)",
            "see this and The *first* page, it",
        ),
        ("[it](here), [](here), [out](https://a.org/x)", "it, Look here, [out](https://a.org/x)"),
        ("{ref}`ex-b` and {ref}`that <ex-a>`", "Exercise 2 and that"),
        ("so {cite:p}`one1,two2`", "so (Lovelace, 1843; Lovelace and van Turing, 1950)"),
        ("{cite:t}`many` say", "B et al. (2000) say"),
        ("{py:obj}`mcu.align <mcu_lite.paths.align>`", "`mcu.align`"),
        ("a\n% no\nb", "a\nb"),
        ("(here)=\n## Look", "## Look"),
        ("```python\n% {term}`x`\n```", "```python\n% {term}`x`\n```"),
        ("```{code-block} python\n:class: check\n\nx\n```", "```python\nx\n```"),
        ("```{exercise}\n:label: ex-b\n\nHow, {term}`x`?\n```", "### Exercise 2\n\nHow, x?"),
        (
            "````{solution} ex-a\n:class: dropdown\n\n"
            "```python\nf'{term}`x`'\n```\n\nSo {term}`x`.\n````",
            "<details><summary>Solution to Exercise 1</summary>\n\n"
            "```python\nf'{term}`x`'\n```\n\nSo x.\n\n</details>",
        ),
        (":::{note}\nMind {term}`x`.\n\nOr not.\n:::", "> **Note**\n>\n> Mind x.\n>\n> Or not."),
        (
            ":::{dropdown} It falls.\nNo.\n:::",
            "<details><summary>It falls.</summary>\n\nNo.\n\n</details>",
        ),
        ("```{warning} Hot\nx\n```\nand", "> **Hot**\n>\n> x\nand"),
        (
            "<details class='a'><summary>b</summary>\n\n{term}`c`\n\n</details>",
            "<details class='a'><summary>b</summary>\n\nc\n\n</details>",
        ),
        ("$$\nx\n$$", "$$\nx\n$$"),
    ],
)
def test_myst_becomes_markdown(small, myst, plain):
    assert Book(small).plain(myst) == plain
    assert Book(small).plain(plain) == plain


def test_a_published_book_is_linked_to(small):
    book = Book(small, HERE + "/")
    assert book.plain("{doc}`second`") == f"[The second]({HERE}/book/second.html)"
    assert book.plain("{ref}`ex-a`") == f"[Exercise 1]({HERE}/book/first.html#ex-a)"
    assert book.plain("{cite:t}`one1`") == f"[Lovelace (1843)]({HERE}/book/bibliography.html)"
    basin = f"[basins]({HERE}/book/glossary.html#term-basin)"
    assert book.plain("{term}`basins <basin>`") == basin


def test_outputs_are_rewritten_and_hidden_code_folds(small):
    sentence = new_output("display_data", {"text/markdown": "a {term}`basin`"})
    cells = [new_markdown_cell("{term}`x`"), new_code_cell("'{term}`x`'", outputs=[sentence])]
    cells += [new_code_cell("y", metadata={"tags": [tag, "setup"]}) for tag in sorted(HIDDEN)]
    notebook = new_notebook(cells=cells)
    make_plain(notebook, Book(small))
    text, shown, *hidden = notebook.cells
    assert (text.source, shown.source) == ("x", "'{term}`x`'")
    assert shown.outputs[0].data["text/markdown"] == "a basin"
    assert "cellView" not in shown.metadata
    assert {cell.metadata["cellView"] for cell in hidden} == {"form"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_page_can_be_said_plainly_and_its_links_resolve(page, site):
    notebook = jupytext.read(page, fmt="md:myst")
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        pytest.skip("is no notebook")
    make_plain(notebook, Book(ROOT, HERE))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not MYST.findall(re.sub(r"^(```+)\w+\n.*?^\1$", "", text, flags=re.M | re.S))
    for name, anchor in set(re.findall(rf"\({HERE}/(book/[\w.-]+)#?([^)]*)\)", text)):
        assert f'id="{anchor}"' in (site / name).read_text("utf-8") or not anchor, (name, anchor)


@pytest.mark.parametrize("path", DOWNLOADS, ids=lambda p: p.stem)
def test_a_download_is_plain_markdown_and_shows_what_the_page_shows(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = chain.from_iterable(cell.get("outputs", []) for cell in notebook.cells)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    asked = re.findall(r"^### (Exercise \d+)$", "\n".join(texts), re.M)
    texts += [o.data["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})]
    code = re.compile(r"^(```+)\w+\n.*?^\1$", re.M | re.S)
    assert not [found for text in texts for found in MYST.findall(code.sub("", text))]
    for cell in notebook.cells:
        folded = bool(HIDDEN & set(cell.metadata.get("tags", [])))
        assert (cell.metadata.get("cellView") == "form") == folded
    page = BeautifulSoup((SITE / f"book/{path.stem}.html").read_text("utf-8"), "html.parser")
    titles = page.select(".exercise > .admonition-title")
    assert asked == [title.get_text(strip=True) for title in titles]

"""Which chapter uses which function, and back: read off the chapters' code when the book is built.

A Sphinx extension: `{used-in}` is the table, and every entry of the reference gets a line with
the chapters that use it.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from pkgutil import resolve_name

import jupytext
from sphinx_external_toc.parsing import parse_toc_yaml

PACKAGE = "mcu_lite"
PAGES = ["book/api", "book/uses"]


def uses(root: Path) -> dict[str, list[str]]:
    """Pages by the function or class of the package that their code names, in the book's order."""
    found = {}
    for page in pages(root):
        for name in named_in(code_of(root, page)):
            found.setdefault(name, []).append(page)
    return dict(sorted(found.items()))


def pages(root: Path) -> list[str]:
    """Every page of the table of contents, without its ending."""
    return list(parse_toc_yaml(root / "_toc.yml"))


def code_of(root: Path, page: str) -> str:
    """The code cells of a page, be it text or an executed notebook."""
    text, executed = root / f"{page}.md", root / f"{page}.ipynb"
    notebook = jupytext.read(text, fmt="md:myst") if text.exists() else jupytext.read(executed)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def named_in(code: str) -> set[str]:
    """Full names of the package's functions and classes that some code names."""
    nodes, full = list(ast.walk(ast.parse(code))), {PACKAGE: PACKAGE}
    for node in nodes:
        if isinstance(node, ast.Import):
            full |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    own = {name: what for name, what in full.items() if what.split(".")[0] == PACKAGE}
    names = (ast.unparse(node) for node in nodes if isinstance(node, (ast.Name, ast.Attribute)))
    parts = (name.partition(".") for name in names)
    return {home(own[first] + dot + rest) for first, dot, rest in parts if first in own} - {None}


def home(name: str) -> str | None:
    """Where a function or class is defined, under whatever name it was reached."""
    try:
        item = inspect.unwrap(resolve_name(name))
    except (ImportError, AttributeError, ValueError):
        return None
    routine = inspect.isfunction(item) or inspect.isclass(item)
    return f"{item.__module__}.{item.__qualname__}" if routine else None


def add_table(app, docname, source) -> None:
    """Write the table in the place of `{used-in}`, as Markdown, so that Sphinx checks its links."""
    rows = ["| function | used in |", "|---|---|"]
    for name, where in app.used_in.items():
        links = ", ".join(f"{{doc}}`/{page}`" for page in where)
        rows.append(f"| {{py:obj}}`{name.removeprefix(PACKAGE + '.')} <{name}>` | {links} |")
    source[0] = source[0].replace("```{used-in}\n```", "\n".join(rows))


def add_line(app, what, name, item, options, lines) -> None:
    """End an entry of the reference with the chapters that use it."""
    if what in ("function", "class", "method") and (where := app.used_in.get(name)):
        links = ", ".join(f":doc:`/{page}`" for page in where)
        lines += ["", f"**Used in** {links}", ""]


def plain_default(app, what, name, item, options, signature, returns) -> tuple | None:
    """Write defaults that are made anew as "...": Sphinx cannot read Python's own name for them."""
    return signature and (signature.replace("<factory>", "..."), returns)


def setup(app) -> None:
    """Tell Sphinx of it; the two pages are read anew at every build, as chapters change."""
    app.used_in = uses(Path(app.srcdir))
    app.connect("source-read", add_table)
    # After numpydoc, which rewrites the docstrings.
    app.connect("autodoc-process-docstring", add_line, priority=900)
    app.connect("autodoc-process-signature", plain_default)
    app.connect("env-get-outdated", lambda app, env, *_: [p for p in PAGES if p in env.found_docs])

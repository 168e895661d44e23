"""Buttons that run or download a page. Where they lead is read off the repository's own remote."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import nbformat
from plain import Book, make_plain
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
REMOTE = re.compile(
    r"(?:https?://(?:[^@/]+@)?|(?:ssh://)?git@)(github\.com|gitlab\.com)[:/]"
    r"([\w./-]+/[\w.-]+?)(?:\.git)?/?"
)
BRANCH = "gh-pages"
"""Where the workflow publishes the site, and with it the executed notebooks that Colab opens."""
INSTALL = """# Where the book's package is missing, as in Colab, install it.
from importlib.util import find_spec

if find_spec("mcu_lite") is None:
    %pip install -q git+https://{}/{}"""


def remote(root: Path = ROOT) -> str:
    """Return the address of a clone's origin, or "" if there is none."""
    # A copy that is no clone must not take the remote of a repository that it happens to lie in.
    here = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, env=here, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def repository(address: str) -> tuple[str, str] | None:
    """Return host and path of the public repository that a remote's address names, if it does."""
    match = REMOTE.fullmatch(address)
    return match and match.groups()


def links(repo: tuple[str, str] | None, page: str, published: bool) -> dict[str, str]:
    """Where a page of code can be run, by name; without a public repository nowhere.

    Binder opens the chapter's text. Colab opens notebooks on GitHub only, and those exist once
    the site is published there.
    """
    if repo is None:
        return {}
    host, path = repo
    place = f"gh/{path}" if host == "github.com" else f"gl/{quote(path, safe='')}"
    found = {"Binder": f"https://mybinder.org/v2/{place}/HEAD?urlpath=lab/tree/{page}.md"}
    if published and host == "github.com":
        notebook = f"{path}/blob/{BRANCH}/_sources/{page}.ipynb"
        found["Colab"] = f"https://colab.research.google.com/github/{notebook}"
    return found


def show_repository(app: Sphinx, config) -> None:
    """Let the theme link to the repository and to its issues, if it is public."""
    if repo := repository(config.book_remote):
        buttons = {"use_repository_button": True, "use_issues_button": True}
        config.html_theme_options |= buttons | {"repository_url": "https://{}/{}".format(*repo)}


def add_buttons(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Add the launch buttons to executed pages, and their source to the downloads."""
    source = ROOT / f"{pagename}.md"
    if context.get("page_source_suffix") != ".ipynb" or not source.exists():
        return
    copy = Path(app.outdir, "_sources", f"{pagename}.md")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    buttons = context["header_buttons"]
    downloads = next(b["buttons"] for b in buttons if b.get("label") == "download-buttons")
    downloads[0]["tooltip"] = "Download the executed notebook"
    url = context["pathto"](f"_sources/{pagename}.md", 1)
    text = {"url": url, "text": ".md", "tooltip": "Download the source", "label": "source-button"}
    downloads.insert(1, downloads[0] | text)
    found = links(repository(app.config.book_remote), pagename, bool(app.config.book_address))
    run = [
        {"type": "link", "text": name, "tooltip": f"Run this page on {name}", "url": url}
        | {"icon": f"_static/images/logo_{name.lower()}.{'svg' if name == 'Binder' else 'png'}"}
        for name, url in found.items()
    ]
    group = {"type": "group", "tooltip": "Run this page", "icon": "fas fa-rocket"}
    buttons[:0] = [group | {"buttons": run, "label": "launch-buttons"}] if run else []


def finish_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Let the notebooks that readers download be read anywhere, and install what they import."""
    if exception:
        return
    repo, book = repository(app.config.book_remote), Book(ROOT, app.config.book_address)
    for path in Path(app.outdir, "_sources").rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        make_plain(notebook, book)
        if repo and notebook.cells[0].get("id") != "install":
            code = INSTALL.format(*repo)
            notebook.cells.insert(0, nbformat.v4.new_code_cell(code, id="install"))
        nbformat.write(notebook, path)


def setup(app: Sphinx) -> None:
    """Register the buttons; every page is rendered anew when the remote or the address changes."""
    app.add_config_value("book_remote", remote(), "html")
    app.add_config_value("book_address", os.environ.get("BOOK_ADDRESS", ""), "html")
    app.connect("config-inited", show_repository)
    app.connect("html-page-context", add_buttons, priority=900)
    app.connect("build-finished", finish_notebooks)

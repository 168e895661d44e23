"""A chapter in a real JupyterLab, as `make lab` and Binder open it: it looks like the page."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import jupytext
import pytest

pytestmark = pytest.mark.xdist_group("lab")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CHAPTER = ROOT / "book" / "mode-connectivity.md"
RAW = (
    "{term}",
    "{doc}",
    "{ref}",
    "{cite",
    "{exercise}",
    "{solution}",
    ":class:",
    ":label:",
    "<det",
)
RAN = """() => {
  const shown = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")]
    .filter((prompt) => prompt.checkVisibility());
  const idle = document.querySelector(".jp-Notebook-ExecutionIndicator[data-status=idle]");
  return idle && shown.length && shown.every((prompt) => /\\d/.test(prompt.textContent));
}"""
"""Whether the kernel rests, and every cell has its number; folded ones show none."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with one chapter, at the ci profile, as in the Makefile."""
    home = tmp_path_factory.mktemp("lab")
    (home / "book").mkdir()
    text = CHAPTER.read_text(encoding="utf-8").replace('profile = "book"', 'profile = "ci"')
    (home / "book" / CHAPTER.name).write_text(text, encoding="utf-8")
    own = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{kind}_DIR": str(home / kind) for kind in ("SETTINGS", "WORKSPACES")}
    run = {"cwd": home, "env": os.environ | own | {"OMP_NUM_THREADS": "1"}}
    subprocess.run([BIN / "jupytext-config", "set-default-viewer"], check=True, **run)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [f"--port={port}", "--port-retries=0", "--no-browser", "--allow-root"]
    options += ["--IdentityProvider.token=", "book"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([BIN / "jupyter", "lab", *options], stderr=log, **run)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urlopen(f"{address}/api").close()
                break
            except URLError:
                assert server.poll() is None, (home / "log").read_text("utf-8")
                time.sleep(0.2)
        yield f"{address}/lab/tree/{CHAPTER.name}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def notebook(lab, browser):
    """All of the chapter, after all of its cells have run."""
    with browser.new_context(viewport={"width": 1200, "height": 5000}) as context:
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(lab)
        page.locator(".jp-Notebook .jp-Cell h1").wait_for()
        # JupyterLab asks which kernel to run if it is asked before it has one.
        page.get_by_text("(ipykernel) | Idle").wait_for()
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function(RAN)
        page.locator(".jp-Notebook .noUi-handle").first.wait_for()
        if to := os.environ.get("SCREENSHOT"):
            page.screenshot(path=to)
        yield page.locator(".jp-Notebook")


def test_no_role_and_no_error_is_seen(notebook):
    seen = notebook.inner_text()
    assert "Exercise 1" in seen and "mode connectivity" in seen.lower()
    assert not [raw for raw in RAW if raw in seen]
    assert notebook.locator("[data-mime-type*=error], [data-mime-type*=stderr]").count() == 0


def test_what_folds_is_closed_and_opens(notebook):
    folded = notebook.locator("details")
    assert folded.count() >= 2 and notebook.locator("details[open]").count() == 0
    solution = folded.filter(has_text="Solution to").first
    code = solution.locator("pre, code").first
    assert not code.is_visible()
    solution.locator("summary").click(position={"x": 3, "y": 3})
    assert code.is_visible()
    solution.locator("summary").click(position={"x": 3, "y": 3})


def test_code_that_the_page_hides_is_folded(notebook):
    cells = [c for c in jupytext.read(CHAPTER).cells if c.cell_type == "code"]
    hidden = ["-input" in str(cell.metadata.get("tags")) for cell in cells]
    open_ = notebook.locator(".jp-CodeCell").evaluate_all(
        "cells => cells.map(c => !!c.querySelector('.jp-InputArea-editor')?.checkVisibility())"
    )
    assert any(hidden) and [not seen for seen in open_] == hidden


def test_a_slider_answers(notebook):
    handle = notebook.locator(".noUi-handle").first
    before = handle.get_attribute("aria-valuetext"), notebook.inner_html()
    handle.press("ArrowRight")
    assert handle.get_attribute("aria-valuetext") != before[0]
    assert notebook.inner_html() != before[1]

"""The built book and how tests open its pages."""

import os
import shutil
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("MCU_LITE_SITE") or ROOT / "_build/ci/_build/html").resolve()
VIEW = "application/vnd.jupyter.widget-view+json"
PAGES = {page.stem: page.read_text("utf-8") for page in sorted(SITE.glob("book/*.html"))}
SLIDERS = [name for name, text in PAGES.items() if VIEW in text]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def missing(message):
    """Skip where something is not installed; continuous integration must have it all."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


def find_chromium(playwright):
    """Path of the browser: that of $CHROMIUM, the system's, or Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, names)]
    return next(filter(None, found), playwright.chromium.executable_path)


class StaticHost(SimpleHTTPRequestHandler):
    """Serves a folder as public hosts do: a missing page is answered by 404.html."""

    def send_error(self, code, message=None, explain=None):
        body = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


def open_page(context, address, width, ready=".noUi-handle"):
    """A page with working sliders, which notes its requests and errors."""
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.set_default_timeout(30_000)
    page.goto(address)
    page.locator(ready).first.wait_for()
    return page


def remote_requests(page):
    here = ("file:", "data:", "blob:", "http://127.0.0.1:")
    return [url for url in page.requests if not url.startswith(here)]


def fits(page):
    root = "document.documentElement"
    return page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")

"""Weigh the built pages, time until they can be used, and frames while a path is dragged.

Usage: python benchmarks/pages.py [site]
"""

from __future__ import annotations

import gzip
import math
import sys
import time
from collections.abc import Iterable
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from urllib.parse import unquote, urlsplit

import pandas as pd
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browsing import FLAGS, VIEW, StaticHost, find_chromium  # noqa: E402

ROUNDS = 3


def main() -> None:
    site = Path(sys.argv[1] if sys.argv[1:] else ROOT / "_build/book/_build/html").resolve()
    if not site.is_dir():
        sys.exit(f"no built book at {site}: run `make book` first")
    lines = []
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(StaticHost, directory=site)) as server,
        sync_playwright() as playwright,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        path = find_chromium(playwright)
        with playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
            for file in sorted(site.glob("book/*.html")):
                address = f"http://127.0.0.1:{server.server_port}/book/{file.name}"
                runs = [
                    visit(browser, address, VIEW in file.read_text(encoding="utf-8"))
                    for _ in range(ROUNDS)
                ]
                loaded = [site / path for path in sorted(runs[0][1])]
                lines.append(
                    {
                        "page": file.stem,
                        "html MB": megabytes(file.stat().st_size),
                        "all it loads MB": megabytes(sum(f.stat().st_size for f in loaded)),
                        "compressed MB": megabytes(
                            sum(len(gzip.compress(f.read_bytes())) for f in loaded)
                        ),
                        "usable after s": f"{median(run[0] for run in runs):.2f}",
                        "frame ms (median, 95 %, max)": frames(run[2] for run in runs),
                    }
                )
        server.shutdown()
    print(f"Pages from a local server, nothing cached, medians of {ROUNDS} rounds")
    print(pd.DataFrame(lines).to_string(index=False))


def visit(browser, address: str, slider: bool) -> tuple[float, set[str], list[float]]:
    """Seconds until the page is loaded and its first slider can be moved; what it loaded.

    And milliseconds from frame to frame while the control point of a held path is dragged, if any.
    """
    with browser.new_context() as context:
        page = context.new_page()
        paths = set()
        page.on("request", lambda request: paths.add(unquote(urlsplit(request.url).path)[1:]))
        began = time.perf_counter()
        page.goto(address)
        if slider:
            page.locator(".noUi-handle").first.wait_for()
        if page.locator(".mcu-explore").count():
            page.locator(".mcu-explore[data-measured]").wait_for()
        took = time.perf_counter() - began
        page.wait_for_load_state("networkidle")
        dragged = drag(page) if page.locator(".mcu-bend").count() else []
    return took, {path for path in paths if Path(path).suffix}, dragged


def drag(page) -> list[float]:
    page.locator(".mcu-explore[data-measured=finely]").wait_for()
    handle = page.locator(".mcu-bend")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(
        """() => {
          window.frames_ms = [];
          let last;
          (function frame(now) {
            if (last) frames_ms.push(now - last);
            last = now;
            requestAnimationFrame(frame);
          })();
        }"""
    )
    for i in range(120):
        page.mouse.move(x - 60 * math.sin(i / 8), y + 40 * math.sin(i / 5))
    found = page.evaluate("frames_ms")
    page.mouse.up()
    return found


def frames(dragged: Iterable[list[float]]) -> str:
    """Median, 95th percentile and longest frame."""
    every = sorted(frame for own in dragged for frame in own)
    late = every[int(0.95 * len(every))] if every else 0
    return f"{median(every):.0f}, {late:.0f}, {every[-1]:.0f}" if every else ""


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"


if __name__ == "__main__":
    main()

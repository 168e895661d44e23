"""Weigh the built pages, and time until they can be used: python benchmarks/pages.py [site]."""

from __future__ import annotations

import gzip
import sys
import time
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
                        "usable after s": f"{median(seconds for seconds, _ in runs):.2f}",
                    }
                )
        server.shutdown()
    print(f"Pages from a local server, nothing cached, medians of {ROUNDS} rounds")
    print(pd.DataFrame(lines).to_string(index=False))


def visit(browser, address: str, slider: bool) -> tuple[float, set[str]]:
    """Seconds until the page is loaded and its first slider can be moved; what it loaded."""
    with browser.new_context() as context:
        page = context.new_page()
        paths = set()
        page.on("request", lambda request: paths.add(unquote(urlsplit(request.url).path)[1:]))
        began = time.perf_counter()
        page.goto(address)
        if slider:
            page.locator(".noUi-handle").first.wait_for()
        took = time.perf_counter() - began
        page.wait_for_load_state("networkidle")
    return took, {path for path in paths if Path(path).suffix}


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"


if __name__ == "__main__":
    main()

"""Take the README's picture from the built book: python scripts/screenshot.py [profile]."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PROFILE = sys.argv[1] if len(sys.argv) > 1 else "book"

with sync_playwright() as play:
    browser = play.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
    )
    page = browser.new_page(viewport={"width": 1200, "height": 760})
    page.goto((ROOT / "_build" / PROFILE / "_build/html/book/index.html").as_uri())
    page.locator(".noUi-handle").first.wait_for()
    page.screenshot(path=ROOT / "book/page.png")

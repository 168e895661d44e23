"""Every page of the built book in Chromium: open to everybody, light, easy to find one's way in."""

import pytest
from browsing import ROOT, SITE, SLIDERS, fits, open_page, remote_requests, switch_to

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
ALL = [page.relative_to(SITE).as_posix() for page in sorted(SITE.rglob("*.html"))]
ALL = [page for page in ALL if not page.startswith("_static") and page != "index.html"]
FINDINGS = """async () => {
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}"""
WEIGHT = """() => ["navigation", "resource"]
  .flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((sum, { transferSize }) => sum + transferSize, 0)"""


def ready(page):
    return ".noUi-handle" if page.removeprefix("book/").removesuffix(".html") in SLIDERS else "h1"


@pytest.mark.parametrize("name", ALL)
def test_every_page_is_accessible_fits_and_loads_nothing_remote(browser, origins, name):
    page = open_page(browser, f"{origins['http']}/{name}", 1200, ready(name))
    page.evaluate(AXE.read_text("utf-8"))
    found = {}
    for width in (1200, 380):
        page.set_viewport_size({"width": width, "height": 900})
        # The theme makes what scrolls reachable by the keyboard a moment after it is resized.
        page.wait_for_timeout(700)
        assert fits(page), width
        for mode in ("light", "dark"):
            switch_to(mode, page)
            found[width, mode] = page.evaluate(FINDINGS)
    assert not {how: what for how, what in found.items() if what}
    assert remote_requests(page) == []
    assert page.errors == []
    page.close()

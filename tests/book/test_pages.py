"""Every page of the built book in Chromium: open to everybody, light, easy to find one's way in."""

import io
import re
from urllib.parse import unquote, urlsplit

import pytest
from browsing import ROOT, SITE, SLIDERS, fits, open_page, remote_requests
from pypdf import PdfReader

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
ALL = [page.relative_to(SITE).as_posix() for page in sorted(SITE.rglob("*.html"))]
ALL = [page for page in ALL if not page.startswith("_static") and page != "index.html"]
FINDINGS = """async () => {
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}"""
UNSAID = """() => [...document.querySelectorAll("article svg")]
  .filter((e) => !e.closest("button, [aria-hidden=true]"))
  .filter((e) => !/\\d/.test(e.closest("svg[role=img]")?.ariaLabel))
  .map((e) => e.outerHTML.slice(0, 200))"""
"""Figures whose text alternative does not say, in numbers, what they show."""
STILL = "*, ::before, ::after { transition: none !important; animation: none !important }"


def show(context, origins, name, width=1200):
    ready = ".noUi-handle" if name.removesuffix(".html") in SLIDERS else "main"
    return open_page(context, f"{origins['http']}/book/{name}", width, ready)


# Open to everybody


@pytest.mark.parametrize("name", ALL)
def test_every_page_is_accessible_fits_and_is_light(context, origins, site, name):
    page = show(context, origins, f"../{name}" if "/" not in name else name[5:])
    page.evaluate(AXE.read_text("utf-8"))
    page.add_style_tag(content=STILL)
    assert page.evaluate(UNSAID) == []
    found = {}
    for width, mode in ((1200, "light"), (380, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=mode)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{mode}'")
        # The theme makes what scrolls reachable by the keyboard a moment after it is resized.
        page.wait_for_timeout(700)
        assert fits(page), width
        faint = [pair for pair in page.evaluate(COLOURS_OF_TEXT) if contrast(*pair) < 4.5]
        found[width, mode] = faint + page.evaluate(FINDINGS)
    assert not {how: what for how, what in found.items() if what}
    paths = {unquote(urlsplit(url).path) for url in page.requests if url.startswith("http")}
    assert urlsplit(page.url).path in paths and len(paths) > 5
    weight = sum((site / path[1:]).stat().st_size for path in paths)
    assert weight < 3e6, "with all that it loads, and not compressed as hosts send it"
    assert remote_requests(page) == []
    assert page.errors == []
    page.close()


def test_axe_finds_what_is_wrong(context):
    page = context.new_page()
    page.set_content("<html lang=en><title>a</title><h1>a</h1><img src='data:,'><a href='#'></a>")
    page.evaluate(AXE.read_text("utf-8"))
    assert {found.partition(":")[0] for found in page.evaluate(FINDINGS)} == {
        "image-alt",
        "link-name",
    }
    page.close()


@pytest.mark.parametrize("width", [1200, 380])
def test_the_first_page_can_be_read_by_keyboard_alone(context, origins, width):
    """Every stop of the tab key is visible, and one leads from the head to the slider and on."""
    page = show(context, origins, "index.html", width)
    seen = []
    for _ in range(120):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        if focus is None:
            break
        seen.append(focus)
    assert [name for name, visible in seen if not visible] == []
    names = " ".join(name for name, _ in seen)
    for wanted in ("skip-link", "mcu-bend", "mcu-play", "next", "download-buttons"):
        assert wanted in names
    page.close()


FOCUS = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const names = [e.className, e.ariaLabel, e.parentElement.className].join(" ");
  const { width, height } = e.getBoundingClientRect();
  const { outlineStyle, boxShadow } = getComputedStyle(e);
  const marked = outlineStyle !== "none" || boxShadow !== "none";
  return [names, width > 0 && height > 0 && e.checkVisibility() && marked];
}"""


# Finding one's way


def test_readers_find_their_way(context, origins):
    """Headings link to themselves, the contents to the headings, and pages to their neighbours."""
    page = show(context, origins, "index.html")
    heading = page.locator("article h2").last
    heading.hover()
    heading.locator("a.headerlink").click()
    fragment = urlsplit(page.url).fragment
    assert fragment and page.locator(f"[id='{fragment}']").count() == 1
    assert 0 <= heading.bounding_box()["y"] < 400
    contents = page.locator("#pst-secondary-sidebar a, .bd-toc-nav a")
    assert contents.count() == page.locator("article h2").count()
    contents.first.click()
    assert 0 <= page.locator("article h2").first.bounding_box()["y"] < 400
    page.locator("a.right-next").click()
    page.wait_for_url("**/unlearning.html")
    page.locator("a.left-prev").click()
    page.wait_for_url("**/index.html")
    assert page.errors == []
    page.close()


def test_search_finds_a_chapter(context, origins):
    page = show(context, origins, "index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("membership inference")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    found = page.locator("#search-results li a")
    found.filter(has_text="Unlearning in one picture").first.click()
    page.wait_for_url("**/unlearning.html*")
    assert page.errors == []
    page.close()


@pytest.mark.parametrize("missing", ["/gone.html", "/book/gone.html", "/a/b/c/gone"])
def test_missing_pages_lead_back(context, origins, missing):
    page = context.new_page()
    page.set_default_timeout(30_000)
    assert page.goto(origins["http"] + missing).status == 404
    assert page.locator("article h1").inner_text().startswith("Page not found")
    sheets = "[...document.styleSheets].map((sheet) => sheet.href ? sheet.cssRules.length : 1)"
    assert min(page.evaluate(sheets)) > 0
    page.get_by_label("Words to look for").fill("barrier")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{origins['http']}/search.html?q=barrier")
    page.goto(origins["http"] + missing)
    page.get_by_role("link", name="first page").click()
    page.wait_for_url(f"{origins['http']}/book/index.html")
    page.close()


# Paper


@pytest.mark.parametrize("name", ["mode-connectivity", "atlas"])
def test_sliders_are_printed_as_five_frames(context, origins, name):
    page = open_page(context, f"{origins['file']}/book/{name}.html", 1200, "svg[role=img]")
    page.evaluate(
        """addEventListener("beforeprint", () => {
          window.drawn = [...document.querySelectorAll(".mcu-side-by-side > figure")]
            .map((figure) => [
              figure.querySelector("figcaption").textContent,
              [...figure.querySelectorAll("svg")].map((e) => e.outerHTML).join(),
            ]);
        })"""
    )
    text = "\n".join(p.extract_text() for p in PdfReader(io.BytesIO(page.pdf())).pages)
    captions, drawn = zip(*page.evaluate("window.drawn"), strict=True)
    assert captions[0] == "t = 0" and captions[-1] == "t = 1"
    assert [c for c in captions if not re.search(rf"\b{re.escape(c)}(?![.\d])", text)] == []
    assert len(drawn) == len(set(drawn)) == 5
    assert all("<circle" in frame and "role=" in frame for frame in drawn)
    assert page.locator(".mcu-printed").count() == 0
    page.close()


def test_what_a_page_holds_is_printed_as_it_stands(context, origins):
    page = show(context, origins, "index.html")
    page.locator(".mcu-explore[data-measured=finely]").wait_for()
    said = page.locator(".mcu-say").inner_text()
    text = " ".join(p.extract_text() for p in PdfReader(io.BytesIO(page.pdf())).pages)
    text = re.sub(r"\s+", " ", text)
    for words in (said, "forget accuracy", "retain loss ↓", "forget loss ↑"):
        assert words in text
    page.close()


def test_what_folds_opens_by_keyboard_and_is_open_on_paper(context, origins):
    page = show(context, origins, "curriculum.html")
    inside = {}
    for kind in (".mcu-guess", ".mcu-more", "figure > .mcu-fold"):
        part = page.locator(kind).first
        part.locator("summary").first.focus()
        for opened in (True, False):
            page.keyboard.press("Enter")
            assert part.evaluate("e => e.open") is opened
        inside[kind] = part.locator("p, th").first.text_content().strip().rstrip("¶")
    text = "".join(p.extract_text() for p in PdfReader(io.BytesIO(page.pdf())).pages)
    text = re.sub(r"\s+", "", text)
    assert [k for k, words in inside.items() if re.sub(r"\s+", "", words)[:40] not in text] == []
    page.close()


# Contrast


COLOURS_OF_TEXT = """() => {
  const texts = ".widget-vbox :is(svg text, li, p, span, .widget-label, .widget-readout)";
  const transparent = "rgba(0, 0, 0, 0)";
  const ground = (e) => {
    const colour = getComputedStyle(e).backgroundColor;
    return colour === transparent && e.parentElement ? ground(e.parentElement) : colour;
  };
  const ink = (e) => getComputedStyle(e)[e instanceof SVGElement ? "fill" : "color"];
  return [...document.querySelectorAll(texts)].map((e) => [ink(e), ground(e)]);
}"""


def contrast(*colours):
    """Contrast ratio of two opaque CSS colours as WCAG 2 defines it."""
    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    parts = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert parts, f"{colour} is not opaque"
    levels = [int(part) / 255 for part in parts.groups()]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_that_of_wcag():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)

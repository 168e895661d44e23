"""The built book: its links, and its sliders in Chromium at two widths, from disk and by http."""

import json
import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

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


@pytest.fixture(scope="module")
def site():
    if not SITE.is_dir():
        missing(f"no built book at {SITE}: run `make book PROFILE=ci` or set MCU_LITE_SITE")
    return SITE


# Links


def broken_links(site):
    """Links to no file or anchor, and whatever a page would load from another host."""
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    soups = {page: BeautifulSoup(read(page), "html.parser") for page in pages}
    anchors = {page: {tag["id"] for tag in soup.select("[id]")} for page, soup in soups.items()}
    found = []
    for page, soup in soups.items():
        for loads, address in references(soup):
            url = urlsplit(address)
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if url.scheme in {"data", "mailto", "javascript"}:
                continue
            if url.scheme or url.netloc:
                problem = "is remote" if loads else ""
            elif not target.is_file():
                problem = "does not exist"
            else:
                known = {"", *anchors.get(target, [url.fragment])}
                problem = "" if unquote(url.fragment) in known else "has no such anchor"
            if problem:
                found.append(f"{page.relative_to(site)}: {address} {problem}")
    return found + [
        f"{sheet.relative_to(site)}: {address} is remote"
        for sheet in site.rglob("*.css")
        for address in re.findall(
            r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", read(sheet)
        )
    ]


def references(soup):
    """Every address in a page, and whether the browser loads it unasked."""
    for tag in soup.select("[href], [src]"):
        loads = "src" in tag.attrs or (tag.name == "link" and "stylesheet" in tag.get("rel", []))
        yield loads, tag.get("src", tag.get("href"))
    for tag in soup.select("meta[http-equiv=refresh]"):
        yield True, tag["content"].partition("url=")[2]


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def test_every_link_of_the_book_resolves(site):
    assert broken_links(site) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">', "gone.html does not exist"),
        ('<a href="/page.html">', "/page.html does not exist"),
        ('<a href="#gone">', "#gone has no such anchor"),
        ('<a href="page.html#gone">', "page.html#gone has no such anchor"),
        ('<img src="gone.png">', "gone.png does not exist"),
        ('<img src="https://example.org/a.png">', "https://example.org/a.png is remote"),
        ('<script src="//example.org/a.js">', "//example.org/a.js is remote"),
        ('<link rel="stylesheet" href="http://example.org/a.css">', "is remote"),
        ('<meta http-equiv="refresh" content="0; url=gone.html">', "gone.html does not exist"),
        ('<p id="here"></p><a href="#here"><a href="page.html#here"><a href="#">', None),
        ('<a href="https://example.org"><a href="mailto:a@example.org"><a href="a%20b.txt">', None),
    ],
)
def test_broken_links_are_found(tmp_path, html, problem):
    (tmp_path / "page.html").write_text(html)
    (tmp_path / "a b.txt").touch()
    found = broken_links(tmp_path)
    assert len(found) == 1 and found[0].endswith(problem) if problem else found == []


def test_remote_fonts_are_found(tmp_path):
    (tmp_path / "a.css").write_text('@font-face { src: url("https://example.org/a.woff2") }')
    assert broken_links(tmp_path) == ["a.css: https://example.org/a.woff2 is remote"]


# Sliders


@pytest.fixture(scope="module")
def origins(site):
    """The book's address on disk, and on a server."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield {"file": site.as_uri(), "http": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


def chromium(playwright):
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, names)]
    path = next(filter(None, found), playwright.chromium.executable_path)
    if not Path(path).exists():
        missing("no Chromium: `apt-get install chromium` or `playwright install chromium`")
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


CASES = [(name, *how) for name in SLIDERS for how in (("file", 1200), ("http", 380))]
CASES += [(name, *how) for name in SLIDERS[:1] for how in (("http", 1200), ("file", 380))]


@pytest.fixture(scope="module")
def context(browser):
    """One for all pages, because it keeps the scripts that they share."""
    with browser.new_context() as context:
        yield context


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def page(request, context, origins):
    name, origin, width = request.param
    page = open_page(context, f"{origins[origin]}/book/{name}.html", width)
    yield page
    page.close()


def open_page(context, address, width, ready=".noUi-handle"):
    """A page with working sliders, which notes its requests and errors."""
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.set_default_timeout(5000)
    page.goto(address)
    page.locator(ready).first.wait_for()
    return page


def widgets(page):
    return page.locator(".cell_output .widget-vbox").all()


def markers(widget):
    """What the slider moves, one on every panel."""
    return widget.locator("svg[viewBox][aria-hidden]").evaluate_all(
        "markers => markers.map(marker => marker.outerHTML)"
    )


def pixels(widget):
    return widget.locator(".widget-gridbox .widget-gridbox").first.screenshot()


def all_differ(before, after):
    return all(old != new for old, new in zip(before, after, strict=True))


def centre(locator):
    locator.evaluate("element => element.scrollIntoView({block: 'center'})")
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_every_widget_of_the_book_is_a_slider(site):
    """Not a progress bar, for instance, that was left in an output."""
    assert SLIDERS
    for name in SLIDERS:
        soup = BeautifulSoup(PAGES[name], "html.parser")
        stored = soup.find("script", type="application/vnd.jupyter.widget-state+json")
        models = json.loads(stored.string)["state"] if stored else {}
        shown = [json.loads(view.string)["model_id"] for view in soup.find_all("script", type=VIEW)]
        kinds = {models[model]["model_name"] if model in models else None for model in shown}
        assert kinds == {"VBoxModel"}, name


def test_slider_and_figures_have_names(page):
    for widget in widgets(page):
        assert widget.get_by_role("slider").get_attribute("aria-label")
        assert widget.get_by_role("button", name="play").count() == 1
        figures = widget.locator("svg[viewBox]:not([aria-hidden])").all()
        assert figures
        for figure in figures:
            assert figure.get_attribute("role") == "img"
            assert " at t=1" in figure.get_attribute("aria-label")


def test_markers_lie_on_their_figures(page):
    for widget in widgets(page):
        figures = widget.locator("svg[role=img]").all()
        overlays = widget.locator("svg[viewBox][aria-hidden]").all()
        assert [f.bounding_box() for f in figures] == [o.bounding_box() for o in overlays]


def test_fits_the_screen(page):
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    for widget in widgets(page):
        assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
        assert widget.locator(".slider").bounding_box()["width"] > 180
        box = widget.bounding_box()
        for table in widget.locator("table:visible").all():
            assert table.bounding_box()["width"] <= box["width"]


def test_arrow_keys_move_the_marker(page):
    for widget in widgets(page):
        before, shown = markers(widget), pixels(widget)
        widget.get_by_role("slider").focus()
        page.keyboard.press("ArrowRight")
        assert all_differ(before, markers(widget))
        assert shown != pixels(widget)
        page.keyboard.press("ArrowLeft")
        assert markers(widget) == before


def test_dragging_moves_the_marker(page):
    for widget in widgets(page):
        before = markers(widget)
        x, y = centre(widget.get_by_role("slider"))
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 80, y, steps=4)
        page.mouse.up()
        assert all_differ(before, markers(widget))


def test_play_moves_the_markers_until_stopped(page):
    shown = widgets(page)
    press("play", shown)
    before = [markers(widget) for widget in shown]
    page.wait_for_timeout(250)
    assert all(map(all_differ, before, map(markers, shown)))
    press("stop", shown)
    stopped = [markers(widget) for widget in shown]
    page.wait_for_timeout(250)
    assert [markers(widget) for widget in shown] == stopped


def press(name, shown):
    for widget in shown:
        widget.get_by_role("button", name=name).click()


def test_nothing_remote_and_no_error(page):
    """Last, so that it also sees what using the slider caused."""
    here = ("file:", "data:", "blob:", "http://127.0.0.1:")
    assert [url for url in page.requests if not url.startswith(here)] == []
    assert page.errors == []


def test_every_page_weighs_less_than_3_mb(site):
    assert [name for name, text in PAGES.items() if len(text.encode()) >= 3e6] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_markup_is_left_in_the_text(name):
    """Tables, roles and links of computed sentences are rendered as those of the prose."""
    soup = BeautifulSoup(PAGES[name], "html.parser").select_one("article")
    for part in soup.select("script, pre, code, svg, .math, .sig"):
        part.decompose()
    assert re.findall(r"\{[\w:]+\}|\|[-—:]+\||\]\(|\*\*|\$\S", soup.get_text()) == []


# Colours


@pytest.mark.parametrize("name", SLIDERS)
def test_text_contrasts_in_light_and_dark_mode(browser, origins, name):
    page = open_page(browser, f"{origins['file']}/book/{name}.html", 1200)
    for mode in ("light", "dark"):
        switch_to(mode, page)
        colours = page.evaluate(COLOURS_OF_TEXT)
        assert colours
        assert min(contrast(*pair) for pair in colours) >= 4.5, mode
    page.close()


def switch_to(mode, page):
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.mode") == mode:
            return
        page.locator(".theme-switch-button").click()
    pytest.fail(f"no {mode} mode")


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


@pytest.mark.parametrize("width", [1200, 380])
def test_the_atlas_draws_any_curve_without_a_kernel(context, origins, width):
    page = open_page(context, f"{origins['file']}/book/atlas.html", width, ".mcu-atlas svg")
    panels, status = page.locator(".mcu-panels"), page.locator(".mcu-atlas [aria-live]")
    seen = {panels.inner_html()}
    a, b, curve = page.locator(".mcu-atlas select").all()
    a.select_option("npo seed=0")
    b.select_option("npo seed=1")
    seen.add(panels.inner_html())
    curve.select_option("bezier")
    seen.add(panels.inner_html())
    page.locator(".mcu-atlas input").press("ArrowRight")
    seen.add(panels.inner_html())
    assert len(seen) == 4
    assert "seeds" in status.inner_text()
    labels = page.locator(".mcu-panels svg").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(labels) == 6 and all(" at t=1" in label for label in labels)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert not page.errors
    assert all(request.startswith("file:") for request in page.requests)
    page.close()


@pytest.mark.parametrize("width", [1200, 380])
def test_images_and_position_follow_the_slider_of_the_map(context, origins, width):
    page = open_page(context, f"{origins['file']}/book/loss-landscapes.html", width)
    widget = page.locator(".cell_output .widget-vbox").first
    where = widget.locator("p:visible", has_text="Arc length")
    faces = widget.locator("img:visible + div")
    widget.get_by_role("slider").focus()
    page.keyboard.press("Home")
    assert where.inner_text().startswith("t = 0.") and where.inner_text().count("(0%)") == 2
    start = [text.splitlines() for text in faces.all_inner_texts()]
    assert len(start) == 12
    # Both paths begin at one model, so it says the same of every image.
    assert all(line.replace("line", "curve") == curve for _, line, curve in start)
    page.keyboard.press("PageUp")
    inside = [text.splitlines() for text in faces.all_inner_texts()]
    assert any(line.replace("line", "curve") != curve for _, line, curve in inside)
    assert [about for about, *_ in inside] == [about for about, *_ in start]
    page.keyboard.press("End")
    assert where.inner_text().startswith("t = 1.") and where.inner_text().count("(100%)") == 2
    alternatives = widget.locator("img:visible").evaluate_all("all => all.map(e => e.alt)")
    assert all(alt.startswith("forgotten image, a ") for alt in alternatives)
    top = widget.get_by_text("arc length of the curve")
    assert top.count() == 2 and top.first.is_visible()
    page.close()


@pytest.mark.parametrize("width", [1200, 380])
def test_one_image_is_followed_along_any_path_without_a_kernel(context, origins, width):
    page = open_page(context, f"{origins['http']}/book/one-image.html", width, ".mcu-image svg")
    root = page.locator(".mcu-image")
    a, b, kind = root.locator("select").all()
    slider, say = root.locator("input[type=range]"), root.locator("[aria-live]")
    captions = root.locator("figcaption")
    chosen = root.locator("input[type=radio]:checked")
    assert "labelled" in chosen.locator("+ img").get_attribute("alt")
    first = say.inner_text()
    chosen.focus()
    page.keyboard.press("ArrowRight")
    assert say.inner_text() != first
    page.keyboard.press("ArrowLeft")
    assert say.inner_text() == first
    a.select_option("npo")
    b.select_option("scrub")
    seen = {tuple(captions.all_inner_texts())}
    kind.select_option("bezier")
    seen.add(tuple(captions.all_inner_texts()))
    slider.focus()
    page.keyboard.press("Home")
    start = captions.all_inner_texts()
    seen.add(tuple(start))
    assert len(seen) == 3 and "t = 0 " in say.inner_text()
    # The same path from its other end.
    a.select_option("scrub")
    b.select_option("npo")
    assert kind.input_value() == "bezier"
    page.keyboard.press("End")
    slider.press("End")
    assert captions.all_inner_texts() == start and "t = 1 " in say.inner_text()
    labels = root.locator("svg").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(labels) == 3 and sum(" at t=1" in label for label in labels) == 2
    size = "document.documentElement"
    assert page.evaluate(f"{size}.scrollWidth <= {size}.clientWidth")
    for mode in ("light", "dark"):
        switch_to(mode, page)
        colours = page.evaluate(COLOURS_OF_TEXT.replace(".widget-vbox", ".mcu-image"))
        assert colours and min(contrast(*pair) for pair in colours) >= 4.5, mode
    assert not page.errors
    assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in page.requests)
    page.close()

"""The sliders of the built book in Chromium, at two widths, from disk and by http."""

import json

import pytest
from browsing import PAGES, SLIDERS, VIEW, fits, open_page, remote_requests
from bs4 import BeautifulSoup

HOW = [("file", 1200), ("http", 380), ("http", 1200), ("file", 380)]
CASES = [(name, *HOW[i % 2]) for i, name in enumerate(SLIDERS)]
CASES += [(name, *how) for name in SLIDERS[:1] for how in HOW[1:]]


def one_process(case):
    """All tests of a page run where it is open."""
    name = "-".join(map(str, case))
    return pytest.param(case, marks=pytest.mark.xdist_group(name), id=name)


@pytest.fixture(scope="module", params=map(one_process, CASES))
def page(request, context, origins):
    name, origin, width = request.param
    page = open_page(context, f"{origins[origin]}/book/{name}.html", width)
    page.locator("details.mcu-more").evaluate_all("all => all.forEach((e) => (e.open = true))")
    yield page
    page.close()


def widgets(page):
    """Sliders with figures."""
    return page.locator(".cell_output .widget-vbox:not(.mcu-subtitles)").all()


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
    assert fits(page)
    for widget in widgets(page):
        assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
        assert widget.locator(".slider").bounding_box()["width"] > 180
        box = widget.bounding_box()
        for table in widget.locator("table:visible").all():
            assert table.bounding_box()["width"] <= box["width"]


def test_numbers_fold_out_and_stay_open_as_the_slider_moves(page):
    for widget in widgets(page):
        table, summary = widget.locator("table:visible"), widget.locator("summary")
        if not summary.count():  # a map says where it is in a sentence
            continue
        assert table.count() == 0
        summary.click()
        before = table.inner_text()
        widget.get_by_role("slider").focus()
        page.keyboard.press("ArrowRight")
        assert table.count() == 1 and table.inner_text() != before
        assert table.bounding_box()["width"] <= widget.bounding_box()["width"]
        page.keyboard.press("ArrowLeft")
        summary.click()


def test_words_in_figures_are_of_one_size_in_the_font_of_the_page(page):
    sizes = """texts => texts.map(text => {
        const {fontSize, fontFamily} = getComputedStyle(text);
        const {a, b} = text.getScreenCTM(); // turned ones have both
        return [parseFloat(fontSize) * Math.hypot(a, b), fontFamily];
    })"""
    font = page.evaluate("getComputedStyle(document.querySelector('.bd-article')).fontFamily")
    for widget in widgets(page):
        for size, family in widget.locator("svg[role=img] text").evaluate_all(sizes):
            assert 9.5 < size < 15 and family == font


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
    before, waiting = [markers(widget) for widget in shown], dict(enumerate(shown))
    press("play", shown)
    # A busy machine draws late, and a short path is at its end before all have been pressed.
    for _ in range(100):
        waiting = {i: w for i, w in waiting.items() if not all_differ(before[i], markers(w))}
        if not waiting:
            break
        page.wait_for_timeout(50)
    assert not waiting
    press("stop", shown)
    stopped = [markers(widget) for widget in shown]
    page.wait_for_timeout(250)
    assert [markers(widget) for widget in shown] == stopped


def press(name, shown):
    for widget in shown:
        widget.get_by_role("button", name=name).click()


def test_nothing_remote_and_no_error(page):
    """Last, so that it also sees what using the slider caused."""
    assert remote_requests(page) == []
    assert page.errors == []


@pytest.mark.parametrize(("origin", "width"), [("file", 1200), ("http", 380)])
def test_answers_change_along_t_and_with_the_path(context, origins, origin, width):
    page = open_page(context, f"{origins[origin]}/book/language.html", width)
    widget = page.locator(".mcu-subtitles")
    table, slider = widget.locator("table:visible"), widget.get_by_role("slider")
    assert table.count() == 1 and "?" in table.inner_text()
    assert slider.get_attribute("aria-label")
    seen = [table.inner_text()]
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    seen.append(table.inner_text())
    for _ in range(20):
        slider.press("ArrowLeft")
    widget.locator("select").select_option(label="retrained to npo, straight")
    seen.append(table.inner_text())
    widget.locator("select").select_option(index=0)
    assert table.inner_text() == seen[0] not in seen[1:]
    assert table.locator("em").count() < table.locator("td").count()
    assert widget.evaluate("e => e.scrollWidth <= e.clientWidth") and fits(page)
    assert remote_requests(page) == [] and page.errors == []
    page.close()


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
    assert fits(page)
    assert not page.errors
    assert all(request.startswith("file:") for request in page.requests)
    page.close()

"""Maps with images, and single images, moved in Chromium."""

import pytest
from browsing import fits, open_page, remote_requests


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
    assert all(line.replace("straight", "curve") == curve for _, line, curve in start)
    page.keyboard.press("PageUp")
    inside = [text.splitlines() for text in faces.all_inner_texts()]
    assert any(line.replace("straight", "curve") != curve for _, line, curve in inside)
    assert [about for about, *_ in inside] == [about for about, *_ in start]
    page.keyboard.press("End")
    assert where.inner_text().startswith("t = 1.") and where.inner_text().count("(100%)") == 2
    alternatives = widget.locator("img:visible").evaluate_all("all => all.map(e => e.alt)")
    assert all(alt.startswith("forgotten image, a ") for alt in alternatives)
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
    assert fits(page)
    assert not page.errors and remote_requests(page) == []
    page.close()

"""Models that a page holds and asks in Chromium: what it computes is what PyTorch computes."""

import re
from dataclasses import replace
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from browsing import fits, open_page, remote_requests
from torch import nn

import mcu_lite as mcu
from mcu_lite.paths import planes

ROW, TS = 1, np.linspace(0, 1, 21)
LOGITS = """([points, k, split]) => {
  const { at, logits, splits } = document.querySelector(".mcu-explore").models;
  const { x, labels } = splits[split];
  return points.map((point) =>
    Array.from(logits(at(point, k), x, labels.length)).slice(0, 10 * labels.length));
}"""
MEASURED = LOGITS.replace("logits,", "measured,").replace(
    "Array.from(logits(at(point, k), x, labels.length)).slice(0, 10 * labels.length)",
    "Object.values(measured(at(point, k), splits[split]))",
)


@pytest.fixture(scope="module")
def paths(path, task):
    a, b = path.stack_at(0.0), path.stack_at(1.0)
    both = mcu.connect(a, b, task, objective="connected", steps=60)
    return {"npo": path, "both": both, "straight": mcu.connect(a, b, curve="linear")}


@pytest.fixture(scope="module")
def rounded(paths):
    """The same paths through models as a page holds them."""
    return {n: replace(p, control=p.control.half().float()) for n, p in paths.items()}


@pytest.fixture(scope="module")
def file(paths, task, tmp_path_factory):
    held = mcu.explore(paths, task, ends=("one", "two"), row=ROW, ts=len(TS), points=5, images=4)
    file = tmp_path_factory.mktemp("held") / "page.html"
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>held</title>'
    file.write_text(f"{head}<main>{held.data}</main>", encoding="utf-8")
    return file


@pytest.fixture
def page(context, file):
    page = open_page(context, file.as_uri(), 1200, ".mcu-explore[data-measured=finely]")
    yield page
    assert page.errors == [] and remote_requests(page) == []
    page.close()


def settled(page):
    page.locator(".mcu-explore[data-measured=finely]").wait_for()


def drawn(page):
    """Wait for the frame after the next one: what was asked for by then is drawn."""
    frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(f"() => {frame}")


def plane_of(path):
    ends = (path.control[k][ROW : ROW + 1] for k in (0, -1, 1))
    return planes.plane(*ends)


def places(path):
    """Points along a path's curve and all over its plane, in its coordinates."""
    plane = plane_of(path)
    curve = plane.coordinates(path.part(slice(ROW, ROW + 1)).rows(TS))[:, 0]
    return torch.cat([curve, planes.grid(plane, 5, margin=(0.6, 0.2)).view(-1, 2)])


def shares(path, points):
    """How much of the first, the last and the middle control point is in each point's model."""
    plane = plane_of(path)
    (foot, height), chord = plane.corners[2, 0], plane.chord[0]
    c = points[:, 1] / height
    b = (points[:, 0] - c * foot) / chord
    return torch.stack([1 - b - c, b, c], 1)


def reference(path, of, points, x):
    """Logits of one ordinary module after the other, in double precision."""
    control = of.control[[0, -1, 1], ROW].double()
    rows = shares(path, points).double() @ control
    return torch.stack([of.architecture.module_at(row).double()(x.double()) for row in rows])


def deviations(path, points, x):
    """Standard deviations of logits if each weight is rounded to 11 bits, by first principles.

    A rounding moves w by at most 2^-11 |w|, evenly: sd 2^-11 |w| / √3. Those of one weight in three
    models may be alike, so they add; those of different weights are independent.
    """
    share, control = shares(path, points).double(), path.control[[0, -1, 1], ROW].double()
    named = path.architecture.named(share @ control)
    moved = path.architecture.named(share.abs() @ control.abs() * 2**-11 / 3**0.5)
    h, var = x.double().expand(len(points), *x.shape), torch.zeros(1, dtype=torch.float64)
    for name in [n.removesuffix(".weight") for n in named if n.endswith("weight")]:
        w, dw, b, db = (part[f"{name}.{p}"] for p in ("weight", "bias") for part in (named, moved))
        var = var.expand_as(h) @ w.mT**2 + (h**2 + var) @ dw.mT**2 + db[:, None] ** 2
        h = h @ w.mT + b[:, None]
        if name != list(named)[-1].removesuffix(".bias"):
            h, var = h.relu(), var * (h > 0)
    return var.sqrt()


# What the page computes


@pytest.mark.parametrize(("k", "name"), [(0, "npo"), (1, "both")])
@pytest.mark.parametrize("split", ["retain", "forget"])
def test_logits_are_those_of_pytorch(page, paths, rounded, task, k, name, split):
    points, x = places(paths[name]), task.split(split)[0][ROW]
    found = torch.tensor(page.evaluate(LOGITS, [points.tolist(), k, split])).double()
    found = found.view(len(points), -1, 10)
    same = reference(paths[name], rounded[name], points, x)
    exact = reference(paths[name], paths[name], points, x)
    allowed = 6 * deviations(paths[name], points, x)
    assert found.std() > 1
    # Single precision keeps 24 bits; the sums of the page have more.
    assert (found - same).abs().max() < 1e-5 * same.abs().max()
    assert ((found - exact).abs() / allowed).max() < 1
    assert allowed.max() < 1


@pytest.mark.parametrize("split", ["retain", "forget"])
def test_losses_and_accuracies_of_whole_splits(page, rounded, paths, task, split):
    points = places(paths["npo"])
    found = np.array(page.evaluate(MEASURED, [points.tolist(), 0, split]))
    x, labels = (part[ROW] for part in task.split(split))
    logits = reference(paths["npo"], rounded["npo"], points, x)
    loss = [nn.functional.cross_entropy(own, labels).item() for own in logits]
    np.testing.assert_allclose(found[:, 0], loss, rtol=1e-5, atol=1e-6)
    right = (logits.argmax(-1) == labels).double().mean(1)
    np.testing.assert_allclose(found[:, 1], right, atol=1e-9)


def verdict(path, of, task, point):
    """What `is_connected` says of a curve with its control point elsewhere in its plane."""
    share, own = shares(path, torch.tensor([point])), of.part(slice(ROW, ROW + 1))
    bend = share.float() @ own.control[[0, -1, 1], 0]
    own = replace(own, control=torch.stack([own.control[0], bend, own.control[-1]]))
    parts = {n: getattr(task, n)[[ROW]] for n in ("labels", "retain", "forget", "test")}
    task = replace(task, seeds=task.seeds[ROW : ROW + 1], **parts)
    return mcu.is_connected(mcu.evaluate(own, task, TS, metrics=["loss"])).iloc[0]


@pytest.mark.parametrize("share", [None, (0.5, 0.0), (0.2, 1.4), (1.3, 0.6), (-0.4, 0.9)])
@pytest.mark.parametrize("name", ["npo", "both"])
def test_the_page_says_what_is_connected_says(context, file, paths, rounded, task, name, share):
    plane = plane_of(paths[name])
    point = plane.corners[2, 0].tolist()
    address = f"{file.as_uri()}#path={name}&t=0.25"
    if share:
        point = [share[0] * plane.chord.item(), share[1] * point[1]]
        address += "&x={}&y={}".format(*point)
    page = open_page(context, address, 800, ".mcu-explore[data-measured=finely]")
    judged = page.evaluate("document.querySelector('.mcu-explore').models.judged()")
    said, wanted = (
        page.locator(".mcu-say").inner_text(),
        verdict(paths[name], rounded[name], task, point),
    )
    worst = max(judged, key=lambda own: own["by"])
    assert worst["by"] == pytest.approx(wanted.by, abs=1e-4)
    assert said.startswith(
        "Connected" if wanted.connected else f"Not connected: the {wanted.breaks}"
    )
    if not wanted.connected:
        assert worst["split"] == wanted.breaks and f"by {wanted.by:.2f} nats" in said
        assert f"nats at t = {wanted.t:.3g}" in said
    page.close()


# What a reader does


def state(page):
    return {k: v[0] for k, v in parse_qs(page.evaluate("location.hash.slice(1)")).items()}


@pytest.mark.parametrize("how", ["mouse", "touch", "keyboard"])
def test_the_control_point_can_be_dragged(page, how):
    handle, say = page.locator(".mcu-bend"), page.locator(".mcu-say")
    before, curve = say.inner_text(), page.locator(".mcu-curve").get_attribute("d")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if how == "keyboard":
        handle.focus()
        for key in ("ArrowLeft", "ArrowDown", "Shift+ArrowLeft"):
            page.keyboard.press(key)
    elif how == "mouse":
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 40, y + 30, steps=3)
        page.mouse.up()
    else:
        touch = page.context.new_cdp_session(page)
        for kind, at in (("Start", [x, y]), ("Move", [x - 40, y + 30]), ("End", None)):
            points = [{"x": at[0], "y": at[1]}] if at else []
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    page.wait_for_function(
        "d => document.querySelector('.mcu-curve').getAttribute('d') !== d", arg=curve
    )
    settled(page)
    assert say.inner_text() != before and say.get_attribute("aria-busy") == "false"
    at = state(page)
    assert (
        at["path"] == "npo" and f"({float(at['x']):.2f}, {float(at['y']):.2f})" in say.inner_text()
    )
    if how != "keyboard":
        moved = handle.bounding_box()
        assert (moved["x"] - box["x"], moved["y"] - box["y"]) == pytest.approx((-40, 30), abs=1.5)


def test_images_are_answered_by_the_model_under_the_pointer(page, paths, rounded, task):
    faces = page.locator(".mcu-group span span")
    assert faces.count() == 8

    def expected(point):
        wanted = []
        for split in ("forget", "retain"):
            x = task.split(split)[0][ROW]
            logits = reference(paths["npo"], rounded["npo"], torch.tensor([point]), x)[0]
            chosen = page.locator(f"[data-split={split}] button").evaluate_all(
                "all => all.map((e) => +e.dataset.place)"
            )
            p, best = logits.softmax(-1).max(-1)
            wanted += [(str(best[i].item()), f"{p[i]:.0%}") for i in chosen]
        return wanted

    def shown():
        return [tuple(text.split()[1:]) for text in faces.all_inner_texts()]

    half = plane_of(paths["npo"]).coordinates(rounded["npo"].part(slice(ROW, ROW + 1)).rows([0.5]))
    assert shown() == expected(half[0, 0].tolist())
    probe = page.locator(".mcu-probe")
    probe.focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowLeft")
    drawn(page)
    chord = plane_of(paths["npo"]).chord.item()
    at = half[0, 0].tolist()
    low = planes.grid(plane_of(paths["npo"]), 5, margin=(0.6, 0.2))[..., 0].min().item()
    assert shown() == expected([max(at[0] - 0.4 * chord, low), at[1]])
    page.locator("[type=range]").press("Home")
    drawn(page)
    assert shown() == expected([0.0, 0.0])
    # And under a pointer, as long as it is there.
    page.locator(".mcu-map").hover(position={"x": 60, "y": 200})
    drawn(page)
    assert page.locator(".mcu-probe").evaluate("e => e.style.left") != "0%"
    page.mouse.move(5, 5)
    drawn(page)
    assert shown() == expected([0.0, 0.0])


def test_t_is_continuous_plays_and_is_linked(page):
    slider, marks = page.locator("[type=range]"), page.locator(".mcu-panels circle")
    seen = set()
    for t in ("0.123", "0.124", "0.9"):
        slider.evaluate("(e, t) => { e.value = t; e.dispatchEvent(new Event('input')) }", t)
        slider.dispatch_event("change")
        drawn(page)
        assert float(state(page)["t"]) == float(t)
        seen.add(tuple(mark.get_attribute("cx") for mark in marks.all()))
    assert len(seen) >= 2 and slider.get_attribute("aria-valuetext") == "t = 0.90"
    play = page.locator(".mcu-play")
    play.press("Enter")
    page.wait_for_function("() => +document.querySelector('[type=range]').value > 0.91")
    play.press("Enter")
    drawn(page)
    stopped = slider.input_value()
    drawn(page)
    assert slider.input_value() == stopped and play.get_attribute("aria-pressed") == "false"


def test_a_path_is_chosen_with_its_map(page):
    maps, say = page.locator("[data-map]"), page.locator(".mcu-say")
    shown = [own.is_visible() for own in maps.all()]
    assert shown == [True, False]
    page.get_by_role("radio", name="both").check()
    settled(page)
    assert [own.is_visible() for own in maps.all()] == [False, True]
    page.get_by_role("radio", name="straight").check()
    settled(page)
    assert re.search(r", -?0\.00\)", say.inner_text())
    assert state(page)["path"] == "straight"


def test_a_drawing_is_seen_as_the_task_prepares_it(page, paths, rounded, task):
    own, pad = page.locator(".mcu-own output"), page.locator("canvas")
    module = rounded["npo"].model_at(0.5, ROW)

    def expected(ink):
        pool = task.pixels * 16
        ink = np.minimum(16 * ink, pool.max(0))
        x = (ink - pool.mean(0)) / np.maximum(pool.std(0), 1e-6)
        p = module(torch.tensor(x.reshape(1, -1)).float()).softmax(-1)[0]
        return f"{p.argmax()} {p.max():.0%}"

    face = page.locator("[data-split=forget] button").nth(2)
    face.click()
    place = int(face.get_attribute("data-place"))
    assert own.inner_text() == expected(task.pixels[task.forget[ROW, place]])
    page.locator(".mcu-clear").click()
    assert own.inner_text() == expected(np.zeros((8, 8)))
    pad.focus()
    cells = np.zeros((8, 8))
    # Down the middle, and along the lower edge to the margin, where images have little ink or none.
    for key, row, column in [("Down", r, 4) for r in (4, 5, 6)] + [
        ("Left", 7, c) for c in (4, 3, 2, 1, 0)
    ]:
        page.keyboard.press("Space")
        cells[row, column] = 1
        page.keyboard.press(f"Arrow{key}")
    assert own.inner_text() == expected(cells)
    before = pad.evaluate("e => e.toDataURL()")
    pad.hover(position={"x": 30, "y": 30})
    page.mouse.down()
    page.mouse.move(*(v + 60 for v in list(pad.bounding_box().values())[:2]), steps=4)
    page.mouse.up()
    assert pad.evaluate("e => e.toDataURL()") != before


# Without, and with other things


def test_without_javascript_the_map_is_a_picture(browser, file):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        figures = [own for own in page.locator("svg[role=img]").all() if own.is_visible()]
        assert len(figures) == 1
        assert "as fitted from (0.00, 0.00) at t=0" in figures[0].get_attribute("aria-label")
        hidden = "button, input, canvas, .mcu-say, li"
        assert not [own for own in page.locator(hidden).all() if own.is_visible()]


@pytest.mark.parametrize("width", [1200, 380])
def test_it_fits_the_page(context, file, width):
    page = open_page(context, file.as_uri(), width, ".mcu-explore[data-measured=finely]")
    assert fits(page)
    page.close()


def test_tasks_without_pictures_have_no_canvas(context, tmp_path):
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    task = mcu.task_of(x, (x[:, 0] > 0).long(), forget=0.2, seeds=1)
    theta = mcu.train(task, lambda: nn.Sequential(nn.Linear(4, 2)), epochs=5)
    path = mcu.connect(theta, theta.with_rows(theta.rows + 1), task, objective="retain", steps=5)
    file = tmp_path / "page.html"
    file.write_text(mcu.explore({"<b>": path}, task, points=3, images=0).data, encoding="utf-8")
    page = open_page(context, file.as_uri(), 800, ".mcu-explore[data-measured=finely]")
    assert (
        page.locator("canvas, img").count() == 0 and page.locator("label", has_text="<b>").count()
    )
    assert page.errors == []
    page.close()


def test_what_a_page_cannot_hold_is_refused(path, paths, task, theta):
    def between(build):
        a, b = (mcu.Stack.of(build(), build()) for _ in range(2))
        return {"curve": mcu.connect(a, b, task, objective="retain", steps=0)}

    wide = between(lambda: mcu.mlp(width=400))
    smooth = between(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()))
    pooled = between(lambda: nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.0)))
    for own, said in (
        (wide, "paths must be of models that a page can run, at most 100,000 numbers, got 190,410"),
        (smooth, "a chain of nn.Linear and nn.ReLU, got Sequential, Flatten, Linear, Tanh"),
        (pooled, "got Sequential, Linear, Dropout; mcu_lite.scrub"),
        ({"line": paths["straight"]}, "paths must begin with a Bézier curve"),
        ({}, "paths must begin with a Bézier curve"),
        (
            paths | {"two": replace(path, control=path.control[[0, 1, 1, 2]])},
            "of one bend, .*'two'",
        ),
        (paths | {"back": replace(path, control=path.control.flip(0))}, "but 'back' has others"),
        ({"gone": replace(path, diverged=torch.tensor([False, True]))}, "'gone' has on row 1"),
    ):
        with pytest.raises(ValueError, match=said):
            mcu.explore(own, task, row=ROW, points=2)
    for wrong, said in (
        ({"row": 2}, "row must be in 0..1, got 2"),
        ({"ts": 1}, "ts must be at least 2"),
        ({"images": -1}, "images must be at least 0"),
        ({"ends": ["a"]}, "ends must name two models"),
        ({"tolerance": -1.0}, "tolerance must be >= 0"),
    ):
        with pytest.raises(ValueError, match=said):
            mcu.explore({"curve": path}, task, **wrong)

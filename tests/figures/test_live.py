"""The widgets that move along paths: frames in a page, and a kernel's own, in JupyterLab."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from urllib.request import urlopen

import ipywidgets as w
import nbformat
import pytest
import torch

import mcu_lite as mcu


@pytest.fixture(scope="module")
def stacks(path, theta, task):
    ends = {"one": path.stack_at(0.0), "two": path.stack_at(1.0)}
    return ends | {"original": theta, mcu.Endpoint("npo"): mcu.unlearn(theta, task, "npo")}


def below(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


# Live


def controls(widget):
    dropdowns = [own for own in below(widget) if isinstance(own, w.Dropdown)]
    (slider,) = (own for own in below(widget) if isinstance(own, w.FloatSlider))
    return *dropdowns, slider


def text_of(widget):
    return "".join(own.value for own in below(widget) if isinstance(own, w.HTML))


def expected(path, task, t):
    table = mcu.evaluate(path, task, [t], metrics=["loss"])
    own = table[table.split == "forget"].value
    return f"{own.mean():.3f} ± {own.std():.3f}"


def test_live_measures_the_very_t_of_any_pair_and_path(stacks, task):
    widget = mcu.live(stacks, task, ts=3, steps=5, images=2)
    a, b, kind, slider = controls(widget)
    names = ["one", "two", "original", "npo seed=0"]
    assert list(a.options) == list(b.options) == names
    slider.value = 0.123
    line = mcu.connect(stacks["one"], stacks["two"], curve="linear")
    assert "t = 0.123" in text_of(widget) and expected(line, task, 0.123) in text_of(widget)
    b.value = "original"
    line = mcu.connect(stacks["one"], stacks["original"], curve="linear")
    assert expected(line, task, 0.123) in text_of(widget)
    kind.value = "curve on the retain loss"
    ends = stacks["one"], stacks["original"]
    curve = mcu.connect(*ends, task, objective="retain", steps=5)
    assert expected(curve, task, 0.123) in text_of(widget)
    slider.value = 0.4
    assert expected(curve, task, 0.4) in text_of(widget)


def test_live_fits_on_the_objective_of_the_end_that_was_unlearned(stacks, task):
    widget = mcu.live(stacks, task, ts=3, steps=5, images=2)
    a, b, kind, slider = controls(widget)
    a.value, b.value = "original", "npo seed=0"
    kind.value, slider.value = "curve on the unlearning objective", 0.5
    ends = stacks["original"], stacks[mcu.Endpoint("npo")]
    curve = mcu.connect(*ends, task, objective="npo", steps=5)
    assert expected(curve, task, 0.5) in text_of(widget)


def test_live_keeps_a_curve(stacks, task, monkeypatch):
    fitted = []
    module = import_module("mcu_lite.figures.live")  # The name in the package is the function.
    monkeypatch.setattr(module, "connect", lambda *a, **k: fitted.append(k) or mcu.connect(*a, **k))
    widget = mcu.live(stacks, task, ts=3, steps=2, images=2)
    _, _, kind, slider = controls(widget)
    for t, name in enumerate(("curve on the retain loss", "straight line") * 2):
        kind.value, slider.value = name, 0.1 + t / 10
    assert len(fitted) == 2


def test_live_takes_a_task_without_images(stacks, task):
    words = replace(task, name="words", pixels=None)
    assert "<img" not in text_of(mcu.live(stacks, words, ts=3, images=0))
    with pytest.raises(ValueError, match="'words' has no images"):
        mcu.live(stacks, words, ts=3)


@pytest.fixture(scope="module")
def spoken():
    """Texts, and two models of them that know little."""
    authors = mcu.load_task("authors", seeds=2, authors=10)
    return authors, [mcu.train(authors, "transformer", epochs=n) for n in (1, 2)]


def test_texts_have_no_images_to_show(spoken):
    authors, (one, two) = spoken
    widget = mcu.live({"one": one, "two": two}, authors, ts=3, images=0)
    line = mcu.connect(one, two, curve="linear")
    assert expected(line, authors, 0.5) in text_of(widget) and "<img" not in text_of(widget)


def test_live_takes_batch_norm():
    task = mcu.load_task("patches", seeds=2, train=40)
    one, two = (mcu.train(task, "resnet_small", epochs=n) for n in (1, 2))
    widget = mcu.live({"one": one, "two": two}, task, ts=3, images=4)
    line = mcu.connect(one, two, curve="linear")
    assert expected(line, task, 0.5) in text_of(widget)
    told = mcu.follow(line, task, [0.5]).probabilities[0, 0].max(-1)
    assert len(told) == 4 and all(f"</b> {p:.0%}" in text_of(widget) for p in told)


def test_live_tells_nothing_of_a_seed_that_diverged(stacks, task):
    two = stacks["two"]
    gone = replace(two, diverged=torch.tensor([True, False]))
    seen = {
        row: text_of(mcu.live({"one": stacks["one"], "two": gone}, task, ts=3, row=row, images=2))
        for row in (0, 1)
    }
    assert "✗" not in seen[0] and "✓" not in seen[0] and ("✗" in seen[1] or "✓" in seen[1])
    assert "its curve diverged" in seen[0] and "arc length" in seen[1] and "nan" not in seen[0]


def test_live_needs_two_stacks(stacks, task):
    with pytest.raises(ValueError, match="at least two"):
        mcu.live({"one": stacks["one"]}, task)


def test_the_row_is_one_of_the_seeds(stacks, task):
    with pytest.raises(ValueError, match="row must be in 0..1, got 5"):
        mcu.live(stacks, task, row=5)


@pytest.mark.parametrize("wrong", [{"ts": -3}, {"ts": 1}, {"images": -1}, {"steps": -1}])
def test_counts_that_cannot_be_drawn_are_named(wrong, stacks, task):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        mcu.live(stacks, task, **wrong)


# JupyterLab

CELL = """\
import mcu_lite as mcu

task = mcu.load_task("digits", seeds=2)
theta = mcu.train(task, epochs=20)
names = ("npo", "graddiff", "random_labels")
stacks = {name: mcu.unlearn(theta, task, name) for name in names}
mcu.live(stacks, task, ts=11, steps=20)
"""
HELD = """\
import mcu_lite as mcu

task = mcu.load_task("digits", seeds=1)
theta = mcu.train(task, epochs=20)
a, b = (mcu.unlearn(theta, task, name) for name in ("npo", "random_labels"))
mcu.explore({"curve": mcu.connect(a, b, task, objective="npo", steps=20)}, task, points=5)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab of our own, with two notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for name, code in (("live", CELL), ("held", HELD)):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")
    own += ("JUPYTERLAB_WORKSPACES_DIR",)
    environment = os.environ | {name: str(folder / name) for name in own} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.extension_manager=readonly"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urlopen(f"{address}/api").read()
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail((folder / "log").read_text(encoding="utf-8")[-3000:])
        yield f"{address}/lab/tree"
    finally:
        server.terminate()
        server.wait(60)


def run_first_cell(browser, address):
    """A notebook in JupyterLab whose cell has been started."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(120_000)
    page.goto(f"{address}?reset")  # not with what another test had open
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    page.keyboard.press("Shift+Enter")
    return page


def test_what_a_notebook_holds_is_asked_in_jupyterlab(lab, browser):
    page = run_first_cell(browser, f"{lab}/held.ipynb")
    page.locator(".mcu-explore[data-measured=finely]").wait_for()
    say, faces = page.locator(".mcu-say"), page.locator(".mcu-said")
    before = say.inner_text(), faces.inner_text()
    page.locator(".mcu-bend").focus()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowDown")
    page.locator(".mcu-explore[data-measured=finely]").wait_for()
    page.locator("[type=range]").press("Home")
    page.wait_for_timeout(200)
    assert say.inner_text() != before[0] and faces.inner_text() != before[1]
    assert page.locator(".mcu-explore").evaluate("e => e.scrollWidth <= e.clientWidth")
    page.close()


def test_live_answers_in_jupyterlab(lab, browser):
    page = run_first_cell(browser, f"{lab}/live.ipynb")
    output = page.locator(".jp-OutputArea-output .widget-vbox").first
    numbers = output.get_by_text("arc length")
    numbers.wait_for()
    page.set_default_timeout(20_000)
    mark = output.locator("svg[viewBox][aria-hidden]").first
    figure = output.locator("svg[role=img]").first
    faces = output.locator("div:has(> div > img)").last

    def changes(act, *locators):
        """Whether everything that is named changes, sooner or later, after an act."""
        before = [locator.inner_html() for locator in locators]
        act()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            now = [locator.inner_html() for locator in locators]
            if all(new != old for new, old in zip(now, before)):
                return True
            page.wait_for_timeout(50)
        return False

    output.get_by_role("slider").focus()
    assert "t = 0.500" in numbers.inner_text()
    still = figure.inner_html()
    assert changes(lambda: page.keyboard.press("End"), numbers, mark, faces)
    assert "t = 1.000" in numbers.inner_text() and figure.inner_html() == still
    a, b, kind = output.locator("select").all()
    assert changes(lambda: b.select_option("random_labels"), figure, faces)
    assert changes(lambda: kind.select_option("curve on the retain loss"), figure, numbers)
    page.close()

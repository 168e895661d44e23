"""The widgets that move along paths: frames in a page, and a kernel's own, in JupyterLab."""

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from urllib.request import urlopen

import ipywidgets as w
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import mcu_lite as mcu
from mcu_lite.figures.scrub import spot
from mcu_lite.metrics import plane_evaluation
from mcu_lite.paths import planes


@pytest.fixture(scope="module")
def stacks(path, theta, task):
    ends = {"one": path.stack_at(0.0), "two": path.stack_at(1.0)}
    return ends | {"original": theta, mcu.Endpoint("npo"): mcu.unlearn(theta, task, "npo")}


@pytest.fixture(scope="module")
def explored(path, task, theta):
    line = mcu.connect(path.stack_at(0.0), path.stack_at(1.0), curve="linear")
    plane = planes.plane(path.control[0], path.control[2], path.control[1])
    table = plane_evaluation.evaluate_plane(plane, planes.grid(plane, 3), task, theta)
    paths = {"line": line, "curve": path}
    ax = mcu.plot_map(table, plane, paths, ("a", "b", "c"), row=1)
    widget = mcu.explore(ax, plane, paths, task, ts=5, row=1, images=4)
    return widget, ax, plane, paths


def below(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


def test_all_frames_follow_one_slider(explored):
    widget, *_ = explored
    stacks = [own for own in below(widget) if isinstance(own, w.Stack)]
    assert len(stacks) == 7  # position, map, images, two metrics of two paths
    for stack in stacks:
        assert len(stack.children) == 5 and stack.selected_index == 2
        assert len({frame.value for frame in stack.children}) == 5


def test_the_map_marks_both_models_where_they_are(explored):
    widget, ax, plane, paths = explored
    frames = next(
        own
        for own in below(widget)
        if isinstance(own, w.Stack) and "<rect" in own.children[0].value
    )
    for k, t in enumerate(np.linspace(0, 1, 5)):
        places = re.findall(r'(?:x|cx)="([\d.]+)" (?:y|cy)="([\d.]+)"', frames.children[k].value)
        for place, path in zip(places, paths.values(), strict=True):
            at = plane.coordinates(path.rows([t]))[0, 1].tolist()
            assert tuple(map(float, place)) == pytest.approx(spot(ax, *at), abs=0.06)


def test_the_position_is_told_as_t_and_as_arc_length(explored):
    widget, _, _, paths = explored
    (frames,) = (
        own for own in below(widget) if isinstance(own, w.Stack) and "Arc" in own.children[0].value
    )
    arc = paths["curve"].arc_length(np.linspace(0, 1, 5))[:, 1]
    text = frames.children[3].value
    assert "t = 0.75" in text and f"curve {arc[3]:.2f} of {arc[-1]:.2f}" in text
    assert f"({arc[3] / arc[-1]:.0%})" in text


def without(path, lost):
    """The path after some of its curves diverged."""
    lost = torch.tensor(lost)
    return replace(path, control=path.control.where(~lost[:, None], torch.nan), diverged=lost)


def test_nothing_is_told_of_a_curve_that_diverged(explored, task):
    _, _, plane, paths = explored
    own = {"<line>": paths["line"], "curve": without(paths["curve"], [True, False])}
    seen = text_of(mcu.explore(Figure().subplots(), plane, own, task, ts=3, row=0, images=4))
    assert seen.count("● curve diverged") == 3 and 'r="5.5"' not in seen and "nan" not in seen
    assert len(re.findall(r"■ &lt;line&gt; [\d.]+ of [\d.]+ \(", seen)) == 3
    assert seen.count("<img") == 3 * 4


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
    plane = planes.plane(one, two, mcu.train(authors, "transformer", epochs=0))
    seen = mcu.explore(Figure().subplots(), plane, {"line": line}, authors, ts=3, images=0)
    assert "<img" not in text_of(seen) and "■ line 0.00 of" in text_of(seen)


def test_live_and_the_map_take_batch_norm():
    task = mcu.load_task("patches", seeds=2, train=40)
    one, two, three = (mcu.train(task, "resnet_small", epochs=n) for n in (1, 2, 3))
    widget = mcu.live({"one": one, "two": two}, task, ts=3, images=4)
    line = mcu.connect(one, two, curve="linear")
    assert expected(line, task, 0.5) in text_of(widget)
    told = mcu.follow(line, task, [0.5]).probabilities[0, 0].max(-1)
    assert len(told) == 4 and all(f"</b> {p:.0%}" in text_of(widget) for p in told)
    plane = planes.plane(one, two, three)
    seen = mcu.explore(Figure().subplots(), plane, {"line": line}, task, ts=3, images=2)
    assert text_of(seen).count("<img") == 6


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


def test_the_row_is_one_of_the_seeds(stacks, explored, task):
    _, ax, plane, paths = explored
    with pytest.raises(ValueError, match="row must be in 0..1, got 5"):
        mcu.live(stacks, task, row=5)
    with pytest.raises(ValueError, match="row must be in 0..1, got 2"):
        mcu.explore(ax, plane, paths, task, row=2)


@pytest.mark.parametrize("wrong", [{"ts": -3}, {"ts": 1}, {"images": -1}, {"steps": -1}])
def test_counts_that_cannot_be_drawn_are_named(wrong, stacks, explored, task):
    _, ax, plane, paths = explored
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        mcu.live(stacks, task, **wrong)
    if "steps" not in wrong:
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
            mcu.explore(ax, plane, paths, task, **wrong)


def test_the_map_is_of_one_of_the_seeds(explored, task, theta):
    _, _, plane, paths = explored
    table = plane_evaluation.evaluate_plane(plane, planes.grid(plane, 3), task, theta)
    for row in (9, -1):
        with pytest.raises(ValueError, match=f"row must be in 0..1, got {row}"):
            mcu.plot_map(table, plane, paths, ["a", "b", "c"], row=row)
    with pytest.raises(ValueError, match="table is empty"):
        mcu.plot_map(table[:0], plane, paths, ["a", "b", "c"])


# JupyterLab

CELL = """\
import mcu_lite as mcu

task = mcu.load_task("digits", seeds=2)
theta = mcu.train(task, epochs=20)
names = ("npo", "graddiff", "random_labels")
stacks = {name: mcu.unlearn(theta, task, name) for name in names}
mcu.live(stacks, task, ts=11, steps=20)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab of our own, with one notebook."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "live.ipynb")
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
        yield f"{address}/lab/tree/live.ipynb"
    finally:
        server.terminate()
        server.wait(60)


def test_live_answers_in_jupyterlab(lab, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(120_000)
    page.goto(lab)
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    page.keyboard.press("Shift+Enter")
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

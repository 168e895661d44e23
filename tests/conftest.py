from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from browsing import FLAGS, SITE, StaticHost, find_chromium, missing
from playwright.sync_api import sync_playwright

import mcu_lite as mcu

# Small models gain nothing from more threads, and several test processes share the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def task():
    return mcu.load_task("digits", seeds=2)


@pytest.fixture(scope="session")
def theta(task):
    return mcu.train(task, epochs=30)


@pytest.fixture(scope="session")
def oracle(theta, task):
    return mcu.unlearn(theta, task, "retrain", epochs=30)


@pytest.fixture(scope="session")
def path(theta, task):
    a, b = (mcu.unlearn(theta, task, "npo", seed=seed) for seed in (0, 1))
    return mcu.connect(a, b, task, objective="npo", steps=30)


@pytest.fixture(scope="session")
def site():
    if not SITE.is_dir():
        missing(f"no built book at {SITE}: run `make book PROFILE=ci` or set MCU_LITE_SITE")
    return SITE


@pytest.fixture(scope="session")
def origins(site):
    """The book's address on disk, and on a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(StaticHost, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield {"file": site.as_uri(), "http": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if not Path(path).exists():
            missing("no Chromium: `apt-get install chromium` or `playwright install chromium`")
        with playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
            yield browser


@pytest.fixture(scope="session")
def context(browser):
    """One for all pages, because it keeps the scripts that they share."""
    with browser.new_context() as context:
        yield context

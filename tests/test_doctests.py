"""The examples in the docstrings run, with the names that the API page says they share."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

import mcu_lite as mcu

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "mcu_lite").rglob("[!_]*.py"))
MODULES = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in FILES]
FOUND = [
    example
    for module in MODULES
    for example in doctest.DocTestFinder(recurse=True).find(importlib.import_module(module))
    if example.examples
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCU_LITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield names


@pytest.mark.parametrize("example", FOUND, ids=lambda e: e.name)
def test_an_example_prints_what_it_says(example, shared):
    example.globs = vars(mcu) | shared | example.globs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        failed, _ = doctest.DocTestRunner(verbose=False).run(example, clear_globs=False)
    assert not failed


def test_every_public_function_has_an_example():
    shown = {example.name for example in FOUND}
    public = [inspect.unwrap(getattr(mcu, name)) for name in mcu.__all__]
    functions = [f for f in public if inspect.isfunction(f)]
    assert not [f.__name__ for f in functions if f"{f.__module__}.{f.__name__}" not in shown]

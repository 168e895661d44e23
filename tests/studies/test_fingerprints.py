"""What code and data depend on, told apart by one digest."""

import functools
import importlib
import subprocess
import sys
from collections import defaultdict
from copy import deepcopy
from enum import StrEnum
from functools import singledispatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcu_lite.studies.fingerprints import fingerprint

FACTOR = 2.0
OPTIONS = {"weight": [1.0, 2.0]}
DATA = torch.arange(6.0)


def helper(x):
    return FACTOR * x


class Net(nn.Linear):
    gain = 3.0

    def forward(self, x):
        return self.gain * helper(super().forward(x))


@functools.cache
def remembered():
    return OPTIONS["weight"]


def build():
    return Net(2, 2)


def keyword(x, *, cap=FACTOR):
    return x.clamp(max=cap)


def nested(x):
    def inner():
        return DATA

    return [helper(v) for v in inner()]


class Bound:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    @property
    def double(self):
        return 2 * helper(self.factor)


@pytest.mark.parametrize("code", [helper, Net, build, nested, Bound, Bound(1.0).__call__])
def test_a_global_that_code_reads_counts_however_deep(code, monkeypatch):
    before = fingerprint(code)
    assert fingerprint(code) == before
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    assert fingerprint(code) != before


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (nested, lambda patch: patch.setattr(sys.modules[__name__], "DATA", DATA + 1)),
        (remembered, lambda patch: patch.setitem(OPTIONS, "weight", [1.0, 2.5])),
        (keyword, lambda patch: patch.setitem(keyword.__kwdefaults__, "cap", 1.0)),
        (build, lambda patch: patch.setattr(Net, "gain", 4.0)),
        (build, lambda patch: patch.setattr(Net, "forward", lambda self, x: x)),
    ],
)
def test_what_code_reads_is_told_apart(code, change, monkeypatch):
    before = fingerprint(code)
    change(monkeypatch)
    assert fingerprint(code) != before
    monkeypatch.undo()
    assert fingerprint(code) == before


def closure(value):
    return lambda: value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        ([1, [2]], [1, 2]),
        ([[1], 2], [[1, 2]]),
        ({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "c": 2}}),
        (lambda x: x, lambda *x: x),
        (lambda a, b: a - b, lambda b, a: a - b),
        (torch.no_grad()(lambda x: x + 1), torch.no_grad()(lambda x: x + 2)),
        (singledispatch(lambda x: x + 1), singledispatch(lambda x: x + 2)),
        (torch.zeros(2), torch.zeros(2, requires_grad=True)),
        (torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()),
        (torch.ones(2, device="meta"), torch.ones(3, device="meta")),
        ([10**5000], [10**5000 + 1]),
        (defaultdict(int), defaultdict(list)),
        ({"a": 1}, {"a": 2}),
        (DATA, DATA.double()),
        (DATA, DATA.reshape(2, 3)),
        (DATA.to(torch.bfloat16), DATA.to(torch.bfloat16) * 2),
        (DATA[::2], DATA[1::2]),
        (torch.tensor(1.0), torch.tensor(2.0)),
        (np.arange(3), np.arange(3) + 1),
        (np.array(["a", None], object), np.array(["b", None], object)),
        (pd.DataFrame({"x": [1.0]}), pd.DataFrame({"x": [2.0]})),
        (Bound(1.0), Bound(2.0)),
        (functools.partial(helper, x=1), functools.partial(helper, x=2)),
        (closure(DATA), closure(DATA + 1)),
        (closure({"w": 1}), closure({"w": 2})),
        ({1, 2}, {1, 3}),
        (nn.Linear(2, 2), nn.Linear(2, 2)),
        (Path("a"), Path("b")),
        (np.float64(1), np.float64(2)),
    ],
)
def test_different_values_differ_and_equal_ones_do_not(one, other):
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)


class Options(dict):
    def __missing__(self, key):
        return FACTOR


class Mode(StrEnum):
    soft = "soft"

    def weight(self):
        return FACTOR


@pytest.mark.parametrize("own", [Options(a=1), Mode.soft])
def test_classes_made_from_pythons_own_are_followed(own, monkeypatch):
    before = fingerprint(own)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    assert fingerprint(own) != before


def test_what_an_attribute_of_a_function_holds_counts(monkeypatch):
    before = fingerprint(helper)
    monkeypatch.setattr(helper, "weight", 1, raising=False)
    assert fingerprint(helper) != before


def test_taking_it_or_copying_what_it_is_of_changes_nothing():
    before = fingerprint(Bound)
    fingerprint(Bound(1.0))
    deepcopy(Bound(1.0))
    assert fingerprint(Bound) == before


def test_values_may_contain_themselves_and_what_cannot_be_pickled():
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop) != fingerprint([1, [1]])
    around = Bound(set())
    around.factor.add(around)
    assert fingerprint(around) == fingerprint(around)
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert fingerprint(deep) != fingerprint([deep])
    with (
        open(__file__, encoding="utf-8") as one,
        open(Path(nn.__file__), encoding="utf-8") as other,
    ):
        assert fingerprint(one) == fingerprint(other) == fingerprint(one)


def test_modules_of_ones_own_are_followed_as_they_are_in_memory(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "parts.py").write_text(
        "scale = 2\ndef f(x):\n    return scale * x", encoding="utf-8"
    )
    (tmp_path / "package" / "build.py").write_text(
        "import package.parts\n"
        "def whole():\n    return package.parts.f(1)\n"
        "def late():\n    from package import parts\n    return parts.f(1)\n"
        "def near():\n    from .parts import f\n    return f(1)\n"
        "def missing():\n    import nowhere\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    build = importlib.import_module("package.build")
    known = build.whole, build.late, build.near
    before = list(map(fingerprint, known))
    assert fingerprint(build.missing) == fingerprint(build.missing)
    monkeypatch.setattr("package.parts.scale", 3)
    assert all(fingerprint(code) != old for code, old in zip(known, before))
    monkeypatch.undo()
    (tmp_path / "package" / "parts.py").write_text("scale = 4", encoding="utf-8")
    assert list(map(fingerprint, known)) == before, "what is in the file is not what runs"


def test_code_of_a_library_is_known_by_its_name(monkeypatch):
    before = fingerprint(nn.Linear)
    monkeypatch.setattr(nn.Linear, "extra", 1, raising=False)
    assert fingerprint(nn.Linear) == before != fingerprint(nn.Conv2d)


def test_it_is_the_same_in_every_process_whatever_its_hashes():
    code = "import test_fingerprints as t; print(t.everything())"
    here = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
    told = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, **here).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1 and len(told.pop()) == 65


def everything():
    data = {"a", "b", "c"}, pd.DataFrame({"x": ["u", "v"]}), DATA, np.arange(3), OPTIONS
    own = build, nested, Net, Bound, remembered, keyword, pytest, np
    return fingerprint([*data, *own])

"""What is saved comes back; what is not a checkpoint is refused by name, and never run."""

import hashlib
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as read
from safetensors.torch import save as written

import mcu_lite as mcu
from mcu_lite.studies.checkpoints import pack, unpack
from mcu_lite.studies.results import ResultStore

PACKAGE = Path(mcu.__file__).parent


@pytest.fixture(scope="module")
def stack():
    """Three small models with everything that a stack can know."""
    architecture = mcu.Architecture(torch.nn.Linear(4, 3))
    rows = torch.randn(3, 15, generator=torch.Generator().manual_seed(0))
    lost = torch.tensor([False, True, False])
    rows[1] = torch.nan
    origin = mcu.Stack(architecture, rows.nan_to_num() + 1, "original", initial=torch.zeros(3, 15))
    return mcu.Stack(architecture, rows, "npo", rows.nan_to_num(), origin, lost, torch.rand(3, 2))


@pytest.fixture(scope="module")
def curve(stack):
    control = torch.randn(3, 2, 15, generator=torch.Generator().manual_seed(1))
    return mcu.Path("bezier", control, stack.architecture, torch.tensor([False, False]), "npo")


def test_a_stack_comes_back_with_all_that_it_knows(stack, tmp_path):
    mcu.save_models(stack, tmp_path / "s.safetensors")
    back = mcu.load_models(tmp_path / "s.safetensors", stack.architecture)
    for own, other in ((stack, back), (stack.origin, back.origin)):
        assert own.label == other.label
        for name in ("rows", "initial", "diverged", "spread"):
            one, two = getattr(own, name), getattr(other, name)
            assert one is two is None or torch.equal(one.nan_to_num(9), two.nan_to_num(9))


def test_a_path_comes_back_and_its_models_are_the_same(curve, tmp_path):
    mcu.save_models(curve, tmp_path / "c.safetensors")
    back = mcu.load_models(tmp_path / "c.safetensors", torch.nn.Linear(4, 3))
    assert (back.kind, back.objective) == ("bezier", "npo")
    assert torch.equal(back.rows([0, 0.3, 1]), curve.rows([0, 0.3, 1]))


def test_other_programs_can_read_it(stack):
    parts = read(pack(stack))
    assert torch.equal(parts["origin.rows"], stack.origin.rows)


def test_a_header_whose_length_begins_like_a_pickle_is_read(stack):
    """The length comes first, least byte first, and is a multiple of eight: once in 32 it is."""
    lengths = (pack(replace(stack, label="x" * n)) for n in range(257))
    content = next(own for own in lengths if own[:1] == b"\x80")
    found = unpack(content, stack.architecture, "it").rows
    torch.testing.assert_close(found, stack.rows, rtol=0, atol=0, equal_nan=True)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


def changed(stack, head=None, **parts):
    """The checkpoint with other tensors (None: without one), or another header."""
    content = pack(stack)
    size = int.from_bytes(content[:8], "little")
    old = json.loads(content[8 : 8 + size])["__metadata__"]
    kept = {k: v for k, v in (read(content) | parts).items() if v is not None}
    return written(kept, {k: v for k, v in (old | (head or {})).items() if v is not None})


HOSTILE = {
    "a pickle in disguise": (lambda s: pickle.dumps(Bomb()), "looks like a pickle"),
    "a torch file in disguise": (lambda s: b"PK\x03\x04" + bytes(90), "looks like a pickle"),
    "nothing": (lambda s: b"", "header|metadata"),
    "a huge header": (lambda s: (2**62).to_bytes(8, "little") + pack(s)[8:], "header|metadata"),
    "half of it": (lambda s: pack(s)[: len(pack(s)) // 2], "header|metadata"),
    "something behind it": (lambda s: pack(s) + b"\x80", "header|metadata"),
    "NaN": (lambda s: changed(s, rows=torch.full((3, 15), torch.nan)), "NaN"),
    "no rows": (lambda s: changed(s, rows=None), "lacks 'rows'"),
    "a number for rows": (lambda s: changed(s, rows=torch.tensor(1.0)), "shape"),
    "rows too short": (lambda s: changed(s, rows=torch.zeros(3, 14)), r"\(3, 15\).*\(3, 14\)"),
    "integers": (lambda s: changed(s, rows=torch.zeros(3, 15).long()), "int64.*float32"),
    "a short spread": (lambda s: changed(s, spread=torch.zeros(2, 2)), "spread"),
    "another origin": (
        lambda s: changed(
            s,
            **{
                "origin.rows": torch.zeros(2, 15),
                "origin.initial": None,
                "origin.diverged": torch.zeros(2, dtype=torch.bool),
            },
        ),
        "origin is of 2 models",
    ),
    "no format": (lambda s: changed(s, {"format": None}), "format is None"),
    "no layout": (lambda s: changed(s, {"layout": None}), "lacks 'layout'"),
    "another layout": (lambda s: changed(s, {"layout": '[["weight", 3, 5]]'}), "architecture"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_checkpoint_is_refused_by_name(what, stack, tmp_path):
    make, says = HOSTILE[what]
    file = tmp_path / "given.safetensors"
    file.write_bytes(make(stack))
    with pytest.raises(ValueError, match=f"given.safetensors is no checkpoint.*(?:{says})"):
        mcu.load_models(file, stack.architecture)


def test_a_hostile_curve_is_refused(curve):
    def refused(says, head=None, **parts):
        with pytest.raises(ValueError, match=says):
            unpack(changed(curve, head, **parts), curve.architecture, "file")

    refused("NaN", control=torch.full((3, 2, 15), torch.nan))
    refused("must have shape", control=torch.zeros(3, 15))
    refused("must have shape", control=torch.zeros(3, 2, 16))
    refused("both ends", control=torch.zeros(1, 2, 15))
    refused("curve 'circle'", {"curve": "circle"})
    refused("lacks 'diverged'", diverged=None)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_a_value_error_or_no_harm(stack, data):
    content = bytearray(pack(stack))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = unpack(bytes(content), stack.architecture, "file")
    except ValueError as error:
        assert str(error).startswith("file is no checkpoint")
    else:
        assert back.rows.shape == (3, 15) and back.rows[~back.diverged].isfinite().all()


def test_a_missing_file_is_named(stack, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mcu.load_models(tmp_path / "nowhere", stack.architecture)


def test_a_write_that_fails_leaves_the_old_file(stack, tmp_path, monkeypatch):
    file = tmp_path / "s"
    mcu.save_models(stack, file)
    before = file.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        mcu.save_models(stack.origin, file)
    assert file.read_bytes() == before


def test_a_table_comes_back_exactly(tmp_path):
    table = pd.DataFrame(
        {
            "t": [0.1 + 0.2, np.nan, -np.inf, 5e-324],
            "split": ["retain", "NA", "", "forget"],
            "seed": [3, 4, 5, 2**53 + 1],
            "connected": [True, False, True, True],
            "whole": [0.0, 1.0, -0.0, 2.0],
        }
    )
    results = ResultStore(mcu.Setting(), tmp_path)
    results.save("table", table)
    back = results.load("table")
    pd.testing.assert_frame_equal(back, table, check_exact=True)
    assert np.signbit(back.whole[2])


def test_rows_of_another_precision_are_refused(stack):
    double = mcu.Stack(stack.architecture, torch.zeros(2, 15, dtype=torch.float64))
    with pytest.raises(ValueError, match="rows are torch.float64.* are torch.float32"):
        unpack(pack(double), stack.architecture, "file")
    own = mcu.Architecture(torch.nn.Linear(4, 3).double())
    assert unpack(pack(mcu.Stack(own, double.rows)), own, "file").rows.dtype == torch.float64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.nn.ReLU(), torch.nn.Tanh()),
        (torch.nn.LeakyReLU(0.1), torch.nn.LeakyReLU(0.9)),
    ],
    ids=str,
)
def test_rows_of_other_layers_are_refused(one, other):
    one, other = (torch.nn.Sequential(torch.nn.Linear(4, 3), layer) for layer in (one, other))
    content = pack(mcu.Stack.of(one))
    unpack(content, mcu.Architecture(one), "file")
    with pytest.raises(ValueError, match="another module"):
        unpack(content, mcu.Architecture(other), "file")


@pytest.mark.parametrize("part", ["0.weight", "0.running_mean"])
def test_rows_on_another_backbone_are_refused(part):
    def adapter(change):
        frozen = torch.nn.BatchNorm1d(4).requires_grad_(False)
        net = torch.nn.Sequential(frozen, torch.nn.Linear(4, 3))
        with torch.no_grad():
            net.state_dict()[part].add_(change)
        return mcu.Architecture(net)

    content = pack(mcu.Stack(adapter(0), torch.zeros(2, 15)))
    unpack(content, adapter(0), "file")
    with pytest.raises(ValueError, match="another backbone"):
        unpack(content, adapter(1), "file")


def test_an_entry_with_the_right_digest_but_a_pickle_inside_is_not_opened(tmp_path):
    body = pickle.dumps(Bomb())
    (tmp_path / "one").write_bytes(hashlib.sha256(body).digest() + body)
    with pytest.warns(UserWarning, match="computed again"):
        assert ResultStore(mcu.Setting(), tmp_path).load("one") is None


def test_nothing_in_the_package_can_unpickle():
    found = re.compile(r"\bpickle\b|torch\.load\(|\bjoblib\b|allow_pickle=True|\bshelve\b|\bdill\b")
    for file in PACKAGE.rglob("*.py"):
        code = re.sub(r'""".*?"""|"[^"\n]*"|#.*', "", file.read_text(encoding="utf-8"), flags=re.S)
        assert not found.search(code), file.name

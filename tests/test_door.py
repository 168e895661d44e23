"""What is wrong in a call is named; what is right passes unchanged."""

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mcu_lite as mcu
from mcu_lite.checks import checked
from mcu_lite.training.train import train

SOME = {"min_size": 1, "max_size": 3}
THINGS = {
    "number": st.floats() | st.floats(width=32).map(np.float32),
    "count": st.integers() | st.integers(0, 9).map(np.int64),
    "flag": st.booleans(),
    "text": st.text(),
    "none": st.none(),
    "numbers": st.lists(st.floats(), **SOME),
    "counts": st.lists(st.integers(), **SOME),
    "texts": st.lists(st.text(), **SOME),
    "mapping": st.dictionaries(st.text(), st.floats(), **SOME),
    "state dict": st.builds(lambda: nn.Linear(1, 1).state_dict()),
    "module": st.builds(nn.Linear, st.integers(1, 3), st.just(1)),
    "table": st.floats().map(lambda x: pd.DataFrame({"value": [x]})),
    "array": st.lists(st.floats(), **SOME).map(np.array),
    "tensor": st.lists(st.floats(width=32), **SOME).map(torch.tensor),
    "function": st.just(lambda *arguments: None),
    "object": st.builds(object),
}
SUIT = {
    int: {"count"},
    float: {"count", "number", "flag"},
    bool: {"flag"},
    str: {"text"},
    NoneType: {"none"},
    Sequence: {"counts", "numbers", "texts"},
    Sequence[int]: {"counts"},
    Sequence[float]: {"counts", "numbers", "array", "tensor"},
    Sequence[str]: {"texts"},
    Iterable[str]: {"texts", "mapping", "state dict", "table"},
    dict: {"mapping", "state dict"},
    nn.Module: {"module"},
    torch.Tensor: {"tensor"},
    np.ndarray: {"array"},
    pd.DataFrame: {"table"},
    object: set(THINGS),
}
"""Which of the things a hint allows; those that are not listed allow none."""


def suits(hint) -> set[str]:
    if get_origin(hint) in (Union, UnionType):
        return set().union(*map(suits, get_args(hint)))
    return {"function"} if Callable in (hint, get_origin(hint)) else SUIT.get(hint, set())


@cache
def right(hint) -> object:
    """Something of a hint's kind; nothing is computed with it."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return right(parts[0])
    if kind is Callable:
        return lambda *arguments: None
    if kind is tuple:
        return tuple(right(part) for part in parts if part is not ...)
    empty = {Sequence: [], Iterable: [], dict: {}, Mapping: {}, str: "", int: 1, float: 1.0}
    return empty[kind] if kind in empty else Mock(spec=kind)


def hints_of(name: str) -> dict:
    """Hints of the parameters of a public function or class, in their order."""
    item = getattr(mcu, name)
    hints = get_type_hints(item.__init__ if inspect.isclass(item) else item)
    return {k: hints[k] for k in inspect.signature(item).parameters if k in hints}


PUBLIC = [name for name in mcu.__all__ if callable(getattr(mcu, name))]
PARAMETERS = [
    (name, argument)
    for name in PUBLIC
    for argument, hint in hints_of(name).items()
    if hint is not object
]


@pytest.mark.parametrize(("name", "argument"), PARAMETERS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_thing_of_another_kind_is_refused_by_name(name, argument, data):
    hints, parameters = hints_of(name), inspect.signature(getattr(mcu, name)).parameters
    wrong = [THINGS[k] for k in sorted(THINGS.keys() - suits(hints[argument]))]
    value = data.draw(st.one_of(wrong))
    others = {
        k: right(hints[k]) for k, p in parameters.items() if p.default is p.empty and k in hints
    }
    several = parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
    call, given_ = getattr(mcu, name), others | {argument: value}
    with pytest.raises((TypeError, ValueError)) as caught:
        call(value) if several else call(**given_)
    said = str(caught.value)
    assert said.startswith(f"{argument} must be ") and f"({type(value).__name__})" in said
    assert len(said) < 400


@pytest.mark.parametrize("name", PUBLIC)
def test_an_unknown_argument_is_refused_with_those_that_are_known(name):
    parameters = inspect.signature(getattr(mcu, name)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        pytest.skip("takes what another function knows")
    with pytest.raises(TypeError, match="colour") as caught:
        required = {p.name: None for p in parameters if p.default is p.empty}
        getattr(mcu, name)(colour=1, **required)
    assert all(p.name in str(caught.value) for p in parameters)


def test_calls_that_people_tried_say_what_is_wrong(task, theta):
    module = mcu.mlp()
    table = pd.DataFrame({"value": [1.0]})
    calls = {
        "model must be .* got Sequential": lambda: mcu.train(task, module),
        "theta must be Stack, got digits.* \\(Task\\)": lambda: mcu.unlearn(task, theta, "npo"),
        "a must be .* \\(OrderedDict\\)": lambda: mcu.connect(
            module.state_dict(), module.state_dict()
        ),
        "steps must be int, got 2.5": lambda: mcu.unlearn(theta, task, "npo", steps=2.5),
        "seeds must be .* got 2.5": lambda: mcu.load_task("digits", seeds=2.5),
        "seeds must be one or more, .* got -1": lambda: mcu.load_task("digits", seeds=-1),
        "forget_weight must be >= 0, got -1": lambda: mcu.unlearn(
            theta, task, "npo", forget_weight=-1.0
        ),
        "steps must be > 0, got 0": lambda: mcu.unlearn(theta, task, "npo", steps=0),
        "stacks must hold at least one Stack": lambda: mcu.Stack.cat([]),
        "modules must hold at least one nn.Module": lambda: mcu.Stack.of(),
        "forget must be float, got '0.1'": lambda: mcu.load_task("digits", forget="0.1"),
        "argument 'forgett'; the call is digits.*forget=": lambda: mcu.load_task(
            "digits", forgett=0.1
        ),
        "argument 'colour'; the call is .*forget=": lambda: mcu.load_task("patches", colour=1),
        "'tss'.* ts=41": lambda: mcu.load_profile("book", tss=3),
        "ts must be int, got '3'": lambda: mcu.load_profile("book", ts="3"),
        "table must be DataFrame, got .* \\(dict\\)": lambda: mcu.is_connected({"a": table}),
        "metrics must be .* got 'loss'": lambda: mcu.evaluate(theta, task, metrics="loss"),
        "seed must be int, got True": lambda: mcu.train(task, seed=True),
        "name must be str, got .* \\(function\\)": lambda: mcu.task(train),
        "recipe 'weight'.* 'lr'": lambda: mcu.unlearn(theta, task, "npo", weight=1.0),
    }
    for said, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=f"(?s){said}"):
            call()


def test_numbers_of_numpy_are_numbers(task, theta):
    plain = train(task, seed=1, epochs=2, lr=0.5)
    same = mcu.train(task, seed=np.int64(1), epochs=np.int32(2), lr=np.float32(0.5))
    assert torch.equal(same.rows, plain.rows)
    assert mcu.load_task("digits", seeds=np.int64(2)).seeds == (0, 1)
    assert mcu.load_task("digits", seeds=np.arange(2)).seeds == (0, 1)
    assert mcu.interval(pd.Series([1.0, 1.0])) == mcu.interval(torch.ones(2)) == (1, 1)
    for ts in (np.array([0.0, 1.0]), torch.tensor([0.0, 1.0]), [0, 1]):
        path = mcu.connect(theta, theta, curve="linear")
        assert mcu.evaluate(path, task, ts, metrics=["loss"]).t.unique().tolist() == [0, 1]


def test_functions_classes_and_iterators_pass_unchanged(task):
    class Own(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 10))

    for model in (Own, lambda: Own(), mcu.mlp, "mlp"):
        assert len(mcu.train(task, model, epochs=1)) == 2

    @checked
    def through(*names: str, rest: Iterable[int], how: "Callable[[int], int]"):
        return names, rest, how

    rest, how = iter([1, 2]), abs
    assert through("a", "b", rest=rest, how=how) == (("a", "b"), rest, how)
    assert list(rest) == [1, 2]
    with pytest.raises(TypeError, match="names must be str, got 1"):
        through("a", 1, rest=rest, how=how)


def test_what_is_behind_the_door_is_what_is_at_home(task):
    assert inspect.isfunction(mcu.train) and inspect.unwrap(mcu.train) is train
    assert inspect.signature(mcu.train) == inspect.signature(train)
    assert mcu.train.__doc__ is train.__doc__
    assert pickle.loads(pickle.dumps(mcu.train)) is mcu.train
    assert inspect.isclass(mcu.Task) and type(task) is mcu.Task
    assert str(inspect.signature(mcu.Endpoint)).startswith("(method: 'str' = 'npo'")


def test_the_package_alone_imports_no_torch():
    code = "import sys, mcu_lite; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

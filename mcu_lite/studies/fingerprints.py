"""What a result depends on, code or data, as a digest that is the same in every process."""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import cache, partial, singledispatch
from importlib import import_module
from importlib.util import find_spec, resolve_name
from itertools import chain
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
NOT_OURS = {"mcu_lite", *sys.stdlib_module_names}
INSTALLED = ("site-packages", "dist-packages")
OF_EVERY_CLASS = {"__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"}
OF_EVERY_CLASS |= {"__slotnames__"}  # written by the first copy of an instance


def fingerprint(value: object) -> str:
    """Digest of a value and, if it is code, of all that it reads.

    A function is its instructions, its defaults, what it encloses, imports and finds among the
    globals; a class is its bases and members, and a module its contents. Code of a library is
    known by its name. Of data every number counts. What cannot be pickled is its type.

    Examples
    --------
    >>> [fingerprint(data) == fingerprint({"x": [1, 2]}) for data in ({"x": [1, 2]}, {"x": [1, 3]})]
    [True, False]
    """
    return _digest(value, {})


def _digest(value: object, seen: dict[int, tuple[int, object]]) -> str:
    digest = hashlib.sha256()
    for part in _parts(value, seen):
        digest.update(part if isinstance(part, bytes) else f"{part}\n".encode())
    return digest.hexdigest()


def _parts(value: object, seen: dict[int, tuple[int, object]]) -> Iterator[str | bytes]:
    """Yield what a value is made of, down to plain values; values may contain themselves."""
    left = [iter([value])]
    while left:
        if (part := next(left[-1], left)) is left:
            left.pop()
            yield "end"
        elif type(part) in PLAIN:
            yield type(part).__name__
            yield part if type(part) is bytes else hex(part) if type(part) is int else repr(part)
        elif id(part) in seen:
            yield f"seen {seen[id(part)][0]}"
        else:
            # The value is kept: its address would be given to another one.
            seen[id(part)] = len(seen), part
            yield type(part).__qualname__
            own = [type(part)] if _is_ours(type(part).__module__) else []
            left.append(chain(own, _inside(part, seen)))


@singledispatch
def _inside(value: object, seen: dict) -> Iterator[object]:
    """Yield what a value is made of, one level down: as it would be pickled."""
    try:
        made = value.__reduce_ex__(4)
    except Exception:
        made = []
    yield getattr(value, "__wrapped__", None)  # what a cache around a function calls
    for part in [made] if isinstance(made, str) else made:
        yield list(part) if isinstance(part, Iterator) else part


@_inside.register(tuple)
@_inside.register(list)
def _(value: tuple | list, seen: dict) -> Iterator[object]:
    yield from value
    yield getattr(value, "__dict__", None)


@_inside.register(set)
@_inside.register(frozenset)
def _(value: set | frozenset, seen: dict) -> Iterator[object]:
    yield from sorted(_digest(own, dict(seen)) for own in value)


@_inside.register
def _(value: Mapping, seen: dict) -> Iterator[object]:
    for pair in value.items():
        yield from pair
    yield from (getattr(value, "__dict__", None), getattr(value, "default_factory", None))


@_inside.register
def _(value: np.ndarray, seen: dict) -> Iterator[object]:
    yield from (str(value.dtype), value.shape)
    yield value.tolist() if value.dtype.hasobject else value.tobytes()


@_inside.register
def _(value: torch.Tensor, seen: dict) -> Iterator[object]:
    try:
        whole = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        numbers = whole.flatten().view(torch.uint8).numpy().tobytes()
        yield from (str(value.dtype), value.requires_grad, tuple(value.shape), numbers)
    except (RuntimeError, TypeError, ValueError):  # sparse, or without contents
        yield from _inside.dispatch(object)(value, seen)


@_inside.register
def _(value: partial, seen: dict) -> Iterator[object]:
    yield from (value.func, value.args, value.keywords)


@_inside.register
def _(value: MethodType, seen: dict) -> Iterator[object]:
    yield from (value.__func__, value.__self__)


@_inside.register(classmethod)
@_inside.register(staticmethod)
def _(value: classmethod | staticmethod, seen: dict) -> Iterator[object]:
    yield value.__func__


@_inside.register
def _(value: property, seen: dict) -> Iterator[object]:
    yield from (value.fget, value.fset)


@_inside.register
def _(value: BuiltinFunctionType, seen: dict) -> Iterator[object]:
    yield from (value.__module__, value.__qualname__)


@_inside.register
def _(value: FunctionType, seen: dict) -> Iterator[object]:
    # By its globals: a decorator may have given it the name of what it wraps.
    yield from (_home(module := value.__globals__.get("__name__")), value.__qualname__)
    yield vars(value)  # where a decorator of a library keeps what it wraps
    if _is_ours(module):
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            yield from (name, *_contents(cell))
        for name, read in sorted(dict(_read_by(value.__code__, value.__globals__)).items()):
            yield from (name, read)


def _contents(cell) -> Iterator[object]:
    try:
        yield cell.cell_contents
    except ValueError:  # not yet bound
        return


@_inside.register
def _(value: CodeType, seen: dict) -> Iterator[object]:
    yield from (value.co_code, value.co_names, value.co_consts, value.co_exceptiontable)
    yield from (value.co_varnames, value.co_argcount, value.co_kwonlyargcount, value.co_flags)


def _read_by(code: CodeType, around: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Names and values of the globals that code looks up, and of the modules that it imports."""
    steps = list(dis.get_instructions(code))
    for k, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval, around.get(step.argval)
        elif step.opname == "IMPORT_NAME":
            name = "." * steps[k - 2].argval + step.argval
            yield f"import {name}", _imported(name, around.get("__package__"))
    for own in code.co_consts:
        if isinstance(own, CodeType):
            yield from _read_by(own, around)


def _imported(name: str, package: str | None) -> ModuleType | None:
    try:
        name = resolve_name(name, package)
        return import_module(name) if _is_ours(name) else None
    except ImportError:
        return None


@_inside.register
def _(value: type, seen: dict) -> Iterator[object]:
    yield from (_home(value.__module__), value.__qualname__)
    if _is_ours(value.__module__):
        yield value.__bases__
        yield {n: member for n, member in vars(value).items() if n not in OF_EVERY_CLASS}


@_inside.register
def _(value: ModuleType, seen: dict) -> Iterator[object]:
    yield value.__name__
    if _is_ours(value.__name__):
        yield {n: v for n, v in vars(value).items() if not n.startswith("__")}


def _home(module: object) -> object:
    """Name of a module; a script that starts workers has another name in them."""
    return "__main__" if module == "__mp_main__" else module


@cache
def _is_ours(module: str | None) -> bool:
    """Whether code is the user's own: not of Python, of this package, or installed."""
    if not isinstance(module, str) or (root := module.partition(".")[0]) in NOT_OURS:
        return False
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):  # __main__ has none
        return True
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return not any(installed in place for installed in INSTALLED for place in places)

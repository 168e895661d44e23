"""What a result depends on, code or data, as a digest that is the same in every process."""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial, singledispatch
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
NOT_OURS = {"mcu_lite", *sys.stdlib_module_names} - {"__main__"}
INSTALLED = ("site-packages", "dist-packages")
OF_EVERY_CLASS = {"__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"}


def fingerprint(value: object) -> str:
    """Digest of a value and, if it is code, of all that it reads.

    A function is its instructions, its defaults, what it encloses and the globals that it names;
    a class is its bases and members; a module, its source. Code of a library is known by its name.
    Of data every number counts. What cannot be pickled, such as an open file, is its type.

    Examples
    --------
    >>> [fingerprint(data) == fingerprint({"x": [1, 2]}) for data in ({"x": [1, 2]}, {"x": [1, 3]})]
    [True, False]
    """
    digest = hashlib.sha256()
    for part in _parts(value, {}):
        digest.update(part if isinstance(part, memoryview) else f"{part}\n".encode())
    return digest.hexdigest()


def _parts(value: object, seen: dict[int, tuple[int, object]]) -> Iterator[str | memoryview]:
    """Yield what a value is made of, down to plain values; values may contain themselves."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, memoryview):
        yield value
    elif id(value) in seen:
        yield f"seen {seen[id(value)][0]}"
    else:
        # The value is kept: its address would be given to another one.
        seen[id(value)] = len(seen), value
        yield type(value).__qualname__
        for part in _inside(value):
            yield from _parts(part, seen)


@singledispatch
def _inside(value: object) -> Iterator[object]:
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
def _(value: tuple | list) -> Iterator[object]:
    yield from value


@_inside.register(set)
@_inside.register(frozenset)
def _(value: set | frozenset) -> Iterator[object]:
    yield from sorted(map(fingerprint, value))


@_inside.register
def _(value: Mapping) -> Iterator[object]:
    for pair in value.items():
        yield from pair


@_inside.register
def _(value: np.ndarray) -> Iterator[object]:
    yield from (str(value.dtype), value.shape)
    yield value.tolist() if value.dtype.hasobject else memoryview(value.tobytes())


@_inside.register
def _(value: torch.Tensor) -> Iterator[object]:
    yield from (str(value.dtype), tuple(value.shape))
    flat = value.detach().cpu().contiguous().flatten()
    yield memoryview(flat.view(torch.uint8).numpy())


@_inside.register
def _(value: partial) -> Iterator[object]:
    yield from (value.func, value.args, value.keywords)


@_inside.register
def _(value: MethodType) -> Iterator[object]:
    yield from (value.__func__, value.__self__)


@_inside.register(classmethod)
@_inside.register(staticmethod)
def _(value: classmethod | staticmethod) -> Iterator[object]:
    yield value.__func__


@_inside.register
def _(value: property) -> Iterator[object]:
    yield from (value.fget, value.fset)


@_inside.register
def _(value: BuiltinFunctionType) -> Iterator[object]:
    yield from (value.__module__, value.__qualname__)


@_inside.register
def _(value: FunctionType) -> Iterator[object]:
    # By its globals: a decorator may have given it the name of what it wraps.
    yield from (module := value.__globals__.get("__name__", ""), value.__qualname__)
    if _is_ours(module):
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            yield from (name, *_contents(cell))
        for name in sorted(_globals_of(value.__code__)):
            yield from (name, value.__globals__.get(name))


def _contents(cell) -> Iterator[object]:
    try:
        yield cell.cell_contents
    except ValueError:  # not yet bound
        return


@_inside.register
def _(value: CodeType) -> Iterator[object]:
    yield from (value.co_code, value.co_names, value.co_consts, value.co_exceptiontable)


def _globals_of(code: CodeType) -> set[str]:
    """Names that code, and the code inside it, looks up among the globals."""
    loads = (i for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    inner = (own for own in code.co_consts if isinstance(own, CodeType))
    return {i.argval for i in loads}.union(*map(_globals_of, inner))


@_inside.register
def _(value: type) -> Iterator[object]:
    yield from (value.__module__, value.__qualname__)
    if _is_ours(value.__module__):
        yield value.__bases__
        yield {n: member for n, member in vars(value).items() if n not in OF_EVERY_CLASS}


@_inside.register
def _(value: ModuleType) -> Iterator[object]:
    yield value.__name__
    if _is_ours(value.__name__):
        yield inspect.getsource(value) if getattr(value, "__file__", None) else None
        for own in list(vars(value).values()):
            name = own.__name__ if isinstance(own, ModuleType) else getattr(own, "__module__", None)
            yield sys.modules.get(name) if isinstance(name, str) and _is_ours(name) else None


def _is_ours(module: str) -> bool:
    """Whether code is the user's own: not of Python, of this package, or installed."""
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return root not in NOT_OURS and not any(place in file for place in INSTALLED)

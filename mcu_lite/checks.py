"""What a caller may pass: kinds of things by type hints, and names that exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from reprlib import repr as short
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

SPLITS = ("retain", "forget", "test")
NUMBERS = {float: Real, bool: (bool, np.bool_)}
"""What passes for a number beside Python's own: those of NumPy."""


def checked(item: Any) -> Any:
    """Let a function, or a class's constructor, raise where an argument is not what its hint says.

    Classes are changed in place.

    Examples
    --------
    >>> @checked
    ... def wait(steps: int, by: str | None = None): ...
    >>> wait(2.5)
    Traceback (most recent call last):
    TypeError: steps must be int, got 2.5 (float)
    >>> wait(2, until=3)
    Traceback (most recent call last):
    TypeError: got an unexpected keyword argument 'until'; the call is wait(steps, by=None)
    """
    if inspect.isclass(item):
        item.__init__ = checked(item.__init__)
        return item
    signature, hints_of = inspect.signature(item), cache(get_type_hints)

    @wraps(item)
    def call(*args: Any, **kwargs: Any) -> Any:
        hints = hints_of(item)  # not earlier: a class may name itself, and names below it
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{error}; the call is {_form(item, signature)}") from None
        given = bound.arguments
        for name in filter(hints.get, given):
            for label, value in _values(signature.parameters[name], given[name]):
                if not fits(value, hints[name]):
                    raise TypeError(must_be(label, hints[name], value))
            if isinstance(given[name], np.generic):  # PyTorch wants Python's own numbers
                given[name] = given[name].item()
        return item(*bound.args, **bound.kwargs)

    return call


def must_be(name: str, hint: Any, value: Any) -> str:
    """Say in one sentence what an argument must be, and what was given."""
    allowed = re.sub(r"\b\w+\.(?=\w)", "", inspect.formatannotation(hint))
    given = " ".join(short(value).split())
    return f"{name} must be {allowed}, got {given} ({type(value).__name__})"


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of the kind that a type hint says.

    NumPy's numbers are numbers, True is no count, an array is a sequence of its numbers, text is no
    sequence of names, and a module is no function. Iterators are not consumed.
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is Callable:
        return callable(value) and (inspect.isclass(value) or not hasattr(value, "forward"))
    if kind in (Sequence, Iterable):
        if isinstance(value, str):
            return False
        value = value.tolist() if hasattr(value, "tolist") else value
    try:
        if not isinstance(value, NUMBERS.get(kind, kind)):
            return False
    except TypeError:  # Any, a variable, a protocol
        return True
    return _holds(value, kind, parts)


def _holds(value: Any, kind: type, parts: tuple) -> bool:
    """Tell whether what is inside a collection is of the kinds that its hint says."""
    if not parts or isinstance(value, Iterator):
        return True
    if issubclass(kind, Mapping):
        return all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if kind is tuple and parts[-1] is not ...:
        return len(value) == len(parts) and all(map(fits, value, parts))
    return kind not in (Sequence, Iterable, list, tuple) or all(fits(v, parts[0]) for v in value)


def _values(parameter: inspect.Parameter, given: Any) -> Iterable[tuple[str, Any]]:
    if parameter.kind is parameter.VAR_KEYWORD:
        return given.items()
    many = parameter.kind is parameter.VAR_POSITIONAL
    return [(parameter.name, value) for value in (given if many else [given])]


def _form(function: Callable, signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    signature = signature.replace(parameters=bare, return_annotation=signature.empty)
    return f"{function.__qualname__}{signature}"


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Turn the seeds, or how many, into a tuple."""
    each = tuple(range(seeds)) if isinstance(seeds, Integral) else tuple(int(s) for s in seeds)
    if not each or min(each) < 0 or len(set(each)) < len(each):
        raise ValueError(f"seeds must be one or more, none negative and none twice, got {seeds}")
    return each


def check_choice(what: str, name: str, names: Iterable[str]) -> str:
    """Return `name`, or raise a `ValueError` that lists the allowed `names`."""
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(map(repr, names))}")
    return name

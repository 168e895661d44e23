"""Results on disk by name: written atomically, checked when read, never run."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path

import pandas as pd

from mcu_lite.files import write
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack
from mcu_lite.studies.checkpoints import pack, unpack


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """Return the folder of results, made if it does not exist."""
    default = os.environ.get("MCU_LITE_CACHE") or Path.home() / ".cache" / "mcu-lite"
    folder = Path(cache or default)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"cache={str(folder)!r} cannot be written: {error}") from error
    return folder


def save(folder: Path, name: str, value: Stack | pd.DataFrame) -> None:
    """Save a stack or a table under `name`; a reader sees all of it or nothing."""
    table = isinstance(value, pd.DataFrame)
    # JSON of Python writes floats such that they are read back exactly, NaN too.
    body = json.dumps(value.to_dict("list")).encode() if table else pack(value)
    write(folder / name, hashlib.sha256(body).digest(), body)


def load(
    folder: Path, name: str, architecture: Architecture | None = None
) -> Stack | pd.DataFrame | None:
    """Return what was saved under `name`; None if nothing is there, or nothing to be read.

    The folder may be shared, so that an entry may be anybody's: it holds numbers only. A stack
    needs the architecture that it is of; without one, the entry is a table.
    """
    path = folder / name
    try:
        with path.open("rb") as file:
            digest, body = file.read(32), file.read()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        warnings.warn(f"{path} cannot be read and will be computed again: {error}", stacklevel=3)
        return None
    try:
        if hashlib.sha256(body).digest() != digest:
            raise ValueError(f"{path} has another digest than it was written with")
        if architecture is None:
            return pd.DataFrame(json.loads(body))
        return unpack(body, architecture, str(path))
    except (ValueError, RecursionError) as error:
        warnings.warn(f"{path} is damaged and will be computed again: {error}", stacklevel=3)
    path.unlink(missing_ok=True)
    return None


def meaning(source: str) -> str:
    r"""Return Python source without comments and docstrings, on which no result depends.

    Examples
    --------
    >>> print(meaning("def half(x):\n    'Halve.'\n    return x / 2  # exactly"))
    def half(x):
        return x / 2
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        holds_one = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if holds_one and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)

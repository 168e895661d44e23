"""Results on disk by name: written atomically, checked when read."""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import tempfile
import warnings
from pathlib import Path


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


def save(folder: Path, name: str, value: object) -> None:
    """Keep `value` under `name`; a reader sees all of it or nothing."""
    body = pickle.dumps(value)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        part.write(hashlib.sha256(body).digest() + body)
    os.replace(part.name, folder / name)


def load(folder: Path, name: str) -> object | None:
    """Return what was saved under `name`; None if nothing was, or if it is damaged."""
    path = folder / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() == digest:
        return pickle.loads(body)
    warnings.warn(f"{path} is damaged and will be computed again", stacklevel=3)
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

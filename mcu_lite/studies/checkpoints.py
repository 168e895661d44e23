"""Models, curves and tables as safetensors: numbers with names, and nothing that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path as File

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as numpy_load
from safetensors.numpy import save as numpy_save
from safetensors.torch import load as torch_load
from safetensors.torch import save as torch_save
from torch import Tensor, nn

from mcu_lite.files import write
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import CURVES, Path

FORMAT = "mcu-lite 1"
WRONG = (SafetensorError, ValueError, LookupError, TypeError, RecursionError)
"""What reading a file may raise that is not what it should be."""
OF_A_STACK = ("rows", "initial", "diverged", "spread")
OF_A_PATH = ("control", "diverged")


def save_models(models: Stack | Path, file: str | os.PathLike) -> None:
    """Write a stack, with its origin, or a path; a reader sees all of it or nothing.

    Parameters
    ----------
    models : Stack or Path
        Of it only what is trained is kept: a frozen backbone is not, nor what batch norm
        recomputes.
    file : path
        Its folder must exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_models(a, f"{folder}/npo.safetensors")
    ...     again = mcu.load_models(f"{folder}/npo.safetensors", a.architecture)
    >>> torch.equal(again.rows, a.rows)
    True
    """
    write(File(file), pack(models))


def load_models(file: str | os.PathLike, architecture: Architecture | nn.Module) -> Stack | Path:
    """Read what `save_models` wrote; it arrives on the CPU.

    Parameters
    ----------
    file : path
    architecture : Architecture or nn.Module
        What the rows are parameters of, with its frozen ones.

    Raises
    ------
    ValueError
        For any other file: one that is damaged or a pickle, of another architecture, or with
        numbers that are missing, misshapen, NaN or infinite. The message begins with its name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mcu.save_models(path, f"{folder}/path.safetensors")
    ...     again = load_models(f"{folder}/path.safetensors", mcu.mlp())
    >>> again.kind, torch.equal(again.control, path.control)
    ('bezier', True)
    """
    if isinstance(architecture, nn.Module):
        architecture = Architecture(architecture)
    try:
        content = File(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    return unpack(content, architecture, str(file))


def pack(models: Stack | Path) -> bytes:
    """Return the bytes of a checkpoint."""
    layout = [[n, *s] for n, s in zip(models.architecture.names, models.architecture.shapes)]
    head = {"format": FORMAT, "layout": json.dumps(layout)}
    if isinstance(models, Path):
        parts = {f: _plain(getattr(models, f)) for f in OF_A_PATH}
        return torch_save(parts, head | {"curve": models.kind, "objective": models.objective})
    parts, prefix = {}, ""
    while models is not None:
        own = {f: getattr(models, f) for f in OF_A_STACK}
        parts |= {prefix + f: _plain(v) for f, v in own.items() if v is not None}
        head[prefix + "label"] = models.label
        models, prefix = models.origin, prefix + "origin."
    return torch_save(parts, head)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def unpack(content: bytes, architecture: Architecture, name: str) -> Stack | Path:
    """Return the stack or path in the bytes of a checkpoint that is called `name` in errors."""
    try:
        parts, head = torch_load(content), _head(content)
        layout = [[n, *s] for n, s in zip(architecture.names, architecture.shapes)]
        if _json(head, "layout") != layout:
            raise ValueError(
                f"it holds models of another architecture: {head['layout'][:200]}, "
                f"expected {json.dumps(layout)[:200]}"
            )
        path = "control" in parts
        models = (_path if path else _stack)(parts, head, architecture)
        if parts:
            raise ValueError(f"it also holds {', '.join(sorted(parts))}")
        return models
    except WRONG as error:
        raise ValueError(
            f"{name} is no checkpoint of these models: {_why(content, error)}"
        ) from None


def _why(content: bytes, error: Exception) -> str:
    if content[:1] == b"\x80" or content[:2] == b"PK":
        return "it looks like a pickle, which could run anything and is not opened"
    return str(error)


def _head(content: bytes) -> dict[str, str]:
    """What is written about the tensors, in a file whose form has been checked."""
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    if head.get("format") != FORMAT:
        raise ValueError(f"its format is {head.get('format')!r}, expected {FORMAT!r}")
    return head


def _json(head: dict[str, str], key: str) -> list:
    if key not in head:
        raise ValueError(f"it lacks {key!r} in its header")
    return json.loads(head[key])


def _path(parts: dict[str, Tensor], head: dict, architecture: Architecture) -> Path:
    kind = head.get("curve")
    if kind not in CURVES:
        raise ValueError(f"its curve is {kind!r}, known are {', '.join(map(repr, CURVES))}")
    b = parts["control"].shape[1] if parts["control"].ndim == 3 else -1
    control = _taken(parts, "control", (None, b, architecture.size))
    diverged = _taken(parts, "diverged", (b,), torch.bool)
    if len(control) < 2 or (kind == "linear" and len(control) != 2):
        raise ValueError(f"its {kind} curve has {len(control)} control points")
    if not control[:, ~diverged].isfinite().all():
        raise ValueError("control holds NaN or infinite weights in a curve that did not diverge")
    return Path(kind, control, architecture, diverged, head.get("objective", ""))


def _stack(
    parts: dict[str, Tensor], head: dict, architecture: Architecture, prefix: str = ""
) -> Stack:
    b = len(parts[prefix + "rows"]) if prefix + "rows" in parts else None
    rows = _taken(parts, prefix + "rows", (b, architecture.size))
    diverged = _taken(parts, prefix + "diverged", (b,), torch.bool)
    shapes = {"initial": tuple(rows.shape), "spread": (b, 2)}
    own = {
        f: _taken(parts, prefix + f, shape) for f, shape in shapes.items() if prefix + f in parts
    }
    if (initial := own.get("initial")) is not None and not initial.isfinite().all():
        raise ValueError(f"{prefix}initial holds NaN or infinite weights")
    origin = None
    if any(n.startswith(prefix + "origin.") for n in parts):
        origin = _stack(parts, head, architecture, prefix + "origin.")
        if len(origin) != b:
            raise ValueError(f"{prefix}origin has {len(origin)} models, expected {b}")
    label = head.get(prefix + "label", "model")
    return Stack(architecture, rows, label, origin=origin, diverged=diverged, **own)


def _taken(
    parts: dict[str, Tensor], name: str, shape: tuple, dtype: torch.dtype | None = None
) -> Tensor:
    """Take a tensor out of the parts if it is what it should be."""
    if name not in parts:
        raise ValueError(f"it lacks {name!r}")
    tensor = parts.pop(name)
    fits = len(shape) == tensor.ndim and all(
        wanted in (None, given) for wanted, given in zip(shape, tensor.shape)
    )
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {wanted}")
    if tensor.dtype != dtype if dtype else not tensor.is_floating_point():
        raise ValueError(f"{name} has type {tensor.dtype}, expected {dtype or 'floating point'}")
    return tensor


def pack_table(table: pd.DataFrame) -> bytes:
    """Return the bytes of a table of numbers and strings; its index is not kept."""
    parts, words = {}, {}
    for column in table:
        values = table[column].to_numpy()
        if not pd.api.types.is_numeric_dtype(values.dtype):
            values, found = pd.factorize(values, use_na_sentinel=False)
            if wrong := [word for word in found if not isinstance(word, str)]:
                raise ValueError(
                    f"column {column!r} of table must hold numbers, or strings and none missing, "
                    f"got {wrong[0]!r}"
                )
            words[column] = list(found)
        parts[column] = values
    return numpy_save(
        parts, {"format": FORMAT, "columns": json.dumps(list(table)), "words": json.dumps(words)}
    )


def unpack_table(content: bytes, name: str) -> pd.DataFrame:
    """Return the table in the bytes of `pack_table`."""
    try:
        parts, head = numpy_load(content), _head(content)
        columns, words = _json(head, "columns"), _json(head, "words")
        table = {c: parts[c] for c in columns}
        for column, known in words.items():
            table[column] = pd.Index(known, dtype="str").take(table[column])
        return pd.DataFrame(table)
    except (*WRONG, AttributeError) as error:
        raise ValueError(f"{name} is no table: {_why(content, error)}") from None

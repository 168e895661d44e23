"""Models and curves as safetensors: numbers with names, and nothing that runs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path as File

import torch
from safetensors import SafetensorError
from safetensors.torch import load as torch_load
from safetensors.torch import save as torch_save
from torch import Tensor, nn

from mcu_lite.checks import check_choice
from mcu_lite.files import write
from mcu_lite.models.architecture import Architecture
from mcu_lite.models.stack import Stack
from mcu_lite.paths.curves import CURVES, Path

FORMAT = "mcu-lite 3"
PICKLES = (b"PK", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
READ_ERRORS = (SafetensorError, ValueError, LookupError, TypeError, RuntimeError)
"""What reading a file may raise that is not what it should be."""
OF_A_STACK = ("rows", "initial", "diverged", "spread")


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
    OSError
        If the file is not there or cannot be read.
    ValueError
        For any other file: one that is damaged or a pickle, of another architecture, dtype
        or frozen part, or with rows that are missing, misshapen, NaN or infinite.
        The message begins with its name.

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
    return unpack(File(file).read_bytes(), architecture, str(file))


def pack(models: Stack | Path) -> bytes:
    """Return the bytes of a checkpoint."""
    head = {"format": FORMAT} | _belongs(models.architecture)
    if isinstance(models, Path):
        head |= {"curve": models.kind, "objective": models.objective}
        return torch_save(_parts(models, "control", "diverged"), head)
    parts, prefix = {}, ""
    while models is not None:
        parts |= {prefix + f: v for f, v in _parts(models, *OF_A_STACK).items()}
        head[prefix + "label"] = models.label
        models, prefix = models.origin, prefix + "origin."
    return torch_save(parts, head)


def _parts(models: Stack | Path, *names: str) -> dict[str, Tensor]:
    own = {f: getattr(models, f) for f in names if getattr(models, f) is not None}
    return {f: v.detach().to("cpu", copy=True).contiguous() for f, v in own.items()}


def unpack(content: bytes, architecture: Architecture, name: str) -> Stack | Path:
    """Return the stack or path in the bytes of a checkpoint that is called `name` in errors."""
    try:
        # The length of a header, which is JSON, may begin with the byte of a pickle.
        if content[8:9] != b"{" and content[:2] in PICKLES:
            raise ValueError("it looks like a pickle, which could run anything and is not opened")
        parts = torch_load(content)
        size = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        if head.get("format") != FORMAT:
            raise ValueError(f"its format is {head.get('format')!r}, expected {FORMAT!r}")
        read = _path if "control" in parts else _stack
        _check_belongs(head, parts["control" if read is _path else "rows"], architecture)
        return read(parts, head, architecture)
    except READ_ERRORS as error:
        lacking = "it lacks " if isinstance(error, KeyError) else ""
        raise ValueError(f"{name} is no checkpoint of these models: {lacking}{error}") from None


def _belongs(architecture: Architecture) -> dict[str, str]:
    """What a checkpoint must share with the module into which it is loaded."""
    module, layout = architecture.module, zip(architecture.names, architecture.shapes)
    every = dict(module.named_parameters()) | dict(module.named_buffers())
    frozen = hashlib.sha256()
    for name in sorted(every.keys() - set(architecture.names)):
        tensor = every[name].detach().cpu().contiguous()
        frozen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        frozen.update(tensor.flatten().view(torch.uint8).numpy())
    layout = json.dumps([[name, *shape] for name, shape in layout])
    return {"layout": layout, "layers": str(module), "frozen": frozen.hexdigest()}


def _check_belongs(head: dict[str, str], rows: Tensor, architecture: Architecture) -> None:
    own, dtype = _belongs(architecture), architecture.row(architecture.module).dtype
    names = {"layout": "architecture", "layers": "module", "frozen": "backbone, frozen part"}
    for part, what in names.items():
        if head[part] != own[part]:
            raise ValueError(f"it is of another {what}: {head[part][:200]}, not {own[part][:200]}")
    if rows.dtype != dtype:
        raise ValueError(f"its rows are {rows.dtype}, the module's parameters are {dtype}")


def _path(parts: dict[str, Tensor], head: dict, architecture: Architecture) -> Path:
    control, diverged = parts["control"], parts["diverged"]
    if len(control) < 2:
        raise ValueError(f"control must hold both ends of a curve, got {tuple(control.shape)}")
    for rows in control:  # each is checked as a stack is
        Stack(architecture, rows, diverged=diverged)
    kind = check_choice("curve", head["curve"], CURVES)
    return Path(kind, control, architecture, diverged, head["objective"])


def _stack(
    parts: dict[str, Tensor], head: dict, architecture: Architecture, prefix: str = ""
) -> Stack:
    own = {f: parts[prefix + f] for f in OF_A_STACK if prefix + f in parts}
    origin = prefix + "origin."
    if origin + "rows" in parts:
        own["origin"] = _stack(parts, head, architecture, origin)
    return Stack(architecture, label=head[prefix + "label"], **own)

"""Published data: fetched, checked against their digest, unpacked, read."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

import numpy as np

from mcu_lite.files import write

BINARY = {
    "cifar10": ("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar100": ("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),
}
"""Archives of CIFAR in numbers, as its authors publish them; their Python version is a pickle."""
Pool = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Images (n, C, H, W) of 0..255 and classes (n,) to train on, then those to test on."""


def data_folder(folder: str | os.PathLike | None = None) -> Path:
    """Where data from outside are kept."""
    given = folder or os.environ.get("MCU_LITE_DATA")
    return Path(given) if given else Path.home() / ".cache" / "mcu-lite-data"


def cifar(name: str, folder: str | os.PathLike | None) -> Pool:
    """Read the version in numbers: a byte (CIFAR-100: two) for the class, 3,072 for the image."""
    from torchvision.datasets import CIFAR10

    archive, digest = BINARY[name]
    root = data_folder(folder)
    within = root / ("cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary")
    if not within.is_dir():
        extract(fetch(CIFAR10.url.rpartition("/")[0] + "/" + archive, root / archive, digest), root)
    batches = [f"data_batch_{i}.bin" for i in range(1, 6)]
    if name == "cifar10":
        return *_records(within, batches, 1, 10), *_records(within, ["test_batch.bin"], 1, 10)
    return *_records(within, ["train.bin"], 2, 100), *_records(within, ["test.bin"], 2, 100)


def _records(
    folder: Path, names: list[str], before: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    images, truth = [], []
    for file in (folder / name for name in names):
        content = np.frombuffer(_bytes(file), np.uint8)
        if not len(content) or len(content) % (before + 3072):
            raise ValueError(f"{file} has {len(content)} bytes, no multiple of {before + 3072}")
        lines = content.reshape(-1, before + 3072)
        if lines[:, before - 1].max() >= classes:
            raise ValueError(f"{file} has a class beyond 0..{classes - 1}")
        truth.append(lines[:, before - 1])
        images.append(lines[:, before:].reshape(-1, 3, 32, 32))
    return np.concatenate(images), np.concatenate(truth).astype(np.int64)


def idx(file: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes: 0 0 8, the number of axes, their lengths, the data."""
    try:
        content = gzip.decompress(_bytes(file))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is no gzip file: {error}") from error
    axes = content[3] if len(content) > 3 else 0
    shape = tuple(np.frombuffer(content, ">u4", axes, 4)) if len(content) > 4 * axes + 4 else ()
    data = content[4 * axes + 4 :]
    if content[:3] != b"\0\0\x08" or not shape or len(data) != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{file} is no IDX file of bytes, or it is cut off")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error


DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
"""What the readers of archives raise at what they cannot read."""


def fetch(address: str, file: str | os.PathLike, digest: str) -> os.PathLike:
    """Download a file unless it is there, and let it pass only with the digest that was published.

    Parameters
    ----------
    address : str
    file : path
        Where to keep it. One that is there is checked as well.
    digest : str
        "sha256:..." or, where its publisher gives no other, "md5:...".

    Raises
    ------
    ValueError
        If the digest is another, or the address cannot be reached; nothing is left then.
    """
    file = Path(file)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                content = answer.read()
        except (OSError, ValueError, HTTPException) as error:
            raise ValueError(
                f"{file.name} cannot be downloaded from {address} ({error}); on a machine without "
                f"network, copy it to {file}"
            ) from error
        check(content, digest, address)
        write(file, content)
    check(file.read_bytes(), digest, str(file))
    return file


def check(content: bytes, digest: str, name: str) -> None:
    """Raise a `ValueError` unless the content has this digest."""
    kind, _, wanted = digest.partition(":")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != wanted:
        raise ValueError(f"{name} has the {kind} digest {found}, but {wanted} was published")


def extract(archive: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Unpack a tar or zip archive, every member of which must stay inside the folder.

    What lies at the top of the archive appears in the folder whole or not at all. A folder of its
    name that is there already is kept as it is.

    Raises
    ------
    ValueError
        If a member would be written elsewhere (an absolute name, "..", a link that leads out), is
        a device, or the archive cannot be read to its end. Then nothing is unpacked.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, suffix=".part") as part:
            _unpack(archive, Path(part))
            for entry in Path(part).iterdir():
                _move(entry, folder / entry.name)
    except (*DAMAGED, RuntimeError) as error:  # RuntimeError: a zip archive with a password
        raise ValueError(f"{archive} is not unpacked: {error}") from error


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _inside(member.filename, folder)
            opened.extractall(folder)
    else:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
            # The checksum of gzip stands behind what a tar archive is read to.
            while opened.fileobj.read(2**20):
                pass


def _move(entry: Path, target: Path) -> None:
    try:
        os.replace(entry, target)
    except OSError:
        # Another process may have unpacked the same in the meantime.
        if not target.is_dir():
            raise


def _inside(name: str, folder: Path) -> None:
    # ZipFile would drop "..", and so write to a place that nobody asked for.
    if Path(name).is_absolute() or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise zipfile.BadZipFile(f"{name!r} would be written outside the folder")

"""Files that are written whole, and files from outside that are not trusted."""

from __future__ import annotations

import hashlib
import lzma
import os
import secrets
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
"""What the readers of archives raise at what they cannot read."""


def write(file: Path, *parts: bytes) -> None:
    """Write a file; a reader sees all of it or nothing."""
    # Not of `tempfile`, whose files nobody else may read: a folder of results may be shared.
    part = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as opened:
            opened.writelines(parts)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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

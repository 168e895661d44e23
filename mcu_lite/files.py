"""Files that are written whole, and files from outside that are not trusted."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

BLOCK = 2**20


def write(file: Path, *parts: bytes) -> None:
    """Write a file; a reader sees all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        try:
            part.writelines(parts)
        except BaseException:
            os.unlink(part.name)
            raise
    os.replace(part.name, file)


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
        except (OSError, ValueError) as error:
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

    Raises
    ------
    ValueError
        If a member would be written elsewhere (an absolute name, "..", a link that leads out), is
        a device, or the archive cannot be read. Then nothing is unpacked.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    _inside(member.filename, folder)
                opened.extractall(folder)
        else:
            with tarfile.open(archive) as opened:
                for member in opened:
                    tarfile.data_filter(member, str(folder))
                opened.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{archive} is not unpacked: {error}") from error


def _inside(name: str, folder: Path) -> None:
    # ZipFile would drop "..", and so write to a place that nobody asked for.
    if Path(name).is_absolute() or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise zipfile.BadZipFile(f"{name!r} would be written outside the folder")

"""Downloads are what was published, and archives stay in their folder."""

import hashlib
import io
import os
import stat
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest

from mcu_lite.files import write
from mcu_lite.studies.conditions import Setting
from mcu_lite.studies.results import ResultStore
from mcu_lite.tasks.archives import extract, fetch

DATA = b"four score and seven"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def address(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    return source.as_uri()


def test_a_download_with_its_published_digest_passes(address, tmp_path):
    file = fetch(address, tmp_path / "below" / "got", DIGEST)
    assert file.read_bytes() == DATA
    assert fetch("file:///nowhere", file, f"md5:{hashlib.md5(DATA).hexdigest()}") == file


def test_another_content_is_refused_and_not_kept(address, tmp_path):
    with pytest.raises(ValueError, match="digest .* was published"):
        fetch(address, tmp_path / "got", "sha256:" + "0" * 64)
    assert not (tmp_path / "got").exists()


def test_a_file_that_was_exchanged_later_is_refused(address, tmp_path):
    file = fetch(address, tmp_path / "got", DIGEST)
    file.write_bytes(DATA[:-1])
    with pytest.raises(ValueError, match="digest"):
        fetch(address, file, DIGEST)


def test_without_network_the_error_says_where_to_put_the_file(tmp_path):
    with pytest.raises(ValueError, match="got cannot be downloaded.*copy it to .*got"):
        fetch((tmp_path / "missing").as_uri(), tmp_path / "got", DIGEST)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"no HTTP\r\n"])
def test_a_connection_that_breaks_off_is_no_download(head, tmp_path):
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(head + DATA)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(ValueError, match="got cannot be downloaded from http"):
            fetch(f"http://127.0.0.1:{server.server_port}/", tmp_path / "got", DIGEST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_allows(mask, tmp_path):
    before = os.umask(mask)
    try:
        write(tmp_path / "got", DATA[:4], DATA[4:])
        (tmp_path / "plain").write_bytes(DATA)
    finally:
        os.umask(before)
    got, plain = (stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("got", "plain"))
    assert got == plain == 0o666 & ~mask and (tmp_path / "got").read_bytes() == DATA


def test_what_is_not_written_whole_is_not_there(tmp_path):
    (tmp_path / "got").write_bytes(DATA)

    def parts():
        yield DATA[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "got", *parts())
    with pytest.raises(TypeError):
        write(tmp_path / "got", DATA[:4], None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write(tmp_path / "folder", DATA)
    assert {p.name for p in tmp_path.iterdir()} == {"got", "folder"}
    assert (tmp_path / "got").read_bytes() == DATA


def test_a_result_that_may_not_be_read_is_computed_again(tmp_path, monkeypatch):
    results = ResultStore(Setting(), tmp_path)
    results.save("entry", pd.DataFrame({"value": [1.0]}))
    assert results.load("entry").value.tolist() == [1.0]
    assert results.load("another") is None

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="entry cannot be read"):
        patch.setattr(Path, "open", refuse)  # The user of the tests may read everything.
        assert results.load("entry") is None
    assert (tmp_path / "entry").exists()


def tar(path, name, **changes):
    with tarfile.open(path, "w:gz") as made:
        fine = tarfile.TarInfo("fine")
        fine.size = len(DATA)
        made.addfile(fine, io.BytesIO(DATA))
        member = tarfile.TarInfo(name)
        for key, value in changes.items():
            setattr(member, key, value)
        made.addfile(member, io.BytesIO(b""))
    return path


OUTSIDE = {
    "above": ("../out", {}),
    "absolute above": ("/../../out", {}),
    "a link": ("link", {"type": tarfile.SYMTYPE, "linkname": "../out"}),
    "an absolute link": ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
    "a device": ("device", {"type": tarfile.CHRTYPE}),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_a_tar_that_leaves_its_folder_is_refused_whole(what, tmp_path):
    name, changes = OUTSIDE[what]
    archive = tar(tmp_path / "a.tar.gz", name, **changes)
    with pytest.raises(ValueError, match="a.tar.gz is not unpacked"):
        extract(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir()) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../out", "/out", "below/../../out"])
def test_a_zip_that_leaves_its_folder_is_refused_whole(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("fine", DATA)
        made.writestr(name, DATA)
    with pytest.raises(ValueError, match="outside the folder"):
        extract(tmp_path / "a.zip", tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir()) and not (tmp_path / "out").exists()


def test_honest_archives_are_unpacked(tmp_path):
    extract(tar(tmp_path / "a.tar.gz", "below/other"), tmp_path / "folder")
    assert (tmp_path / "folder" / "fine").read_bytes() == DATA
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("below/fine", DATA)
    extract(tmp_path / "a.zip", tmp_path / "other")
    assert (tmp_path / "other" / "below" / "fine").read_bytes() == DATA


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(ValueError, match="a.tar.gz is not unpacked"):
        extract(tmp_path / "a.tar.gz", tmp_path / "folder")


NOISE = bytes(hashlib.sha256(str(i).encode()).digest()[0] for i in range(60_000))
"""Cannot be compressed, so that an archive is about as long."""


def two_members(path):
    """An archive of two files in a folder, as long as they are."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name in ("all/first", "all/second"):
                made.writestr(name, NOISE)
        return path
    with tarfile.open(path, "w:" + path.suffix[1:]) as made:
        for name in ("all/first", "all/second"):
            member = tarfile.TarInfo(name)
            member.size = len(NOISE)
            made.addfile(member, io.BytesIO(NOISE))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("how", ["zeros", "flipped", "cut"])
def test_of_an_archive_with_a_damaged_end_nothing_is_unpacked(suffix, how, tmp_path):
    archive = two_members(tmp_path / f"a{suffix}")
    whole = archive.read_bytes()
    place = len(whole) * 3 // 4
    damaged = {
        "zeros": whole[:place] + bytes(2000) + whole[place + 2000 :],
        "flipped": whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :],
        "cut": whole[:place],
    }
    archive.write_bytes(damaged[how])
    with pytest.raises(ValueError, match=f"a{suffix} is not unpacked"):
        extract(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())
    archive.write_bytes(whole)
    extract(archive, tmp_path / "folder")
    unpacked = sorted(p for p in (tmp_path / "folder").rglob("*") if p.is_file())
    assert [p.read_bytes() == NOISE for p in unpacked] == [True, True]
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["all"]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_what_is_interrupted_is_not_taken_as_complete(suffix, tmp_path, monkeypatch):
    archive = two_members(tmp_path / f"a{suffix}")
    seen = []

    def stop(*_):
        """Between two members: what lies there would stay if the process were killed."""
        seen.extend(p for p in (tmp_path / "folder").rglob("*") if p.is_file())
        raise KeyboardInterrupt

    reader = zipfile.ZipFile if suffix == ".zip" else tarfile.TarFile
    name = "_extract_member" if suffix == ".zip" else "makefile"
    first = getattr(reader, name)
    calls = iter([first, stop])
    monkeypatch.setattr(reader, name, lambda *a, **k: next(calls)(*a, **k))
    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / "folder")
    assert seen and all("all" != p.relative_to(tmp_path / "folder").parts[0] for p in seen)
    assert not (tmp_path / "folder" / "all").exists()


def test_a_folder_that_is_there_is_not_mixed_with_another(tmp_path):
    archive = two_members(tmp_path / "a.zip")
    (tmp_path / "folder" / "all").mkdir(parents=True)
    (tmp_path / "folder" / "all" / "third").write_bytes(DATA)
    extract(archive, tmp_path / "folder")
    assert [p.name for p in (tmp_path / "folder").rglob("*")] == ["all", "third"]


def test_an_archive_with_a_password_is_named(tmp_path):
    archive = two_members(tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    for place in (6, content.index(b"PK\1\2") + 8):  # the flags: encrypted
        content[place] |= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="a.zip is not unpacked.*password"):
        extract(archive, tmp_path / "folder")

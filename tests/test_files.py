"""Downloads are what was published, and archives stay in their folder."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from mcu_lite.files import extract, fetch

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

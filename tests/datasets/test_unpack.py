"""Archives: every way out of the folder, every link and bomb is refused, and nothing half-done stays."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import unpack as module
from kpl_lib.datasets.unpack import unpack

GOOD = {"set/a.png": b"a" * 10, "set/sub/b é.png": b"b", "./note.txt": b""}


def make_zip(path, members, change=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            archive.writestr(info, content)
    return path


def make_tar(path, members, change=None, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_files_arrive_whole_with_plain_permissions(tmp_path, mode):
    def wild(info):
        info.mode = 0o4777

    path = tmp_path / "archive"
    make_zip(path, GOOD) if mode == "zip" else make_tar(path, GOOD, wild, mode)
    made = unpack(path, tmp_path / "out")
    assert [entry.name for entry in made] == ["note.txt", "set"]
    found = {
        str(p.relative_to(tmp_path / "out")): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert found == {name.removeprefix("./"): content for name, content in GOOD.items()}
    assert not (tmp_path / "out" / "set" / "a.png").stat().st_mode & (stat.S_ISUID | 0o111)


ESCAPES = [
    "../evil",
    "a/../../evil",
    "/evil",
    "a/..",
    "C:/evil",
    "..\\evil",
    "a\\b",
    "",
    ".",
    "a/" + "x" * 300,
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_paths_out_of_the_folder_are_refused_before_anything_is_written(tmp_path, make, name):
    path = make(tmp_path / "archive", {"fine.txt": b"x", name: b"evil"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="archive: ") as caught:
        unpack(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "out"])


LINKS = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.GNUTYPE_SPARSE,
)


@pytest.mark.parametrize("kind", LINKS[:5])
def test_links_and_devices_in_tar_are_refused(tmp_path, kind):
    def link(info):
        if info.name == "way":
            info.type, info.linkname, info.size = kind, "/etc", 0

    path = make_tar(tmp_path / "archive.tar", {"way": b"", "way/evil": b"x"}, link, "w")
    with pytest.raises(InputError, match="'way', a link or a device"):
        unpack(path, tmp_path / "out")


def test_links_and_passwords_in_zip_are_refused(tmp_path):
    def link(info):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(InputError, match="a link or a device"):
        unpack(make_zip(tmp_path / "a.zip", {"way": b"/etc"}, link), tmp_path / "out")
    path = make_zip(tmp_path / "b.zip", {"secret": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="needs a password"):
        unpack(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/b", "1")
        archive.writestr("a/./b", "2")
    with pytest.raises(InputError, match=r"a\.zip: holds .* twice"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("a/b", "2")
    with pytest.raises(InputError, match=r"b\.zip: cannot be unpacked"):
        unpack(tmp_path / "b.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused_without_being_unpacked(tmp_path, make, monkeypatch):
    monkeypatch.setattr(module, "FREE_RATIO", 1_000_000)
    path = make(tmp_path / "bomb", {f"{i}": bytes(400_000) for i in range(4)})
    assert path.stat().st_size * module.MAX_RATIO < 1_600_000
    with pytest.raises(InputError, match="a decompression bomb"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tar_bomb_is_refused_while_it_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_RATIO", 1_000_000)
    monkeypatch.setattr(module, "_check", lambda *_: pytest.fail("the whole archive was read first"))
    path = make_tar(tmp_path / "bomb", {f"{i}": bytes(400_000) for i in range(4)})
    with pytest.raises(InputError, match="a decompression bomb"):
        unpack(path, tmp_path / "out")


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    path = make_zip(tmp_path / "lie.zip", {"a": bytes(50_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((50_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"lie\.zip: "):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_every_cut_of_an_archive_is_refused_or_whole(tmp_path):
    content = {f"{i}.bin": os.urandom(300) for i in range(5)}
    for make in (make_zip, make_tar):
        whole = make(tmp_path / "whole", content).read_bytes()
        for length in [*range(0, len(whole) - 40, 131), len(whole) - 40]:
            path = tmp_path / "cut"
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match="cut: "):
                unpack(path, tmp_path / "out")
            assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_flipped_byte_is_noticed(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": os.urandom(1000)})
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: broken archive"):
        unpack(path, tmp_path / "out")


def test_what_is_there_is_not_overwritten_and_leftovers_go(tmp_path):
    path = make_zip(tmp_path / "a.zip", GOOD)
    (tmp_path / "out" / (module.LEFTOVER + "old") / "x").mkdir(parents=True)
    unpack(path, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["note.txt", "set"]
    (tmp_path / "out" / "set" / "a.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"note\.txt: is there already"):
        unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "set" / "a.png").read_bytes() == b"mine"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", GOOD)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(InputError, match=r"cannot be unpacked .No space left"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda _: os.terminal_size((0, 0)) and type("U", (), {"free": 1})
    )
    with pytest.raises(InputError, match="are needed"):
        unpack(path, tmp_path / "out")


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>sign in</html>")
    with pytest.raises(InputError, match="neither a zip nor a tar"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(InputError, match="a folder, no archive"):
        unpack(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="holds no file"):
        unpack(make_zip(tmp_path / "b.zip", {}), tmp_path / "out")

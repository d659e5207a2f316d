"""`kpl datasets get`: resumed, checked before use, offline in one line, and steps where a program may not."""

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import dataset_layouts as layouts
import pytest
from local_servers import Server, serving

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import card, load_dataset
from kpl_lib.datasets import download as downloading
from kpl_lib.datasets import get as dataset_get
from kpl_lib.datasets.base import Archive
from kpl_lib.datasets.download import download, verify
from kpl_lib.datasets.get import get

CONTENT = os.urandom(3_000_000)


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


def offering(**files):
    """A server with these files, by name, to be served."""
    server = Server()
    for name, content in files.items():
        server.add(f"/{name}", content)
    return serving(server)


@pytest.fixture
def one_try(monkeypatch):
    """A connection that breaks is not taken up again."""
    monkeypatch.setattr(downloading, "PAUSES", ())


@pytest.fixture
def server():
    with offering(file=CONTENT) as server:
        yield server


RIGHT = md5(CONTENT)


def fetch(server, folder, checksum=RIGHT):
    return download(server.address + "/file", folder / "file.bin", checksum, progress=False)


def test_a_file_is_fetched_once(server, tmp_path):
    for _ in range(2):
        assert fetch(server, tmp_path / "new").read_bytes() == CONTENT
    assert server.sent("/file") == [(0, len(CONTENT))] and len(server.asked) == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.bin"]


def test_a_half_download_goes_on_after_its_last_byte(server, tmp_path, one_try):
    server.files["/file"].stop = 1_200_000
    with pytest.raises(InputError, match="repeat the command to go on"):
        fetch(server, tmp_path)
    half = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < half <= 1_200_000 and not (tmp_path / "file.bin").exists()
    server.files["/file"].stop = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.sent("/file")[1] == (half, len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_download_that_is_killed_goes_on(server, tmp_path):
    server.files["/file"].hold = 2_000_000
    code = f"""from kpl_lib.datasets.download import download
download({server.address + "/file"!r}, {str(tmp_path / "file.bin")!r}, {RIGHT!r}, progress=False)"""
    part, child = tmp_path / "file.bin.part", subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 30
    while (not part.exists() or part.stat().st_size < 1_000_000) and time.monotonic() < end:
        time.sleep(0.02)
    child.kill()
    child.wait()
    server.files["/file"].hold = None
    assert not (tmp_path / "file.bin").exists()
    half = part.stat().st_size
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert half >= 1_000_000 and server.sent("/file")[-1] == (half, len(CONTENT))


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    server.files["/file"].ranges = False
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_used_and_a_foreign_one_is_thrown_away(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    (tmp_path / "file.bin").unlink()
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="thrown away"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_never_gets_the_name(server, tmp_path):
    with pytest.raises(InputError, match=r"the checksum is not md5:.*thrown away, repeat") as caught:
        fetch(server, tmp_path, md5(b"other"))
    assert list(tmp_path.iterdir()) == [] and "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_answer_that_is_no_file(server, tmp_path, status):
    server.files["/file"].status = status
    with pytest.raises(InputError, match=f"the server answers {status}; download it by hand"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_offline_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot reach 127\.0\.0\.1; go online") as caught:
        download("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", md5(b""), progress=False)
    assert "\n" not in str(caught.value)


def test_folders_and_disks_that_cannot_take_it(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="check disk and permissions"):
        fetch(server, tmp_path / "file")
    monkeypatch.setattr(
        "kpl_lib.datasets.download.shutil.disk_usage", lambda _: os.terminal_size((1, 1)) and Full
    )
    with pytest.raises(InputError, match=r"0\.00 GB are needed"):
        fetch(server, tmp_path)


class Full:
    free = 10


def test_verify_names_both_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    verify(tmp_path / "a", md5(b"x").replace("md5:", "md5:").upper().replace("MD5", "md5"))
    verify(tmp_path / "a", f"sha256:{hashlib.sha256(b'x').hexdigest()}")
    with pytest.raises(InputError, match="its md5 is 9dd4e461268c8034f5c8564e155c67a6, not 0"):
        verify(tmp_path / "a", "md5:0")


def zipped(folder):
    """The files of a folder as the bytes of a zip archive."""
    path = folder.parent / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path.read_bytes()


@pytest.fixture
def malaria(tmp_path, monkeypatch):
    """A source of the malaria set on this machine, and the folder it goes to."""
    source = layouts.malaria(tmp_path / "source")
    (source / "cell_images" / "more.bin").write_bytes(CONTENT)
    content = zipped(source)
    with offering(cells=content) as server:
        archive = Archive("cell_images.zip", server.address + "/cells", md5(content))
        facts = replace(card("malaria"), archives=(archive,))
        monkeypatch.setattr(dataset_get, "card", lambda name: facts)
        yield server, tmp_path / "data"


def test_get_downloads_checks_unpacks_and_loads(malaria):
    server, root = malaria
    done = get("malaria", root, progress=False)
    assert len(done.dataset) == 4 and "4 images of malaria (published: 27,558)" in done.text
    assert sorted(p.name for p in root.iterdir()) == ["cell_images"]
    assert "nothing was downloaded" in get("malaria", root, progress=False).text
    assert len(server.asked) == 1


def test_get_goes_on_by_itself_after_broken_connections(malaria, monkeypatch):
    waited = []
    monkeypatch.setattr(downloading.time, "sleep", waited.append)
    server, root = malaria
    server.files["/cells"].resets = [700_000, 1_600_000]
    assert len(get("malaria", root, progress=False).dataset) == 4
    assert waited == [downloading.PAUSES[0]] * 2 and len(server.sent("/cells")) == 3
    assert server.twice("/cells") <= 2 * downloading.BLOCK


def test_get_goes_on_after_a_broken_connection(malaria, one_try):
    server, root = malaria
    server.files["/cells"].stop = 700_000
    with pytest.raises(InputError, match="go on"):
        get("malaria", root, progress=False)
    with pytest.raises(InputError, match="none of the class folders"):
        load_dataset("malaria", root)
    server.files["/cells"].stop = None
    assert len(get("malaria", root, progress=False).dataset) == 4
    assert server.asked[1].start > 0


def test_get_stopped_between_two_archives_goes_on(tmp_path, monkeypatch):
    base = layouts.pets(tmp_path / "source") / "oxford-iiit-pet"
    packed = {}
    for part in ("images", "annotations"):
        (tmp_path / part).mkdir()
        (base / part).rename(tmp_path / part / part)
        packed[part] = zipped(tmp_path / part)
    with offering(**packed) as server:
        archives = tuple(
            Archive(f"{part}.zip", f"{server.address}/{part}", md5(content), "oxford-iiit-pet")
            for part, content in packed.items()
        )
        facts = replace(card("oxford-pets"), archives=archives)
        monkeypatch.setattr(dataset_get, "card", lambda name: facts)
        annotations = server.files.pop("/annotations")
        with pytest.raises(InputError, match="answers 404"):
            get("oxford-pets", tmp_path / "data", progress=False)
        server.files["/annotations"] = annotations
        assert len(get("oxford-pets", tmp_path / "data", progress=False).dataset) == 3
        assert [asked.path for asked in server.asked] == ["/images", "/annotations", "/annotations"]
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["oxford-iiit-pet"]


def test_get_of_one_file_that_is_used_as_it_is(tmp_path, monkeypatch):
    layouts.medmnist(tmp_path)
    content = (tmp_path / "pathmnist.npz").read_bytes()
    with offering(p=content) as server:
        archive = Archive("pathmnist.npz", server.address + "/p", md5(content), packed=False)
        facts = replace(card("medmnist-path"), archives=(archive,))
        monkeypatch.setattr(dataset_get, "card", lambda name: facts)
        assert len(get("medmnist-path", tmp_path / "data", progress=False).dataset) == 9
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["pathmnist.npz"]


def test_archives_of_the_reader_are_checked_and_unpacked(tmp_path):
    layouts.idrid(tmp_path / "source")
    file = tmp_path / "B. Disease Grading.zip"
    file.write_bytes(zipped(tmp_path / "source"))
    root = tmp_path / "data"
    assert len(get("idrid", root, [file]).dataset) == 5 and file.exists()
    with pytest.raises(InputError, match="is there already"):
        get("idrid", root, [file])
    with pytest.raises(InputError, match=r"other\.zip: no such file"):
        get("idrid", root, [tmp_path / "other.zip"])
    with pytest.raises(
        InputError, match=r"made\.zip: idrid has B\. Disease Grading\.zip; give the file its orig"
    ):
        get("idrid", root, [tmp_path / "made.zip"])


def test_an_archive_with_another_checksum_is_not_opened(tmp_path):
    file = tmp_path / "cell_images.zip"
    file.write_bytes(zipped(layouts.malaria(tmp_path / "source")))
    with pytest.raises(InputError, match="its sha256 is"):
        get("malaria", tmp_path / "data", [file])
    assert not (tmp_path / "data").exists()


def test_an_archive_of_another_set_is_told(tmp_path):
    file = tmp_path / "B. Disease Grading.zip"
    file.write_bytes(zipped(layouts.cataract(tmp_path / "source")))
    with pytest.raises(InputError, match=r"idrid: unpacked, but not yet whole: "):
        get("idrid", tmp_path / "data", [file])


@pytest.mark.parametrize("name", ["shenzhen", "montgomery", "idrid", "cataract", "imagenet"])
def test_steps_where_a_program_may_not(tmp_path, name):
    done = get(name, tmp_path / "data")
    assert done.dataset is None and not (tmp_path / "data").exists()
    for part in (
        card(name).home,
        card(name).licence,
        str(tmp_path / "data"),
        card(name).layout,
        "datasets check",
    ):
        assert part in done.text
    assert "--root '" in get(name, tmp_path / "with space").text
    assert "ROOT" not in done.text.replace("MNIST", "")


@pytest.mark.parametrize("name", ["phantom-chest", "folder", "csv", "medmnist-path/31", "malria"])
def test_names_that_cannot_be_got(name, tmp_path):
    with pytest.raises(InputError, match=r"nothing to get|unknown variant|did you mean 'malaria'"):
        get(name, tmp_path)

"""Downloads and the hub, from servers that behave as the real ones do; the whole command is in the next file."""

import hashlib
import os

import pytest
from huggingface_hub import constants
from local_servers import Hub, Server, serving
from served_world import ENCODERS, OPENAI, WEIGHTS, make_models

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import download as module
from kpl_lib.datasets.download import BLOCK, download
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.hub import prefetch

CONTENT = os.urandom(1_000_000)
RIGHT = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def servers():
    """A server whose file has moved to another one, and that other one."""
    with serving(Server()) as old, serving(Server()) as new:
        old.add("/set.zip", moved=f"{new.add('/bucket/set.zip', CONTENT)}?Signature=abc")
        yield old, new


@pytest.fixture
def one_try(monkeypatch):
    """A connection that breaks is not taken up again."""
    monkeypatch.setattr(module, "PAUSES", ())


@pytest.fixture
def waited(monkeypatch):
    """The seconds that were waited; nobody waits."""
    seconds = []
    monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


def fetch(servers, folder, checksum=RIGHT):
    return download(f"{servers[0].address}/set.zip", folder / "set.zip", checksum, progress=False)


def test_a_moved_file_whose_connection_breaks_goes_on_and_no_byte_is_sent_twice_but_a_block(
    servers, tmp_path, one_try
):
    file = servers[1].files["/bucket/set.zip"]
    for stop in (300_000, 700_001):
        file.stop = stop
        with pytest.raises(InputError, match="repeat the command to go on"):
            fetch(servers, tmp_path)
    file.stop = None
    assert fetch(servers, tmp_path).read_bytes() == CONTENT
    assert [a.status for a in servers[1].asked] == [200, 206, 206]
    assert servers[1].twice("/bucket/set.zip") <= 2 * BLOCK
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_connection_that_is_reset_twice_is_taken_up_by_itself(servers, tmp_path, waited):
    file = servers[1].files["/bucket/set.zip"]
    file.resets = [300_000, 700_001]
    assert fetch(servers, tmp_path).read_bytes() == CONTENT and file.resets == []
    assert [a.status for a in servers[1].asked] == [200, 206, 206]
    assert servers[1].twice("/bucket/set.zip") <= 2 * BLOCK
    assert waited == [module.PAUSES[0]] * 2  # new bytes begin the waits anew
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_connection_that_brings_nothing_new_is_given_up_after_growing_waits(servers, tmp_path, waited):
    file = servers[1].files["/bucket/set.zip"]
    file.stop = 300_000
    with pytest.raises(
        InputError, match="the connection broke, and 4 more tries brought nothing new; rep"
    ) as e:
        fetch(servers, tmp_path)
    assert waited == sorted(set(module.PAUSES)) and "\n" not in str(e.value)
    assert [a.status for a in servers[1].asked] == [200, 206, 206, 206, 206]
    file.stop = None
    assert fetch(servers, tmp_path).read_bytes() == CONTENT


def test_a_server_that_goes_away_in_the_middle_is_waited_for(servers, tmp_path, monkeypatch):
    moved, file = servers[0].files["/set.zip"], servers[1].files["/bucket/set.zip"]
    right, file.resets, waited = moved.moved, [300_000], []

    def sleep(seconds):
        waited.append(seconds)
        moved.moved = right if len(waited) == 3 else "http://127.0.0.1:9/gone"

    monkeypatch.setattr(module.time, "sleep", sleep)
    assert fetch(servers, tmp_path).read_bytes() == CONTENT
    assert waited == list(module.PAUSES[:3]) and [a.status for a in servers[1].asked] == [200, 206]


def test_a_server_without_ranges_that_breaks_off_each_time_is_given_up(servers, tmp_path, waited):
    file = servers[1].files["/bucket/set.zip"]
    file.stop, file.ranges = 300_000, False
    with pytest.raises(InputError, match="the connection broke"):
        fetch(servers, tmp_path)
    assert waited == list(module.PAUSES)


@pytest.mark.parametrize("fault", [{"page": True}, {"status": 503}, {"status": 404}, {"status": 403}])
def test_an_answer_that_is_not_the_file_costs_nothing_of_what_has_arrived(servers, tmp_path, fault, one_try):
    file = servers[1].files["/bucket/set.zip"]
    file.stop = 500_000
    with pytest.raises(InputError, match="go on"):
        fetch(servers, tmp_path)
    half = (tmp_path / "set.zip.part").read_bytes()
    file.stop = None
    for name, value in fault.items():
        setattr(file, name, value)
    with pytest.raises(InputError, match=r"a web page, not the file|the server answers \d+") as caught:
        fetch(servers, tmp_path)
    assert "\n" not in str(caught.value) and (tmp_path / "set.zip.part").read_bytes() == half
    file.page, file.status = False, 0
    assert fetch(servers, tmp_path).read_bytes() == CONTENT
    assert servers[1].twice("/bucket/set.zip") <= BLOCK


def test_a_page_in_place_of_a_new_file_leaves_nothing(servers, tmp_path):
    servers[0].files["/set.zip"].moved = ""
    servers[0].files["/set.zip"].page = True
    with pytest.raises(InputError, match="a web page, not the file; open it in a browser"):
        fetch(servers, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_sends_all_of_it_again(servers, tmp_path, one_try):
    file = servers[1].files["/bucket/set.zip"]
    file.stop, file.ranges = 300_000, False
    with pytest.raises(InputError):
        fetch(servers, tmp_path)
    file.stop = None
    assert fetch(servers, tmp_path).read_bytes() == CONTENT
    assert [a.status for a in servers[1].asked] == [200, 200]


def test_a_process_that_ends_while_the_checksum_is_taken_has_nothing_to_fetch_again(
    servers, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_has", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(servers, tmp_path)
    assert fetch(servers, tmp_path).read_bytes() == CONTENT
    assert servers[1].twice("/bucket/set.zip") == 0 and servers[1].asked[-1].status == 416


def test_a_server_that_answers_late_is_waited_for(servers, tmp_path):
    servers[1].files["/bucket/set.zip"].late = 0.3
    assert fetch(servers, tmp_path).read_bytes() == CONTENT


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A hub with three tiny random models, and the server of its large files."""
    with serving(Server()) as store, serving(Hub(store)) as hub:
        make_models(tmp_path_factory.mktemp("models"), hub)
        yield hub


@pytest.fixture
def hub(models, tmp_path, monkeypatch):
    """The hub as the one that the client knows, with an empty cache."""
    template = models.address + "/{repo_id}/resolve/{revision}/{filename}"
    known = {"ENDPOINT": models.address, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
    for name, value in (known | {"HF_HUB_CACHE": str(tmp_path / "hub")}).items():
        monkeypatch.setattr(constants, name, value)
    for server in (models, models.store):
        server.asked.clear()
    return models


def blobs(folder):
    return sorted(path.name for path in folder.glob("hub/models--*/blobs/*"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_go_on_where_the_connection_broke_and_the_client_finds_them(hub, tmp_path, name, one_try):
    path = hub.stored(name, WEIGHTS[name])
    file = hub.store.files[path]
    wanted = ("nothing.safetensors", WEIGHTS[name])
    file.stop = len(file.content) // 2
    with pytest.raises(InputError, match=rf"^{name}: {WEIGHTS[name]}: .*; repeat the command to go on$"):
        prefetch(name, *wanted)
    assert blobs(tmp_path) == [f"{path[1:]}.part"]
    file.stop = None
    for _ in range(2):
        prefetch(name, *wanted)
    assert blobs(tmp_path) == [path[1:]] and hub.store.twice(path) <= BLOCK
    assert [a.status for a in hub.store.asked] == [200, 206]


def test_weights_whose_connection_is_reset_twice_arrive_in_one_call(hub, tmp_path, waited):
    path = hub.stored(OPENAI, WEIGHTS[OPENAI])
    file = hub.store.files[path]
    file.resets = [len(file.content) // 3, len(file.content) // 2]
    prefetch(OPENAI, WEIGHTS[OPENAI])
    assert blobs(tmp_path) == [path[1:]] and hub.store.twice(path) <= 2 * BLOCK and len(waited) == 2


def test_changed_weights_are_thrown_away(hub, tmp_path):
    path = hub.stored(OPENAI, WEIGHTS[OPENAI])
    file = hub.store.files[path]
    right, file.content = file.content, file.content[:-1] + b"\0"
    with pytest.raises(InputError, match="the checksum is not sha256:"):
        prefetch(OPENAI, WEIGHTS[OPENAI])
    file.content = right
    assert blobs(tmp_path) == []


def test_what_only_the_client_can_say_is_left_to_it(hub, tmp_path, monkeypatch):
    prefetch("nobody/nothing", "model.safetensors")
    prefetch("tiny/plip", "config.json")
    prefetch("tiny/plip", "model.safetensors")
    assert not (tmp_path / "hub").exists() and hub.store.asked == []
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    prefetch("tiny/plip", WEIGHTS["tiny/plip"])
    assert len(hub.asked) == asked and not (tmp_path / "hub").exists()


@pytest.mark.parametrize("name", ENCODERS[1:])
def test_models_of_both_layouts_load_and_each_file_is_sent_once(hub, name):
    pytest.importorskip("transformers")
    made = [load_encoder(name, device="cpu") for _ in range(2)]
    assert made[0].fingerprint == made[1].fingerprint
    sent = [path for server in (hub, hub.store) for path in server.fetched()]
    assert len(set(sent)) == len(sent), sent
    assert [a.path for a in hub.asked if "agent" in a.path] == []  # nothing is asked or told beyond the files

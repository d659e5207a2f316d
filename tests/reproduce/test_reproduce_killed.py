"""`kpl reproduce`, the whole command, against servers that behave as the real ones do: killed, and badly served."""

import json
from pathlib import Path

import pytest
from served_world import ENCODERS, FETCHED, GIVEN, OPENAI, WEIGHTS, served_world

from kpl_lib.datasets.download import BLOCK

pytestmark = pytest.mark.slow
HALF = 300_000  # bytes of a download before it is killed
BIOMED = "tiny/biomed"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with served_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(world) -> Path:
    """The home of a run that nothing disturbed."""
    home = world.folder / "undisturbed"
    code, said = world.run(home, world.words(home))
    assert code == 0, said
    return home


def rows(home: Path) -> dict[str, dict]:
    """The rows of a folder by key, without what says when."""
    found = [json.loads(line) for line in (home / "out" / "rows.jsonl").read_text().splitlines()]
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: {**row, "seconds": 0, "date": ""} for row in found}


def leftovers(home: Path) -> list[str]:
    """What only an unfinished run has."""
    odd = (".part", ".parts", ".unpacked", ".done", ".incomplete")
    names = (".kpl-download", ".kpl-unpack")
    return [str(p) for p in home.rglob("*") if p.suffix in odd or p.name.startswith(names)]


def test_every_set_and_encoder_has_its_rows_and_the_folder_can_be_shown(world, undisturbed):
    found = rows(undisturbed).values()
    runs = {(row["dataset"], row["encoder"]) for row in found}
    assert runs == {(s, e) for s in (*FETCHED, *GIVEN) for e in ENCODERS}
    assert {row["origin"] for row in found} == {"measured-real"}
    assert leftovers(undisturbed) == []
    code, said = world.run(undisturbed, ["benchmark", "check", str(undisturbed / "out")])
    assert code == 0, said


def test_each_file_was_fetched_once_with_the_moves_followed(world, undisturbed):
    sent = [path for server in world.servers for path in server.fetched()]
    assert len(set(sent)) == len(sent), sent
    assert [asked.path for asked in world.hub.asked if "agent" in asked.path] == []
    moved = [asked.path for asked in world.sets.asked if asked.status == 302]
    assert sorted(moved) == ["/CUB_200_2011.tgz", "/annotations.tar.gz", "/images.tar.gz"]
    assert len(world.store.fetched()) == len(ENCODERS)


def test_killed_three_times_it_gives_the_same_rows_and_asks_for_nothing_twice(world, undisturbed):
    """In the middle of a set, of weights, and of encoding; what is lost is one block of a download."""
    home = world.folder / "killed"
    words = world.words(home)
    for server in world.servers:
        server.asked.clear()
    tar, weights = world.mirror.files["/bucket/CUB_200_2011.tgz"], world.hub.stored(BIOMED, WEIGHTS[BIOMED])
    large = world.store.files[weights]

    tar.hold = HALF
    part = home / "data" / "cub" / ".kpl-download" / "CUB_200_2011.tgz.part"
    world.killed(home, words, lambda: part.exists() and part.stat().st_size > HALF - BLOCK)
    tar.go.set()
    assert not (home / "out" / "rows.jsonl").exists() or not rows(home)

    tar.hold, large.hold = None, len(large.content) // 2
    half = home / "hub" / "hub" / "models--tiny--biomed" / "blobs" / f"{weights[1:]}.part"
    world.killed(home, words, lambda: half.exists() and half.stat().st_size > large.hold - BLOCK)
    large.go.set()
    first = (home / "out" / "rows.jsonl").read_bytes()
    features = {p: p.stat().st_mtime_ns for p in (home / "out" / "features").glob("*.safetensors")}
    assert {row["encoder"] for row in rows(home).values()} == {ENCODERS[0]} and len(features) == 8

    large.hold = None
    (home / "hold").touch()
    world.killed(home, words, lambda: any((home / "out" / "features").glob("*.parts/*.safetensors")))
    (home / "hold").unlink()
    second = (home / "out" / "rows.jsonl").read_bytes()

    code, said = world.run(home, words)
    assert code == 0, said
    assert rows(home) == rows(undisturbed)
    assert (home / "out" / "rows.jsonl").read_bytes().startswith(second) and second.startswith(first)
    assert {p: p.stat().st_mtime_ns for p in features} == features
    comparisons = [(h / "out" / "comparison.csv").read_text() for h in (home, undisturbed)]
    assert comparisons[0] == comparisons[1] and leftovers(home) == []
    code, said = world.run(home, ["benchmark", "check", str(home / "out")])
    assert code == 0, said

    killed = {(id(world.mirror), "/bucket/CUB_200_2011.tgz"), (id(world.store), weights)}
    for server in world.servers:
        for path in set(server.fetched()):
            stopped = (id(server), path) in killed
            assert server.twice(path) <= stopped * BLOCK, path
            assert len(server.sent(path)) == 1 + stopped, path


def test_what_is_badly_served_is_a_line_each_and_the_rest_goes_on(world, undisturbed):
    home, encoder = world.folder / "badly", ENCODERS[:1]
    sets = (*FETCHED, "shenzhen")
    words = world.words(home, sets, encoder)
    bad = world.sets.files["/cell_images.zip"], world.sets.files["/breastmnist.npz"]
    pets, cub = world.sets.files["/annotations.tar.gz"], world.sets.files["/CUB_200_2011.tgz"]
    right, moved = bad[0].content, cub.moved
    bad[0].content, bad[1].page, pets.status, cub.moved = (
        right[:-9] + b"\0" * 9,
        True,
        404,
        "http://127.0.0.1:9/c",
    )
    code, said = world.run(home, words)
    bad[0].content, bad[1].page, pets.status, cub.moved = right, False, 0, moved
    assert code == 2 and "Traceback" not in said, said
    assert {row["dataset"] for row in rows(home).values()} == {"shenzhen"}
    told = said[said.index("rows written") :].splitlines()[1:]
    assert len(told) == 4, told
    for line, why in zip(
        told,
        ("the checksum is not md5:", "a web page, not the file", "answers 404", "cannot reach 127.0.0.1"),
        strict=True,
    ):
        assert why in line and line.count("failed: ") == 1
    unpacked = {p.name for p in (home / "data").iterdir() if not p.name.startswith(".")}
    assert unpacked <= {"shenzhen", "oxford-pets"}, unpacked
    code, said = world.run(home, ["benchmark", "check", str(home / "out")])
    assert code == 0, said

    code, said = world.run(home, words)
    assert code == 0, said
    whole = {key: row for key, row in rows(undisturbed).items() if row["encoder"] == ENCODERS[0]}
    assert rows(home) == {key: row for key, row in whole.items() if row["dataset"] in sets}
    assert len([a for a in world.mirror.asked if a.path == "/bucket/images.tar.gz" and a.sent]) <= 2


def test_a_model_that_is_not_there_leaves_the_others_and_weights_that_were_changed_are_not_read(world):
    home, sets = world.folder / "models", ("shenzhen",)
    path = world.hub.stored(OPENAI, WEIGHTS[OPENAI])
    right = world.store.files[path].content
    world.store.files[path].content = right[:-9] + b"\0" * 9
    names = ("hf-hub:tiny/nobody", ENCODERS[0], ENCODERS[2])
    code, said = world.run(home, world.words(home, sets, names))
    world.store.files[path].content = right
    assert code == 2 and "Traceback" not in said, said
    told = said[said.index("rows written") :].splitlines()[1:]
    assert len(told) == 2 and "tiny/nobody" in told[0] and "checksum" in told[1], told
    assert {row["encoder"] for row in rows(home).values()} == {ENCODERS[2]}

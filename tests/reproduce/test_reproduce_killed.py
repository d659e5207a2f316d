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


def test_every_set_and_encoder_has_its_rows(world, undisturbed):
    found = rows(undisturbed).values()
    runs = {(row["dataset"], row["encoder"]) for row in found}
    assert runs == {(s, e) for s in (*FETCHED, *GIVEN) for e in ENCODERS}
    assert {row["origin"] for row in found} == {"measured-real"}
    assert leftovers(undisturbed) == []


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
    """A wrong checksum, a page, 404, no network; a model that is not there, weights that were changed."""
    home, sets, names = world.folder / "badly", (*FETCHED, "shenzhen"), (ENCODERS[0], ENCODERS[2])
    zipped, array, cub = (
        world.sets.files[f"/{f}"] for f in ("cell_images.zip", "breastmnist.npz", "CUB_200_2011.tgz")
    )
    pets, weights = (
        world.sets.files["/annotations.tar.gz"],
        world.store.files[world.hub.stored(OPENAI, WEIGHTS[OPENAI])],
    )
    right = zipped.content, weights.content, cub.moved
    for file in (zipped, weights):
        file.content = file.content[:-9] + b"\0" * 9
    array.page, pets.status, cub.moved = True, 404, "http://127.0.0.1:9/c"
    code, said = world.run(home, world.words(home, sets, ("hf-hub:tiny/nobody", *names)))
    zipped.content, weights.content, cub.moved = right
    array.page, pets.status = False, 0
    assert code == 2 and "Traceback" not in said, said
    assert {(row["dataset"], row["encoder"]) for row in rows(home).values()} == {("shenzhen", ENCODERS[2])}
    told, whys = said[said.index("rows written") :].splitlines()[1:], (
        "the checksum is not md5:", "a web page, not the file", "answers 404", "cannot reach 127.0.0.1",
        "'hf-hub:tiny/nobody': could not be fetched", "the checksum is not sha256:",
    )  # fmt: skip
    assert len(told) == len(whys), told
    assert [why for line, why in zip(told, whys, strict=True) if why not in line] == []
    assert {p.name for p in (home / "data").iterdir() if p.name[0] != "."} <= {"shenzhen", "oxford-pets"}

    code, said = world.run(home, world.words(home, sets, names))
    assert code == 0, said
    whole = {key: row for key, row in rows(undisturbed).items() if row["encoder"] in names}
    assert rows(home) == {key: row for key, row in whole.items() if row["dataset"] in sets}

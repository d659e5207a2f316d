"""`kpl reproduce` in a small world: eight sets in their original layouts, three tiny models, servers, and a kill.

The command runs in a new process, from a copy of the data folder whose addresses and checksums are those of the
servers here, and on tiny architectures under the names of the real ones. All models are random.
"""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dataset_layouts as layouts
import torch
from local_servers import Hub, Server, serving
from openai_files import config, write_state
from safetensors.torch import load_file
from text_models import write_bert
from transformers_clip import write_clip, write_vocabulary

from kpl_lib.common.files import data_dir, read_json

NOISE = 600_000  # bytes that no program can pack, so that a download can be stopped in the middle
COUNTS = {  # images of each set here
    "malaria": 4, "medmnist-breast": 150, "oxford-pets": 3, "cub": 3, "shenzhen": 3, "montgomery": 3, "idrid": 5,
    "cataract": 8,
}  # fmt: skip
FETCHED, GIVEN = tuple(COUNTS)[:4], tuple(COUNTS)[4:]
ARCHIVES = {  # of sets whose layout is packed as it is
    "malaria": "cell_images.zip", "cub": "CUB_200_2011.tgz", "shenzhen": "ChinaSet_AllFiles.zip",
    "montgomery": "NLM-MontgomeryCXRSet.zip", "idrid": "B. Disease Grading.zip", "cataract": "cataractdataset.zip",
}  # fmt: skip
OPENAI = "timm/vit_base_patch32_clip_224.openai"
ENCODERS = ("ViT-B-32-quickgelu/openai", "hf-hub:tiny/biomed", "hf-hub:tiny/plip")
WEIGHTS = {
    OPENAI: "open_clip_model.safetensors",
    "tiny/biomed": "open_clip_pytorch_model.bin",
    "tiny/plip": "pytorch_model.bin",
}
FEW = ("clip", "kpl-released", "kpl-closed-form")  # classifiers of the grid that run here
LONGEST = 300.0  # seconds until a command counts as one that hangs
PROGRAM = """
import sys
import time
from pathlib import Path

world = Path(sys.argv[1])
from kpl_lib.common import files
files.data_dir = lambda: world / "data"
import open_clip
open_clip.add_model_config(world / "architectures")
from kpl_lib.encoders import cache
cache.SHARD_SECONDS = 0.0  # a shard after each batch
write = cache.write_tensors
def wait(*arguments):
    write(*arguments)
    while Path("hold").exists():  # in the middle of encoding
        time.sleep(0.01)
cache.write_tensors = wait
from kpl_lib.cli import main
sys.argv = ["kpl", *sys.argv[2:]]
main()
"""


def packed(folder: Path, file: str) -> bytes:
    """A folder's files in an archive of the kind that the name says."""
    paths, out = [path for path in sorted(folder.rglob("*")) if path.is_file()], io.BytesIO()
    if file.endswith(".zip"):
        with zipfile.ZipFile(out, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
            for path in paths:
                archive.add(path, path.relative_to(folder))
    return out.getvalue()


def make_archives(folder: Path) -> dict[str, bytes]:
    """The archives of every set, by their original names, tiny."""
    for name in ("malaria", "cub", "idrid", "cataract"):
        getattr(layouts, name)(folder / name)
    for name in ("shenzhen", "montgomery"):
        layouts.chest(folder / name, name)
    for place in ("malaria/cell_images", "cub/CUB_200_2011"):
        (folder / place / "noise.bin").write_bytes(os.urandom(NOISE))
    made = {file: packed(folder / name, file) for name, file in ARCHIVES.items()}
    pets = layouts.pets(folder / "pets") / "oxford-iiit-pet"
    for part in ("images", "annotations"):
        (folder / f"pets-{part}").mkdir()
        (pets / part).rename(folder / f"pets-{part}" / part)
        made[f"{part}.tar.gz"] = packed(folder / f"pets-{part}", f"{part}.tar.gz")
    counts = (3, 2, COUNTS["medmnist-breast"])
    layouts.medmnist(folder, "breastmnist.npz", classes=2, colour=False, counts=counts)
    return made | {"breastmnist.npz": (folder / "breastmnist.npz").read_bytes()}


def make_models(folder: Path, hub: Hub) -> None:
    """Publish three tiny random models: OpenAI's, one as BiomedCLIP lies there, one as PLIP does."""
    for name in ("openai", "words"):
        (folder / name).mkdir(parents=True)
    write_state(folder / "openai" / WEIGHTS[OPENAI], "vit", half=False)
    hub.publish(OPENAI, folder / "openai")

    write_clip(folder / "plip", file=WEIGHTS["tiny/plip"])
    write_vocabulary(folder / "plip")
    hub.publish("tiny/plip", folder / "plip")

    biomed, words = folder / "biomed", folder / "words"  # text tower and tokenizer are of another repository
    write_bert(biomed, "cls_last_hidden_state_pooler")
    settings = read_json(biomed / "open_clip_config.json")
    settings["model_cfg"]["text_cfg"] |= {"hf_model_name": "tiny/words", "hf_tokenizer_name": "tiny/words"}
    (biomed / "open_clip_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.save(load_file(biomed / "open_clip_model.safetensors"), biomed / WEIGHTS["tiny/biomed"])
    (biomed / "open_clip_model.safetensors").unlink()
    (biomed / "text" / "config.json").rename(words / "config.json")
    for path in [*biomed.glob("tokenizer*"), *biomed.glob("special*"), *biomed.glob("vocab*")]:
        path.rename(words / path.name)
    hub.publish("tiny/words", words)
    hub.publish("tiny/biomed", biomed)


def make_data(folder: Path, archives: dict[str, bytes], address: Callable[[str, str], str]) -> None:
    """The data folder, with the addresses, checksums and numbers of this world, and with fewer runs."""
    (folder / "benchmarks").mkdir(parents=True)
    for path in data_dir().iterdir():
        if path.name not in ("datasets.json", "benchmarks"):
            (folder / path.name).symlink_to(path)
    sets = read_json(data_dir() / "datasets.json")
    for one in sets["datasets"]:
        if one["name"] not in COUNTS:
            continue
        one["images"] = dict.fromkeys(one["images"], COUNTS[one["name"]])
        for archive in one["archives"]:
            if archive.get("url"):
                archive["url"] = address(archive["file"], archive["url"])
            if archive.get("checksum"):
                archive["checksum"] = f"md5:{hashlib.md5(archives[archive['file']]).hexdigest()}"
    (folder / "datasets.json").write_text(json.dumps(sets), encoding="utf-8")
    grid = read_json(data_dir() / "benchmarks" / "reproduce.json") | {"resamples": 20}
    for block in grid["blocks"]:
        block["classifiers"] = [name for name in block["classifiers"] if name in FEW]
        for name, values in block.get("parameters", {}).items():
            block["parameters"][name] = values[:1]
    (folder / "benchmarks" / "reproduce.json").write_text(json.dumps(grid), encoding="utf-8")


@dataclass
class World:
    """The servers, and how to run the command.

    Args:
        folder: of everything here; `given` in it holds the archives that a reader fetches by hand.
        sets: what the cards name.
        mirror: where some of that has moved to.
        hub: of models.
        store: their large files.
    """

    folder: Path
    sets: Server
    mirror: Server
    hub: Hub
    store: Server

    @property
    def servers(self) -> tuple[Server, ...]:
        return self.sets, self.mirror, self.hub, self.store

    def words(
        self,
        home: Path,
        sets: tuple[str, ...] = (*FETCHED, *GIVEN),
        encoders: tuple[str, ...] = ENCODERS,
    ) -> list[str]:
        """`kpl reproduce` on these sets, with these encoders."""
        given = ["--archives", str(self.folder / "given"), "--device", "cpu", "--workers", "0"]
        chosen = ["--sets", ",".join(sets), "--encoders", ",".join(encoders)]
        return ["reproduce", str(home / "out"), *given, *chosen]

    def start(self, home: Path, words: list[str]) -> subprocess.Popen:
        """`kpl` in a new process, in a home of its own; what it says goes to `said.txt` there."""
        home.mkdir(exist_ok=True)
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = keep | {
            "HOME": str(home), "HF_HOME": str(home / "hub"), "HF_ENDPOINT": self.hub.address, "NO_PROXY": "*",
            "KPL_DATA": str(home / "data"), "KPL_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TMPDIR": str(self.folder),
        }  # fmt: skip
        with open(home / "said.txt", "wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.folder), *words],
                env=environment, cwd=home, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def run(self, home: Path, words: list[str]) -> tuple[int, str]:
        """Run `kpl` to its end; its exit code and what it said."""
        process = self.start(home, words)
        try:
            process.wait(LONGEST)
        finally:
            process.kill()
        return process.wait(), (home / "said.txt").read_text(encoding="utf-8")

    def killed(self, home: Path, words: list[str], when: Callable[[], bool]) -> None:
        """Run `kpl`, and kill it as soon as something is the case."""
        process = self.start(home, words)
        end = time.monotonic() + LONGEST
        try:
            while not when():
                said = (home / "said.txt").read_text(encoding="utf-8")
                assert process.poll() is None, f"the command ended before it could be killed: {said[-2000:]}"
                assert time.monotonic() < end, f"the command hangs: {said[-2000:]}"
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextmanager
def served_world(folder: Path) -> Iterator[World]:
    """Make and serve everything while the block runs."""
    sets, mirror, store = Server(), Server(), Server()
    with serving(sets), serving(mirror), serving(store), serving(Hub(store)) as hub:
        archives = make_archives(folder / "sources")

        def address(file: str, url: str) -> str:
            query = "?download=1" if url.endswith("?download=1") else ""
            if file.endswith("gz"):
                moved = mirror.add(f"/bucket/{file}", archives[file])
                return sets.add(f"/{file}", moved=f"{moved}?Signature=abc") + query
            return sets.add(f"/{file}", archives[file]) + query

        make_data(folder / "data", archives, address)
        make_models(folder / "models", hub)
        for name in ("architectures", "given"):
            (folder / name).mkdir()
        text = json.dumps(config("vit"))
        (folder / "architectures" / "ViT-B-32-quickgelu.json").write_text(text, encoding="utf-8")
        for name in GIVEN:
            (folder / "given" / ARCHIVES[name]).write_bytes(archives[ARCHIVES[name]])
        yield World(folder, sets, mirror, hub, store)

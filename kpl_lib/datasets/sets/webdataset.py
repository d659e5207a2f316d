"""`webdataset`: images in plain tar files (shards), as the WebDataset layout keeps them."""

import io
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets import dicom, images
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.files import folder_fingerprint, need_folder

SUFFIXES = tuple(suffix for suffix in images.SUFFIXES if suffix not in dicom.SUFFIXES)
MOST = 1 << 20  # bytes that are read of a `.cls` or `.json` file beside an image


@dataclass
class Sample:
    """One key of a shard: where its image lies, and what is said about it."""

    key: str
    shard: Path
    suffix: str = ""
    place: tuple[int, int] | None = None
    facts: dict = field(default_factory=dict)

    @property
    def path(self) -> str:
        """How results call the image."""
        return f"{self.shard}/{self.key}{self.suffix}"


def load(root: str | Path, classes: Sequence[str] | None = None) -> ImageDataset:
    """Read the images of tar shards, in the order of their names, without unpacking them.

    Files of one key (`000/17.jpg`, `000/17.cls`, `000/17.json`) belong together. The label is the number or name in
    `.cls`, else `label` in `.json`; `group` in `.json` names the patient. Only the headers are read to list a shard;
    a shard must be a plain tar file, for a compressed one cannot be entered in the middle.

    Args:
        root: a folder of `.tar` files, one file, or several as `chest-{000..019}.tar`.
        classes: the class names in the order of their numbers; None takes the numbers, or the sorted names.

    Raises:
        InputError: for a shard that is missing or no plain tar, and for labels that do not fit.
    """
    shards = shard_paths(root)
    samples = [sample for shard in shards for sample in _samples(shard) if sample.place]
    if not samples:
        raise InputError(f"{root}: no images in {len(shards)} shards; names must end as {SUFFIXES[0]} does")
    groups = _column(samples, "group")
    names, labels = _labels(samples, _column(samples, "label"), classes)
    facts = [(sample.key, sample.place, sample.facts.get("label")) for sample in samples]
    later = partial(folder_fingerprint, shards[0].parent, shards, (names, groups, facts))
    name = f"webdataset {re.sub(r'[-_.]*[{].*', '', Path(root).stem) or Path(root)}"
    places = [(sample.shard, *sample.place, sample.path) for sample in samples]
    paths = [sample.path for sample in samples]
    return ImageDataset(name, partial(_read, places), paths, names, labels, groups, later)


def shard_paths(root: str | Path) -> list[Path]:
    """The shards that a folder holds, or a path with `{000..019}` means."""
    text = str(root)
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if braces:
        first, last = braces.groups()
        numbers = range(int(first), int(last) + 1)
        found = [Path(text.replace(braces[0], f"{i:0{len(first)}d}")) for i in numbers]
    elif text.endswith((".tar", ".tar.gz", ".tgz")):
        found = [Path(text)]
    else:
        found = sorted(path for path in need_folder(root).glob("*.tar") if not path.name.startswith("."))
    if not found:
        raise InputError(f"{text}: no shards; name a folder of .tar files, or chest-{{000..019}}.tar")
    for path in found:
        if not path.is_file():
            raise InputError(f"{path}: no such shard; correct the path or the numbers in braces")
    return found


def _samples(shard: Path) -> list[Sample]:
    """The keys of one shard, in the order in which they appear."""
    found: dict[str, Sample] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if not member.isfile() or name.startswith("."):
                    continue
                stem, dot, rest = name.partition(".")
                key = f"{folder}/{stem}".lstrip("/")
                _add(found.setdefault(key, Sample(key, shard)), dot + rest, member, tar)
    except (tarfile.TarError, OSError, EOFError) as error:
        why = f"not a whole plain tar file ({one_line(error)})"
        raise InputError(f"{shard}: {why}; unpack .gz shards, or copy it again") from None
    return list(found.values())


def _add(sample: Sample, suffix: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    """Note one file of a key; a `.cls` file is believed before a JSON file."""
    kind = suffix.lower()
    if kind.endswith(SUFFIXES):
        if sample.place:
            raise InputError(f"{sample.path}: the key holds two images; give each its own key")
        sample.place, sample.suffix = (member.offset_data, member.size), suffix
    elif kind in (".cls", ".json") and member.size <= MOST:
        text = tar.extractfile(member).read().decode("utf-8", "replace").strip()
        if kind == ".cls":
            sample.facts["label"] = text
            return
        try:
            facts = json.loads(text)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise InputError(f"{sample.shard}/{sample.key}.json: no JSON object; mend it, or leave it out")
        sample.facts = {name: facts[name] for name in ("label", "group") if name in facts} | sample.facts


def _column(samples: list[Sample], name: str) -> list | None:
    """One fact of all samples; None where no sample has it."""
    without = next((sample for sample in samples if name not in sample.facts), None)
    if without is None:
        return [sample.facts[name] for sample in samples]
    if any(name in sample.facts for sample in samples):
        raise InputError(f"{without.path}: has no {name}, others have; add it, or take it from all")
    return None


def _labels(
    samples: list[Sample], values: list | None, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int] | None]:
    """Class names, and the class number of each sample."""
    if values is None:
        return tuple(classes or ()), None
    texts = [str(value) for value in values]
    if all(text.isascii() and text.isdigit() for text in texts):
        labels = [int(text) for text in texts]
        names = tuple(classes or map(str, range(max(labels) + 1)))
    else:
        names = tuple(classes or sorted(set(texts)))
        number = {name: i for i, name in enumerate(names)}
        labels = [number.get(text, -1) for text in texts]
    for sample, text, label in zip(samples, texts, labels, strict=True):
        if not 0 <= label < len(names):
            raise InputError(f"{sample.path}: label {text!r} is none of {len(names)} classes; correct it")
    return names, labels


def _read(places: list[tuple[Path, int, int, str]], index: int) -> Image.Image:
    """Decode one image from its place in its shard."""
    shard, offset, size, path = places[index]
    with open(shard, "rb") as file:
        file.seek(offset)
        data = file.read(size)
    if not data:
        raise InputError(f"{path}: empty (0 bytes); copy the shard again, or leave it out")
    with images.readable(path):
        return images.decode(io.BytesIO(data), path)

"""Find a model by its name, on this machine or on the hub, and load it without running code of others.

Pretrained models of open_clip and of the Hugging Face hub are fetched once, then read like local ones.
"""

import importlib.util
import socket
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import open_clip
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError
from open_clip import pretrained

from kpl_lib.common.errors import InputError, closest, did_you_mean, one_line
from kpl_lib.common.files import data_dir, read_json
from kpl_lib.encoders import conch
from kpl_lib.encoders import transformers_layout as layout
from kpl_lib.encoders.config import (
    CONFIG,
    HUB_FILES,
    QUICK,
    Checkpoint,
    Source,
    build,
    check_activation,
    check_config,
    openai_config,
    preprocessing,
)
from kpl_lib.encoders.hub import prefetch
from kpl_lib.encoders.weights import SUFFIXES, read_weights

#: Weights in a repository of the hub.
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def from_tag(name: str) -> Source:
    """Find open_clip's own pretrained weights of `ARCH/TAG`, downloading them the first time.

    Raises:
        InputError: for an unknown name (the nearest are said), for an architecture with another activation than
            the weights were trained with, and where nothing can be fetched.
    """
    architecture, tag = name.split("/", 1)
    unknown = f"unknown encoder {name!r}: no"
    _check_known(architecture, open_clip.list_models(), f"{unknown} architecture {architecture!r}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    plain = architecture.removesuffix(QUICK)
    if tag not in tags and tag in open_clip.list_pretrained_tags_by_model(plain):
        raise InputError(f"{unknown} weights {tag!r} with QuickGELU; say '{plain}/{tag}'")
    _check_known(tag, tags, f"{unknown} weights {tag!r} for {architecture}")
    settings = open_clip.get_pretrained_cfg(architecture, tag)
    if settings.get("quick_gelu"):
        check_activation(name, architecture)
    config = check_config(f"encoder {name!r}", open_clip.get_model_config(architecture))
    with _fetching(name):
        place, _, file = settings.get("hf_hub", "").rpartition("/")
        if place:
            prefetch(place, *((file.replace(".bin", ".safetensors"), file) if file else OPEN_CLIP))
        weights = Path(pretrained.download_pretrained(settings))
    return Source(name, config, settings, weights)


def from_hub(name: str) -> Source:
    """Find a model of the Hugging Face hub, downloading it the first time; as `from_tag`.

    Without a configuration of open_clip it is read as a CLIP of `transformers`.
    """
    place = name.removeprefix("hf-hub:")
    with _fetching(name):
        path = _fetch(place, CONFIG, layout.CONFIG)
    if path.name != CONFIG:
        with _fetching(name):
            return from_transformers(name, partial(_fetch, place))
    settings = read_json(path)
    config = check_config(f"encoder {name!r}", settings.get("model_cfg"))
    with _fetching(name):
        prefetch(place, *OPEN_CLIP)
        weights = Path(pretrained.download_pretrained_from_hf(place))
    return Source(name, config, settings.get("preprocess_cfg") or {}, weights)


def from_transformers(name: str, find_file: Callable[..., Path]) -> Source:
    """A CLIP in the layout of `transformers`; `find_file` gives the first file that is there of the names it gets."""
    try:
        config = layout.clip_config(name, read_json(find_file(layout.CONFIG)))
        size = config["vision_cfg"]["image_size"]
        preprocess = layout.clip_pixels(name, read_json(find_file(*layout.PIXELS)), size)
    except (AttributeError, TypeError) as error:  # a word where a number or a table should stand
        why = one_line(error, kind=True)
        raise InputError(f"{name}: broken configuration ({why}); copy it from the model again") from None
    return Source(name, config, preprocess, find_file(*layout.WEIGHTS))


def _fetch(place: str, *names: str) -> Path:
    """The first of these files that a repository of the hub has, from here or fetched."""
    if names[-1].endswith(SUFFIXES):
        prefetch(place, *names)
    for file in names:
        try:
            return Path(pretrained.download_pretrained_from_hf(place, filename=file))
        except FileNotFoundError as error:
            if file == names[-1] or not isinstance(error.__context__, EntryNotFoundError):
                raise


@contextmanager
def careful(name: str) -> Iterator[None]:
    """While a model is loaded: nothing is reported home, no code of the hub is run, nothing waits for a dead network.

    A model that brings its own code is refused, not asked about. Names of this machine (`path:`, `phantom`) never reach
    for the network. Files that the text tower still needs and that cannot be fetched become one line.
    """
    offline = constants.HF_HUB_OFFLINE or _is_local(name) or not _reachable()
    wanted = [(constants, "HF_HUB_OFFLINE", offline), (constants, "HF_HUB_DISABLE_TELEMETRY", True)]
    if importlib.util.find_spec("transformers") is not None:
        remote = importlib.import_module("transformers.dynamic_module_utils")
        wanted.append((remote, "TIME_OUT_REMOTE_CODE", 0))
    before = [(module, setting, getattr(module, setting)) for module, setting, _ in wanted]
    try:
        for place in wanted:
            setattr(*place)
        with _fetching(name, OSError):
            yield
    finally:
        for place in before:
            setattr(*place)


def _is_local(name: str) -> bool:
    return name.startswith("path:") or "/" not in name


@contextmanager
def _fetching(name: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn whatever goes wrong while files are fetched into one line."""
    try:
        yield
    except InputError:
        raise
    except kind as error:  # the hub and the network raise nearly anything
        why, said = one_line(error, kind=True), f"encoder {name!r}: "
        if _is_local(name):
            said += f"files of its text model are missing ({why}); put them into the folder"
        elif constants.HF_HUB_OFFLINE:
            said += f"not on this machine, and no network; run `kpl encode --download-only --encoder {name}` "
            said += f"where there is one and copy {constants.HF_HUB_CACHE} here, or use 'phantom'"
        else:
            gated = isinstance(error.__context__, GatedRepoError)
            cure = (
                "ask for access on its page, then `hf auth login`" if gated else "check the name and network"
            )
            said += f"could not be fetched ({why}); {cure}, or use 'phantom'"
        raise InputError(said) from None


def _reachable() -> bool:
    """Whether the hub's address can be found; the hub's own retries would take most of a minute."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _check_known(word: str, words: list[str], problem: str) -> None:
    """Raise with the nearest names unless `word` is among `words`."""
    if word not in words:
        near = closest(word, words, 3, 0.3) or sorted(words)[:3]
        raise InputError(f"{problem}; nearest: {', '.join(near) or 'none'}")


def available() -> tuple[str, ...]:
    """Names of the encoders that ship with the library and need no download.

    Example:
        >>> "phantom" in available() or available() == ()
        True

    Chapter: ch-how-to-use
    """
    return tuple(sorted(path.parent.name for path in (data_dir() / "encoders").glob(f"*/{CONFIG}")))


def open_checkpoint(name: str, device: torch.device, precision: str) -> tuple[Checkpoint, Source]:
    """Load the model of this name, as `load_encoder` takes it; and what it was built from.

    Raises:
        InputError: if the name is unknown, or its weights cannot be had or read safely.
    """
    if not isinstance(name, str):
        raise InputError(f"an encoder is named by text, not {type(name).__name__}: {name!r}")
    # open_clip draws random weights before it loads the real ones: leave the caller's random numbers alone
    with careful(name), torch.random.fork_rng(devices=[]):
        if conch.is_conch(name):
            return _open_conch(name, device, precision)
        source = find(name)
        return build(source, device, precision), source


def _open_conch(name: str, device: torch.device, precision: str) -> tuple[Checkpoint, Source]:
    """CONCH, by the loader of its authors, from weights that are fetched like others."""
    package = conch.conch_package(precision)
    with _fetching(name):
        weights = _fetch(name.removeprefix("hf-hub:"), conch.WEIGHTS)
    return conch.load_conch(package, weights, device), Source(name, {}, {}, weights)


def download_encoder(name: str) -> str:
    """Fetch all files of a model, and load it once, so that it is known to work here without a network.

    Gives one line: where the weights are, and their size. Errors as of `open_checkpoint`.

    Example:
        >>> download_encoder("phantom").startswith("phantom: ")
        True
    """
    weights = open_checkpoint(name, torch.device("cpu"), "fp32")[1].weights
    if not isinstance(weights, Path):
        return f"{name}: a file on this machine, nothing to fetch"
    return f"{name}: {weights} ({weights.stat().st_size / 1e6:,.0f} MB), ready without a network"


def find(name: str) -> Source:
    """Find configuration and weights of a name; what is not on this machine is fetched."""
    if name.startswith("path:"):
        place = Path(name.removeprefix("path:")).expanduser()
        return from_file(place) if place.is_file() else from_folder(place)
    if name.startswith("hf-hub:"):
        return from_hub(name)
    if "/" in name:
        architecture, rest = name.split("/", 1)
        known = architecture in open_clip.list_models()
        if known and rest.endswith(SUFFIXES):
            return from_file(Path(rest).expanduser(), architecture)
        return from_tag(name)
    if name in available():
        return from_folder(data_dir() / "encoders" / name)
    hint = did_you_mean(name.lower(), available())
    raise InputError(
        f"unknown encoder {name!r}: {hint}known here: {', '.join(available()) or 'none'}; or 'path:DIR' or 'path:FILE' "
        "on this machine, 'ARCH/TAG' such as 'ViT-L-14-quickgelu/openai', 'ARCH/FILE', or 'hf-hub:ORG/NAME'"
    )


def from_file(path: Path, architecture: str | None = None) -> Source:
    """A checkpoint file: of a named architecture, or one of OpenAI's own, whose shapes say what it is.

    Weights saved by others in OpenAI's layout fit GELU and QuickGELU alike, so their architecture must be named.
    """
    weights = read_weights(path)
    if architecture is None:
        if not weights.from_openai:
            named = f"'ViT-B-32-quickgelu/{path}' (weights of OpenAI or tuned from them) or 'ViT-B-32/{path}'"
            cure = f"name it, as {named}, or put {CONFIG} beside it and name the folder"
            raise InputError(f"{path}: does not say its architecture; {cure}")
        return Source(str(path), openai_config(weights.tensors), {}, weights)
    if weights.from_openai:
        check_activation(f"{architecture}/{path}", architecture)
    preprocess = preprocessing(architecture)
    if preprocess is None:
        said = f"its weights were trained with different preprocessing; OpenAI's is taken for {path}"
        warnings.warn(f"{architecture}: {said}", UserWarning, stacklevel=2)
    config = check_config(architecture, open_clip.get_model_config(architecture))
    return Source(str(path), config, preprocess or {}, weights)


def from_folder(folder: Path) -> Source:
    """A folder with `open_clip_config.json`, weights, tokenizer; or a CLIP of `transformers`; or a file of OpenAI."""
    files = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    files = [path for path in files if path.suffix == ".safetensors"] or files  # rather than pickled ones
    if not (folder / CONFIG).is_file():
        if (folder / layout.CONFIG).is_file():
            return from_transformers(str(folder), partial(_first, folder))
        if len(files) == 1:
            return from_file(files[0])
        raise InputError(f"{folder}: no {CONFIG} there; name the folder of an open_clip model, or one file")
    settings = read_json(folder / CONFIG)
    config = check_config(str(folder / CONFIG), settings.get("model_cfg"))
    text = config["text_cfg"]
    for key in HUB_FILES:
        if text.get(key) and (found := _inside(folder, text[key], key)):
            text[key] = str(found)
    if not text.get("hf_tokenizer_name"):
        text["tokenizer_kwargs"] = {**(text.get("tokenizer_kwargs") or {}), **_vocabulary(folder, text)}
    if not files:
        raise InputError(f"{folder}: no weights there; put model.safetensors beside {CONFIG}")
    if len(files) > 1:
        raise InputError(f"{folder}: {len(files)} {files[0].suffix[1:]} files; leave only one there")
    return Source(str(folder), config, settings.get("preprocess_cfg") or {}, files[0])


def _first(folder: Path, *names: str) -> Path:
    """The first of these files that lies in a folder."""
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: no {' or '.join(names)} there; copy it from the model")
    return found[0]


def _inside(folder: Path, name: str, key: str) -> Path | None:
    """Where the files of a text model or tokenizer lie in the folder; None leaves them to the hub."""
    if (folder / name / "config.json").is_file() or (folder / name / "tokenizer_config.json").is_file():
        return (folder / name).resolve()
    own = key == "hf_tokenizer_name" and (folder / "tokenizer_config.json").is_file()
    return folder.resolve() if own else None


def _vocabulary(folder: Path, text: dict) -> dict:
    """Path of the vocabulary that the configuration names, or that lies in the folder."""
    given = (text.get("tokenizer_kwargs") or {}).get("bpe_path")
    name = given or "bpe_vocab.txt.gz"
    if Path(name).name != name:
        raise InputError(f"{folder / CONFIG}: bpe_path {name!r} must be a file name in the same folder")
    if (folder / name).is_file():
        return {"bpe_path": str((folder / name).resolve())}
    if given:
        raise InputError(f"{folder / name}: the vocabulary is missing; copy it from the model again")
    return {}

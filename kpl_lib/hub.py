"""Pretrained models of open_clip and of the Hugging Face hub: fetched once, then read like local ones."""

import difflib
import importlib
import importlib.util
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import open_clip
from huggingface_hub import constants
from open_clip import pretrained

from kpl_lib.errors import InputError
from kpl_lib.model_config import CONFIG, Source, check_config, one_line, read_settings
from kpl_lib.openai_layout import QUICK, check_activation


def from_tag(name: str) -> Source:
    """Find open_clip's own pretrained weights, downloading them the first time.

    Args:
        name: `ARCH/TAG`, such as `ViT-L-14-quickgelu/openai`.

    Returns:
        The architecture, the preprocessing of these weights, the file.

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
        weights = Path(pretrained.download_pretrained(settings))
    return Source(name, config, settings, weights)


def from_hub(name: str) -> Source:
    """Find a model of the Hugging Face hub, downloading it the first time; as `from_tag`."""
    place = name.removeprefix("hf-hub:")
    with _fetching(name):
        path = pretrained.download_pretrained_from_hf(place, filename=CONFIG)
    settings = read_settings(Path(path))
    config = check_config(f"encoder {name!r}", settings.get("model_cfg"))
    with _fetching(name):
        weights = Path(pretrained.download_pretrained_from_hf(place))
    return Source(name, config, settings.get("preprocess_cfg") or {}, weights)


@contextmanager
def careful(name: str) -> Iterator[None]:
    """While a model is loaded: nothing is reported home, no code of the hub is run, nothing waits for a dead network.

    Names of this machine (`path:`, `phantom`) never reach for the network. Files that the text tower still needs
    and that cannot be fetched become one line.
    """
    before = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_OFFLINE = before[0] or _is_local(name) or not _reachable()
    try:
        with _no_foreign_code(), _fetching(name, OSError):
            yield
    finally:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def _no_foreign_code() -> Iterator[None]:
    """A model that brings its own code is refused, not asked about."""
    if importlib.util.find_spec("transformers") is None:
        yield
        return
    remote = importlib.import_module("transformers.dynamic_module_utils")
    patience, remote.TIME_OUT_REMOTE_CODE = remote.TIME_OUT_REMOTE_CODE, 0
    try:
        yield
    finally:
        remote.TIME_OUT_REMOTE_CODE = patience


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
        raise InputError(_missing(name, one_line(error)[:120])) from None


def _missing(name: str, why: str) -> str:
    """What to say about files that are not here."""
    if _is_local(name):
        return f"encoder {name!r}: files of its text model are missing ({why}); put them into the folder"
    if constants.HF_HUB_OFFLINE:
        return (
            f"encoder {name!r}: not on this machine, and no network; run `kpl encode --download-only --encoder {name}` "
            f"where there is one and copy {constants.HF_HUB_CACHE} here, or use 'phantom'"
        )
    return f"encoder {name!r}: could not be fetched ({why}); check the name and the network, or use 'phantom'"


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
        near = difflib.get_close_matches(word, words, 3, 0.3) or sorted(words)[:3]
        raise InputError(f"{problem}; nearest: {', '.join(near) or 'none'}")

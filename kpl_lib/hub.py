"""Pretrained models of open_clip and of the Hugging Face hub: fetched once, safetensors only."""

import difflib
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


def from_tag(name: str, options: dict) -> tuple:
    """Load open_clip's own pretrained weights, downloading them the first time.

    Args:
        name: `ARCH/TAG`, such as `ViT-L-14-quickgelu/openai`.
        options: device and precision, as open_clip takes them.

    Returns:
        The model in evaluation mode, its image transform, its tokenizer.

    Raises:
        InputError: for an unknown name (the nearest are said), and where nothing can be fetched.
    """
    architecture, tag = name.split("/", 1)
    unknown = f"unknown encoder {name!r}: no"
    _check_known(architecture, open_clip.list_models(), f"{unknown} architecture {architecture!r}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    _check_known(tag, tags, f"{unknown} weights {tag!r} for {architecture}")
    with _fetching(name):
        config = open_clip.get_pretrained_cfg(architecture, tag)
        _refuse_pickle(name, pretrained.download_pretrained(config))
        return _made(architecture, {"pretrained": tag, **options})


def from_hub(name: str, options: dict) -> tuple:
    """Load a model of the Hugging Face hub, downloading it the first time; arguments as for `from_tag`."""
    with _fetching(name):
        _refuse_pickle(name, pretrained.download_pretrained_from_hf(name.removeprefix("hf-hub:")))
        return _made(name, options)


def one_line(error: Exception) -> str:
    """Say an error in one line of at most 200 characters.

    Example:
        >>> one_line(OSError("no\\nroute"))
        'OSError: no route'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _made(name: str, options: dict) -> tuple:
    model, _, transform = open_clip.create_model_and_transforms(name, weights_only=True, **options)
    return model.eval(), transform, open_clip.get_tokenizer(name)


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Turn whatever goes wrong into one line; without a network look only at what was fetched before."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the hub, the network and foreign models raise nearly anything
        raise InputError(
            f"encoder {name!r}: not on this machine, and it could not be fetched ({one_line(error)}); "
            "check the name and the network, or use 'phantom'"
        ) from None
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    """Whether the hub's address can be found; the hub's own retries would take most of a minute."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _refuse_pickle(name: str, path: str) -> None:
    """Raise unless the weights are safetensors."""
    if not str(path).endswith(".safetensors"):
        found = Path(path).name
        raise InputError(f"encoder {name!r}: its weights {found} are pickled; choose one with safetensors")


def _check_known(word: str, words: list[str], problem: str) -> None:
    """Raise with the nearest names unless `word` is among `words`."""
    if word not in words:
        near = difflib.get_close_matches(word, words, 3, 0.3) or sorted(words)[:3]
        raise InputError(f"{problem}; nearest: {', '.join(near)}")

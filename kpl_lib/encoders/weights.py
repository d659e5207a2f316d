"""Read weights from a file without running any of its code: safetensors, pickled tensors, OpenAI's archives."""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from kpl_lib.common.errors import InputError, one_line

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # of OpenAI's archives
AGAIN = "copy or fetch it again"


@dataclass(frozen=True, eq=False)
class Weights:
    """Named tensors, and whether the file says that it is one of OpenAI's own archives."""

    tensors: dict[str, Tensor]
    from_openai: bool  # a TorchScript archive, or the sizes that OpenAI stores stand among the tensors


def read_weights(path: str | Path) -> Weights:
    """Read the tensors of a checkpoint by name; nothing that is stored beside them is run.

    Args:
        path: safetensors; a pickled state_dict, alone or under `state_dict`; or OpenAI's TorchScript archive.

    Raises:
        InputError: for a file that is missing, cut short, no checkpoint, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct the path")
    archive = False
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        elif archive := _is_archive(path):
            found = dict(_leaves(_open_archive(path), ""))
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        return _named(path, found, archive)
    except InputError:
        raise
    except Exception as error:  # a file of anything at all makes the readers raise nearly anything
        raise InputError(f"{path}: {_reason(error)}") from None


def _named(path: Path, found: object, archive: bool) -> Weights:
    """Check that these are named tensors; take off wrappers."""
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]  # training checkpoints keep epoch and optimizer beside it
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path}: holds no named tensors; save model.state_dict()")
    values = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    other = sorted(set(found) - set(values))
    if other or not values:
        what = f"{other[0]!r}, which is no tensor" if other else "no tensor"
        raise InputError(f"{path}: holds {what}; save model.state_dict()")
    weights = {name: value for name, value in values.items() if name not in NOT_WEIGHTS}
    return Weights(weights, archive or "input_resolution" in values)


# OpenAI's archives: a zip of code and tensors. The code is left out, the tensors are read as pickled ones.


class _Part:
    """What stands for every module of an archive: a holder of its tensors."""


def _is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _open_archive(path: Path) -> object:
    """The tree of modules, each an empty `_Part` with its tensors; `weights_only` refuses everything else."""
    stripped = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stripped, "w") as target:
        if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size:
            raise InputError(f"{path}: unpacks to more than it should hold; {AGAIN}")
        for name in archive.namelist():
            inner = name.partition("/")[2]
            if inner.startswith("data/") or inner in ("data.pkl", "version", "byteorder"):
                content = archive.read(name)
                target.writestr(name, content)
                if inner == "data.pkl":
                    modules = _modules(content)
    stripped.seek(0)
    with torch.serialization.safe_globals([(_Part, module) for module in modules]):
        return torch.load(stripped, map_location="cpu", weights_only=True)


def _modules(content: bytes) -> set[str]:
    """Dotted names of the archive's own classes; none of them exists outside it."""
    named = {arg for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL"}
    return {name.replace(" ", ".") for name in named if name.startswith("__torch__.")}


def _leaves(part: object, before: str) -> Iterator[tuple[str, Tensor]]:
    """Dotted names and tensors below a module."""
    for name, value in vars(part).items():
        if isinstance(value, Tensor):
            yield before + name, value
        elif isinstance(value, _Part):
            yield from _leaves(value, f"{before}{name}.")


def _reason(error: Exception) -> str:
    """Why a checkpoint was refused."""
    said = str(error)
    if isinstance(error, pickle.UnpicklingError) and ("GLOBAL" in said or "Unsupported" in said):
        named = said.partition("GLOBAL ")[2].split(" ")[0]
        what = f"more than tensors ({named})" if named else "more than tensors"
        return f"holds {what}, and opening it could run code; save model.state_dict() instead"
    return f"broken, or no checkpoint ({one_line(error, kind=True)}); {AGAIN}"

"""Tensors on disk: one safetensors file with a JSON header, whole or not at all; nothing unpickles."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path


def write_tensors(path: str | Path, kind: str, tensors: dict[str, torch.Tensor], header: dict) -> None:
    """Write tensors and a JSON header as one safetensors file; `kind` is what it holds, checked again on reading.

    Raises:
        InputError: if the file cannot be written, or the header holds what JSON cannot.
    """
    try:
        text = json.dumps({**header, "kind": kind}, sort_keys=True)
    except TypeError as error:
        raise InputError(
            f"cannot write {path}: the header holds what JSON cannot ({error}); keep text and numbers"
        ) from None
    with atomic_path(path) as temporary:
        try:
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, {"kpl": text}
            )
        except (SafetensorError, OSError) as error:
            raise InputError(f"cannot write {path}: {error}; is the disk full?") from None


def read_tensors(
    path: str | Path, kind: str, names: tuple[str, ...] = ()
) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and header that `write_tensors` wrote.

    Raises:
        InputError: if the file is missing, broken, of another kind, or without a tensor of these names.

    Example:
        >>> read_tensors("nowhere.safetensors", "Features")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.safetensors: no such file; make it first, or correct the path
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; make it first, or correct the path")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("kpl", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); delete it and make it again"
        ) from None
    if header.get("kind") != kind or not all(name in tensors for name in names):
        raise InputError(f"{path}: holds no {kind}; pass a file that {kind}.save wrote")
    return tensors, header

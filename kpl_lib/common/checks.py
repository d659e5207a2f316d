"""Shared checks of arguments: one line that names the argument, its shape and the cure."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError

UNIT_TOLERANCE = 1e-2
BLOCK = 1 << 24  # entries looked at together, so that a check needs little memory


def shape_of(x: Tensor) -> str:
    """Shape as it stands in messages, e.g. `[600, 768]`."""
    return str(list(x.shape))


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype to compute and answer in: the widest of the inputs, at least float32."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    return x.split(max(1, BLOCK // x.shape[1]))


def _check_kind(x: Tensor, name: str, layout: str) -> None:
    """Raise unless `x` is a floating-point matrix; its numbers are not read."""
    if not isinstance(x, Tensor):
        raise InputError(
            f"{name} must be a torch tensor {layout}, not {type(x).__name__}: use torch.as_tensor"
        )
    if x.dim() != 2 or 0 in x.shape:
        raise InputError(
            f"{name} must be a matrix {layout} with rows and columns, its shape is {shape_of(x)}"
        )
    if not x.is_floating_point():
        raise InputError(f"{name} {shape_of(x)} holds {x.dtype}: convert it with .float()")


def check_float_matrix(x: Tensor, name: str, layout: str = "[N, D]") -> Tensor:
    """Return `x` if it is a real floating-point matrix without NaN or Inf; the host reads it once.

    Raises:
        InputError: if it is not.
    """
    _check_kind(x, name, layout)
    bad = torch.cat([~torch.isfinite(block).all(dim=1) for block in _blocks(x)])
    if bad.any():
        row, count = int(bad.nonzero()[0]), int(bad.sum())
        raise InputError(
            f"{name} {shape_of(x)} holds NaN or Inf in {count} rows, first in row {row}: encode these again"
        )
    return x


def check_unit_rows(x: Tensor, name: str, layout: str = "[N, D]") -> Tensor:
    """Return `x` if every row is within 1e-2 of unit length; the host reads it once.

    Raises:
        InputError: if `x` is no such matrix.
    """
    _check_kind(x, name, layout)
    norms = torch.cat([block.to(working_dtype(block)).norm(dim=1) for block in _blocks(x)])
    bad = ~((norms - 1).abs() <= UNIT_TOLERANCE)  # NaN is bad too
    if bad.any():
        check_float_matrix(x, name, layout)
        row = int(bad.nonzero()[0])
        what = f"length {float(norms[row]):.4g}" if norms[row] > 0 else "all zeros"
        raise InputError(
            f"{name} {shape_of(x)} must have unit rows, {int(bad.sum())} have not (row {row}: {what}): "
            "use torch.nn.functional.normalize(..., dim=1) and drop rows of zeros"
        )
    return x


def check_images(images: Tensor, name: str = "images", minimum: int = 2) -> Tensor:
    """Return image features `[N, D]` if they are unit rows and there are at least `minimum` of them."""
    check_unit_rows(images, name)
    if len(images) < minimum:
        raise InputError(
            f"{name} {shape_of(images)}: {len(images)} image is too few for a method that reads the whole "
            f"set, give at least {minimum}"
        )
    return images


def check_proxies(proxies: Tensor, images: Tensor, name: str = "initial") -> Tensor:
    """Return class proxies `[C, D]` if they are unit rows, at least two, in the space of `images`."""
    check_unit_rows(proxies, name, "[C, D]")
    check_classes(len(proxies), f"{name} {shape_of(proxies)}")
    check_same_space(proxies, images, name)
    return proxies


def check_same_space(x: Tensor, images: Tensor, name: str) -> None:
    """Raise unless `x` has as many columns D as `images` and lies on the same device."""
    if x.shape[1] != images.shape[1]:
        raise InputError(
            f"{name} {shape_of(x)} and images {shape_of(images)} differ in D: use one encoder for both"
        )
    check_same_device(x, images, name)


def check_same_device(x: Tensor, images: Tensor, name: str) -> None:
    """Raise unless `x` lies on the device of `images`."""
    if x.device != images.device:
        raise InputError(f"{name} is on {x.device}, images on {images.device}: move one with .to(device)")


def check_classes(count: int, what: str) -> None:
    """Raise unless there are at least two classes."""
    if count < 2:
        raise InputError(f"{what}: {count} class leaves nothing to tell apart, give at least 2")


def check_logits(logits: Tensor, minimum: int = 2) -> Tensor:
    """Return logits `[N, C]` if they are a finite matrix of at least `minimum` images and two classes."""
    check_float_matrix(logits, "logits", "[N, C]")
    check_classes(logits.shape[1], f"logits {shape_of(logits)}")
    if len(logits) < minimum:
        raise InputError(
            f"logits {shape_of(logits)}: 1 image is too few, transport balances a set of at least 2"
        )
    return logits


def check_plan(
    pseudo_labels: Tensor, images: Tensor, classes: int | None = None, name: str = "pseudo_labels"
) -> Tensor:
    """Return pseudo labels `[N, C]` if finite, not negative, one row an image and one column a class."""
    _check_kind(pseudo_labels, name, "[N, C]")
    shape = f"{name} {shape_of(pseudo_labels)}"
    check_classes(pseudo_labels.shape[1], shape)
    check_same_device(pseudo_labels, images, name)
    if len(pseudo_labels) != len(images):
        raise InputError(f"{shape} and images {shape_of(images)} differ in N: give one row for each image")
    if classes is not None and pseudo_labels.shape[1] != classes:
        raise InputError(f"{shape} do not fit {classes} proxies: give one column for each class")
    least, mass = torch.stack([pseudo_labels.min(), pseudo_labels.sum()]).tolist()  # read once
    if not math.isfinite(least + mass):
        check_float_matrix(pseudo_labels, name, "[N, C]")
    if least < 0:
        raise InputError(f"{shape} hold negative values: give probabilities or a transport plan")
    if mass <= 0:
        raise InputError(f"{shape} are zero everywhere: give probabilities or a transport plan")
    return pseudo_labels


def check_prior(prior: Tensor | Sequence[float] | None, classes: int, name: str = "prior") -> Tensor:
    """Return the class prior as float64 `[C]` on the CPU, summing to 1; uniform if it is None."""
    if prior is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    try:
        q = torch.as_tensor(prior, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} must hold one number for each of the {classes} classes, not {prior!r}"
        ) from None
    if q.shape != (classes,):
        raise InputError(f"{name} {shape_of(q)} must hold one number for each class: shape [{classes}]")
    if not torch.isfinite(q).all() or (q <= 0).any():
        raise InputError(
            f"{name} {shape_of(q)} must be positive for every class: drop classes that cannot occur"
        )
    total = float(q.sum())
    if not math.isclose(total, 1, abs_tol=1e-3):
        raise InputError(f"{name} {shape_of(q)} must sum to 1, it sums to {total:.4g}: divide it by its sum")
    return q / total


def check_positive(value: float, name: str) -> float:
    """Return `value` if it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{name} must be a number above 0, not {value!r}: choose another {name}")
    return float(value)


def check_count(value: int, name: str, minimum: int = 1) -> int:
    """Return `value` if it is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(f"{name} must be a whole number of at least {minimum}, not {value!r}")
    return value


def check_labels(labels: Tensor | Sequence[int], count: int, classes: int) -> Tensor:
    """Return class numbers `[N]`, -1 where unknown, as int64.

    Raises:
        InputError: if there are not `count` of them, or one is not in -1..C-1.
    """
    found = torch.as_tensor(labels)
    if found.shape != (count,) or found.is_floating_point() or found.is_complex():
        kind = f"{found.dtype} {shape_of(found)}"
        raise InputError(f"labels: {kind} for {count} images; give a whole number for each, -1 where unknown")
    found = found.to(torch.int64)
    wrong = (found < -1) | (found >= classes)
    if bool(wrong.any()):
        raise InputError(f"labels: {int(found[wrong][0])} is not in -1..{classes - 1}; give class numbers")
    return found

"""Where and how finely to compute."""

import torch

from kpl_lib.common.errors import InputError

PRECISIONS = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "mixed": torch.float32,  # of weights and images; see `mixed_dtype`
}


def check_precision(precision: str | None) -> str:
    """Return `fp32`, `fp16`, `bf16` or `mixed`; None is `fp32`, any other an InputError."""
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown: choose one of {', '.join(PRECISIONS)}")
    return precision or "fp32"


def mixed_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype of large products with `mixed`; None with any other precision.

    Example:
        >>> mixed_dtype("mixed", torch.device("cpu"))
        torch.bfloat16
    """
    if precision != "mixed":
        return None
    return torch.float16 if device.type == "cuda" else torch.bfloat16


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for, if it can be used here; without a wish a GPU if there is one, else the CPU.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        raise InputError(f"device {str(device)!r} cannot be used here; leave it out, or say 'cpu'") from None
    if place.type not in ("cpu", "cuda"):  # Apple's mps has no float64, which the solvers sum in
        raise InputError(f"device {str(device)!r} is not supported: say 'cpu', or 'cuda' where there is one")
    return place

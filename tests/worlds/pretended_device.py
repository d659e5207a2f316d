"""A second device that is none: its tensors compute on the CPU, and refuse what a GPU refuses.

PyTorch leaves one device type to others, `privateuseone`. A tensor subclass takes it here: each of its tensors holds
one of the CPU, and every operation on it passes `_run`, which refuses mixed devices and counts what the host reads. All
of it is registered from Python, inside the process that runs the test: no C compiler, no driver, no preloaded library,
no GPU. `cuda` itself cannot be pretended so, because torch asks the driver before it asks Python.

Limits: it rounds as the CPU does, knows no streams, pinned memory, autocast or generators of its own, and takes from a
list (`READS`) which kernels make a GPU wait for the host.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "privateuseone"  # renamed, it would be the accelerator that torch chooses in all tests of the process
DEVICE = f"{NAME}:0"

#: Kernels that hand a result to the host, or whose output has a size that the host must know first.
READS = {
    "_local_scalar_dense",
    "equal",
    "allclose",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique2",
    "unique_dim",
}
READS |= {"unique_consecutive", "repeat_interleave", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd"}
MOVES = {"to", "_to_copy", "copy_"}  # what may read one device and write another
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
JOINED = {"cat", "stack"}  # take not even a number without dimensions from elsewhere


class Mixed(RuntimeError):
    """What a GPU refuses."""


class Pretended(Tensor):
    """A tensor of the pretended device; `held` has its numbers, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Pretended":
        shape = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.shape, **shape, device=DEVICE)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})

    def tolist(self) -> list:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False):
        if not force and "numpy" not in vars(
            Tensor
        ):  # `notebook.setup` puts one there that reads every device
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy, in {place()}")
        return self.detach().cpu().numpy()

    def __array__(self, dtype=None, copy=None):
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __format__(self, how: str) -> str:
        return format(self.cpu(), how)

    def __repr__(self) -> str:
        return f"{DEVICE} {self.held!r}"


class _Everywhere(TorchDispatchMode):
    """Brings operations here that make a tensor on the device from none of it: `zeros(device=)`, `x.to(device)`."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


_reads: Counter[str] = Counter()
_copied = False


@contextmanager
def pretended(copied: bool = False) -> Iterator[Counter[str]]:
    """The block in which the device is there; gives the host reads by place, which grow inside it.

    `copied`: outside the library, row numbers of the CPU choose rows of the device, as a GPU copies them unasked.
    """
    global _reads, _copied
    _register()
    before, (_reads, _copied) = (_reads, _copied), (Counter(), copied)
    try:
        with _Everywhere():
            yield _reads
    finally:
        _reads, _copied = before


def _register() -> None:
    """Tell torch of the device, once a process: how many there are, and that nothing has to be switched to reach it.

    `torch.tensor(list, device=)` moves what it made below all that Python sees, and needs two kernels for that.
    """
    if hasattr(torch, NAME):
        return
    module = ModuleType(f"torch.{NAME}")
    module.is_available, module.device_count, module.current_device = lambda: True, lambda: 1, lambda: 0
    module.get_amp_supported_dtype = list
    module._is_in_bad_fork, module.manual_seed_all = lambda: False, lambda seed: None
    torch._register_device_module(NAME, module)

    class Guard(torch._C._acc.DeviceGuard):
        def type_(self):
            return torch._C._autograd.DeviceType.PrivateUse1

    module.guard = Guard()
    torch._C._acc.register_python_privateuseone_device_guard(module.guard)

    @torch.library.impl("aten::empty_strided", NAME)
    def _(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
        return Pretended(torch.empty_strided(size, stride, dtype=dtype))

    @torch.library.impl("aten::_copy_from", NAME)
    def _(source, target, non_blocking=False):
        target.held.copy_(source)
        return target


def _run(operation: Callable, args: tuple, kwargs: dict) -> object:
    """One operation: as the CPU does it, once it is sure that a GPU would do it too."""
    given = list(_tensors((*args, *kwargs.values())))
    own = [x for x in given if isinstance(x, Pretended)]
    asked = kwargs.get("device") or next((x for x in args if isinstance(x, torch.device)), None)
    if not own and (asked is None or torch.device(asked).type != NAME):
        return operation(*args, **kwargs)
    name = operation._schema.name.partition("::")[2]
    target = args[0] if name == "copy_" else kwargs.get("out")
    here = bool(own)
    if asked is not None:
        here = torch.device(asked).type == NAME
    elif isinstance(target, Tensor):
        here = isinstance(target, Pretended)
    if name not in MOVES and len(own) < len(given) and not _allowed(name, args, given, here):
        _refuse(name, ", ".join(f"{list(x.shape)} on {x.device.type}" for x in given))
    generator = kwargs.get("generator")
    if here and generator is not None and generator.device.type != NAME:
        _refuse(name, f"a generator on {generator.device.type}")
    if own and (name in READS or (name in MOVES and not here) or _by_mask(name, args)):
        _reads[place()] += 1
    found = operation(*_held(args), **{key: _held(value) for key, value in kwargs.items()})
    return _wrapped(found, {id(x.held): x for x in own}) if here else found


def _allowed(name: str, args: tuple, given: list[Tensor], here: bool) -> bool:
    """A GPU takes numbers without dimensions from the CPU. It copies row numbers too, unasked: that is refused here."""
    if _copied and name in INDEXED and isinstance(args[0], Pretended) and place() == "outside kpl_lib":
        given = list(_tensors(args[2:]))
    written = name.endswith("_") and not name.startswith("__")
    if not here or name in JOINED or ((written or name in INDEXED) and not isinstance(args[0], Pretended)):
        return False
    return all(isinstance(x, Pretended) or not x.dim() for x in given)


def _refuse(name: str, what: str) -> None:
    raise Mixed(f"{name}: {what}, not all on one device, in {place()}")


def _by_mask(name: str, args: tuple) -> bool:
    """Rows chosen by a mask: the host has to know how many they are."""
    return name in INDEXED and any(isinstance(x, Pretended) and x.dtype == torch.bool for x in args[1])


def place() -> str:
    """The function of the library that is at work, such as `common.checks.check_unit_rows`."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("kpl_lib."):
        frame = frame.f_back
    if frame is None:
        return "outside kpl_lib"
    module = frame.f_globals["__name__"].removeprefix("kpl_lib.")
    return f"{module}.{frame.f_code.co_qualname}".partition(".<")[0]


def _tensors(values) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _held(value):
    """The same argument for the CPU."""
    if isinstance(value, Pretended):
        return value.held
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _wrapped(value, known: dict[int, Pretended]):
    """The same result on the device; what was written in place stays the tensor that it was."""
    if isinstance(value, Tensor):
        return known[id(value)] if id(value) in known else Pretended(value)
    return type(value)(_wrapped(x, known) for x in value) if type(value) in (list, tuple) else value

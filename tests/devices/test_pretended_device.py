"""The pretended device refuses what a GPU refuses, takes what a GPU takes, and counts what the host reads."""

import numpy as np
import pytest
import torch
from pretended_device import DEVICE, Mixed, Pretended, pretended


@pytest.fixture(autouse=True)
def reads():
    with pretended() as found:
        yield found


def rows():
    return torch.arange(6.0).view(3, 2).to(DEVICE)


REFUSED = {
    "a sum": lambda x: x + torch.ones(2),
    "a product": lambda x: x @ torch.ones(2, 2),
    "joining": lambda x: torch.cat([x, torch.ones(1, 2)]),
    "stacking with a number": lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "rows of the CPU by numbers of the device": lambda x: torch.ones(3)[x[:, 0].argsort()],
    "a mask of the device on the CPU": lambda x: torch.ones(3)[x[:, 0] > 1],
    "row numbers of the CPU, which a GPU would copy": lambda x: x[torch.tensor([2, 0])],
    "values of the CPU put into the device": lambda x: x.index_put_((torch.tensor([0]),), torch.ones(1, 2)),
    "a sum in place": lambda x: torch.ones(3, 2).add_(x),
    "a number of the CPU changed in place": lambda x: torch.tensor(1.0).add_(x[0, 0]),
    "an output elsewhere": lambda x: torch.exp(x, out=torch.ones(3, 2)),
    "row numbers of the CPU to add to": lambda x: x.index_add_(0, torch.tensor([0]), x[:1]),
    "a tensor out of numpy": lambda x: torch.from_numpy(np.ones((3, 2), dtype=np.float32)) * x,
    "a generator of the CPU": lambda x: torch.randn(3, device=x.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_mixes_devices_is_refused(what):
    with pytest.raises(Mixed, match=r"not all on one device, in outside kpl_lib"):
        REFUSED[what](rows())


@pytest.mark.parametrize("read", (lambda x: x.numpy(), np.asarray, lambda x: torch.as_tensor(np.array(x))))
def test_numpy_does_not_read_the_device(read):
    with pytest.raises(TypeError, match="can't convert privateuseone:0 device type tensor to numpy"):
        read(rows())


TAKEN = {
    "a number": lambda x: x * 2 + 1,
    "a number without dimensions": lambda x: x + torch.tensor(2.0),
    "a new tensor": lambda x: torch.zeros(3, 2, device=x.device).add_(x),
    "a list": lambda x: torch.tensor([1.0, 2.0], device=x.device) + x,
    "a list, as the tensor has it": lambda x: x.new_tensor([1.0, 2.0]) + x,
    "as_tensor": lambda x: torch.as_tensor([[1.0, 2.0]], device=x.device) + x,
    "other numbers like these": lambda x: torch.ones_like(x) - x,
    "a view, changed": lambda x: x.T.contiguous().T.add_(1),
    "an element, set": lambda x: x.clone().index_fill_(0, torch.tensor([1], device=x.device), 7.0),
    "moved, with another dtype": lambda x: torch.ones(3, 2).to(x.double()) * x.double(),
    "an output": lambda x: torch.exp(x, out=torch.empty_like(x)),
    "several results": lambda x: x.sort(dim=0, descending=True).indices,
    "a softmax in blocks": lambda x: torch.cat([block.softmax(dim=1) for block in x.split(2)]),
    "a system": lambda x: torch.linalg.solve(x.T @ x + torch.eye(2, device=x.device), x.T),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_stays_on_the_device_gives_what_the_cpu_gives(what):
    found, expected = TAKEN[what](rows()), TAKEN[what](rows().cpu())
    assert type(found) is Pretended and found.device == torch.device(DEVICE)
    assert (
        found.shape == expected.shape
        and found.stride() == expected.stride()
        and found.dtype == expected.dtype
    )
    assert torch.equal(found.cpu(), expected)


def test_a_change_in_place_is_seen_through_every_view():
    x = rows()
    x[1, 0], column = 9.0, x[:, 0]
    x.diagonal().add_(1.0)
    assert column.tolist() == [1.0, 9.0, 4.0] and float(x[1, 1]) == 4.0


@pytest.mark.parametrize(
    ("read", "count"),
    (
        (lambda x: float(x[0, 0]), 1),
        (lambda x: bool((x > 0).all()), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x[x[:, 0] > 0], 1),
        (lambda x: (x > 0).nonzero(), 1),
        (lambda x: torch.empty(3, 2).copy_(x), 1),
        (lambda x: torch.linalg.cholesky(x.T @ x + torch.eye(2, device=x.device)), 1),
        (lambda x: x @ x.T, 0),
        (lambda x: x.argmax(dim=0), 0),
    ),
)
def test_what_the_host_reads_is_counted(reads, read, count):
    x = rows()
    read(x)
    assert reads.total() == count and set(reads) <= {"outside kpl_lib"}


def test_a_place_is_a_function_of_the_library(reads):
    from kpl_lib.common.checks import check_unit_rows

    check_unit_rows(torch.eye(2).to(DEVICE), "x")
    assert dict(reads) == {"common.checks.check_unit_rows": 1}


def test_the_device_is_gone_after_its_block():
    """No other test of this process meets it: the CPU stays what is chosen."""
    assert torch.accelerator.current_accelerator() != torch.device("privateuseone")

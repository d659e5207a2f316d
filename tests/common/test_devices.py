"""Devices: the CPU and CUDA; every other one is refused in one line."""

import pytest
import torch

from kpl_lib.common.devices import choose_device
from kpl_lib.common.errors import InputError
from kpl_lib.encoders import load_encoder


@pytest.mark.parametrize("choose", [choose_device, lambda device: load_encoder("phantom", device=device)])
def test_mps_is_refused_in_one_line(monkeypatch, choose):
    """On a machine of Apple, where a tensor can be made there; and on others."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.empty", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"^device 'mps' is not supported: say 'cpu'") as caught:
        choose("mps")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    if not torch.backends.mps.is_available():
        with pytest.raises(
            InputError, match=r"^device 'mps' cannot be used here; leave it out, or say 'cpu'$"
        ):
            choose("mps")


def test_without_a_wish_it_is_the_gpu_or_the_cpu(monkeypatch):
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert choose_device().type == kind

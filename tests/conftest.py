"""What every test shares: one thread a worker, no windows, no network, and the folder of references."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples in each run, so that a red build can be repeated; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("KPL_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Find a reference file by its path under `shared/`; the test is skipped where it is absent."""

    def find(path: str) -> Path:
        if not (SHARED / path).exists():
            pytest.skip(f"{path} is not in shared/ (set KPL_SHARED)")
        return SHARED / path

    return find


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails; this machine's own addresses are free."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in {"localhost", "127.0.0.1", "::1"}:
            raise AssertionError(f"a test reached for the network: {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="module")
def natural7(request):
    """Image features `[1803, 512]` and text features `[7, 512]` of real CLIP, unit rows; skipped where absent."""
    import numpy as np
    import torch  # not above: the number of threads is set first
    import torch.nn.functional as F

    path = request.getfixturevalue("shared")("real/natural7_clip_vitb32.npz")
    with np.load(path) as file:
        images, text = (torch.from_numpy(file[f"{kind}_features"]) for kind in ("image", "text"))
    return F.normalize(images, dim=1), F.normalize(text, dim=1)


@pytest.fixture(scope="module")
def chrome():
    """A browser; Playwright is imported only here, because Colab's environment has none and runs the other tests."""
    from browser import browser

    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def base():
    """The address of the built site, as this machine serves it."""
    from browser import SITE, served

    assert (SITE / "index.html").is_file(), "no index.html: run `make book` first"
    with served(SITE) as address:
        yield address

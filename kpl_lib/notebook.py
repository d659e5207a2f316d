"""What a chapter does first: seeds, figure style, full float32, and one line that says what it runs on."""

import os
import platform
import random
import sys
import warnings
from functools import partialmethod

import numpy as np
import torch

import kpl_lib
from kpl_lib.claim_files import read_claims
from kpl_lib.claims import Outcomes, measure
from kpl_lib.common.devices import choose_device
from kpl_lib.common.extras import matplotlib as mpl
from kpl_lib.common.files import default_folder
from kpl_lib.plots import COLOURS as COLOURS  # chapters take them from here
from kpl_lib.plots import STYLE

warnings.filterwarnings("ignore", message=".*IProgress not found.*")  # plain text progress is what pages show
warnings.filterwarnings("ignore", message=".*control TF32 behavior.*")  # which has two names since torch 2.9
#: Folder of the features that several chapters share; `KPL_CACHE` names another one.
CACHE = default_folder()


def setup(seed: int = 0) -> torch.device:
    """Seed everything, set the book's style of figures, and print versions and device.

    Products and convolutions of a GPU keep all bits of float32: by default newer cards round the factors to TF32, with
    10 bits in place of 23, and figures would differ from those of the book. Figures and numpy read tensors of a GPU
    too, which elsewhere takes `.cpu()`.

    Args:
        seed: seed of Python, NumPy and torch.

    Returns:
        The device that encoders should use, `cuda` where there is a GPU, else `cpu`; features, banks and solvers
        follow their encoder.

    Example:
        >>> device = setup(seed=0)
        kpl_lib ... · torch ... · python ... · running on ...

    Chapter: ch-how-to-use
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    mpl.rcParams.update(STYLE)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = choose_device()
    if device.type != "cpu":
        torch.Tensor.numpy = partialmethod(torch.Tensor.numpy, force=True)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    versions = f"torch {torch.__version__} · python {platform.python_version()}"
    print(f"kpl_lib {kpl_lib.__version__} · {versions} · running on {where}")
    return device


def claims(page: str) -> Outcomes:
    """Measure every statement of a page with the variables of the notebook that calls, and show which came out.

    It never stops a notebook: what differs, or could not be measured, is a row of the table. What was measured is
    written to the folder that the variable `KPL_CLAIMS` names, for the build of the book.

    Args:
        page: the name of the page's file in `data/claims`, such as `08_closed_form`.

    Returns:
        The outcomes; a notebook shows them as a line and a table of what differs.

    Raises:
        InputError: if there is no such file, or an entry of it is wrong.

    Example:
        >>> by_hand = 0.96
        >>> claims("_template")
        1 of 1 statements of this page came out on this machine (...).

    Chapter: ch-how-to-use
    """
    outcomes = measure(read_claims(page), sys._getframe(1).f_globals)
    if os.environ.get("KPL_CLAIMS"):
        outcomes.save(os.environ["KPL_CLAIMS"])
    return outcomes

"""What a chapter does first: seeds, figure style, and one line that says what it runs on."""

import platform
import random
import warnings

import matplotlib as mpl
import numpy as np
import torch

import kpl_lib
from kpl_lib.feature_cache import default_folder

warnings.filterwarnings("ignore", message=".*IProgress not found.*")  # plain text progress is what pages show
#: Folder of the features that several chapters share; `KPL_CACHE` names another one.
CACHE = default_folder()

#: Okabe and Ito's colours: they stay apart for colour-blind readers.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "grey": "#6E6E6E",
}

STYLE = {  # of every figure in the book
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values())),
    "image.interpolation": "nearest",
}


def setup(seed: int = 0) -> torch.device:
    """Seed everything, set the book's figure style, and print versions and device.

    Args:
        seed: seed of Python, NumPy and torch.

    Returns:
        The device that encoders and solvers should use: `cuda` where there is a GPU, else `cpu`.

    Example:
        >>> device = setup(seed=0)
        kpl_lib ... · torch ... · python ... · running on ...

    Chapter: ch-how-to-use
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    mpl.rcParams.update(STYLE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(
        f"kpl_lib {kpl_lib.__version__} · torch {torch.__version__} · python {platform.python_version()}"
        f" · running on {where}"
    )
    return device

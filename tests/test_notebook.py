"""What every chapter does first."""

import subprocess
import sys

CODE = """
import warnings
warnings.simplefilter("error")
import torch
from kpl_lib import notebook
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
notebook.setup(seed=0)
print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
"""


def test_setup_keeps_all_bits_of_float32_without_a_warning():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False"

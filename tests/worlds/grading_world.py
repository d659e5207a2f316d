"""Hidden tests run in this process, on a made-up world: quick, and the same code as `make grade` runs."""

import importlib.util
import inspect
import re
import sys
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F

BOOK = Path(__file__).resolve().parents[2] / "book"
GRADING = BOOK / "instructor" / "grading"
sys.path.append(str(GRADING))
from checks import Student, line  # noqa: E402 (its folder is no package)

from book.tools.grading.run import read_rubric  # noqa: E402
from book.tools.grading.submission import load  # noqa: E402

NUMBERS = (1, 2)
RUBRICS = {number: read_rubric(number) for number in NUMBERS}


def hidden_tests(number: int) -> dict:
    """Item -> hidden test of an assignment."""
    folder, modules = GRADING / f"assignment_{number}", {}
    for name in ("reference", "hidden"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        modules[name] = importlib.util.module_from_spec(spec)
        sys.modules[name] = modules[name]  # hidden.py imports reference
        spec.loader.exec_module(modules[name])
    sys.modules.pop("reference")
    found = inspect.getmembers(modules["hidden"], inspect.isfunction)
    return {name.removeprefix("test_"): test for name, test in found if name.startswith("test_")}


HIDDEN = {number: hidden_tests(number) for number in NUMBERS}


def world(seed: int) -> dict:
    """What stands for encoded phantoms: even classes in a cone, texts that lie elsewhere, and 20 lines a class."""
    draw = torch.Generator().manual_seed(seed)
    centres = 0.35 * torch.randn(4, 64, generator=draw)
    labels = torch.arange(240) % 4
    common = 2 * F.normalize(torch.randn(64, generator=draw), dim=0)
    images = F.normalize(common + centres[labels] + 0.35 * torch.randn(240, 64, generator=draw), dim=1)
    lines = [F.normalize(c + 0.6 * torch.randn(20, 64, generator=draw), dim=1) for c in centres]
    names = F.normalize(centres + 0.6 * torch.randn(4, 64, generator=draw), dim=1)
    return {"images": images, "labels": labels, "names": names, "descriptions": lines}


def messages(number: int, file: Path, seed: int) -> dict[str, str]:
    """Item -> message of a submission; no message means that it is won."""
    found = {}
    for item, test in HIDDEN[number].items():
        module, trouble = load(file)
        draw = torch.Generator().manual_seed(seed + zlib.crc32(item.encode()))
        given = {"student": Student(module, trouble), "draw": draw, "phantoms": world(seed)}
        try:
            test(**{name: given[name] for name in inspect.signature(test).parameters})
            found[item] = ""
        except BaseException as error:  # as the grader: whatever a submission raises
            found[item] = line(error)
    return found


def code_lines(file: Path) -> set[str]:
    """The lines of a file that say something: long enough, and no definition or import."""
    lines = (re.sub(r"\s+", " ", text).strip() for text in file.read_text(encoding="utf-8").splitlines())
    return {
        text for text in lines if len(text) > 25 and not text.startswith(("def ", "import ", "from ", '"""'))
    }

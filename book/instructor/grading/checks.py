"""What hidden tests ask of a submission, and how they say that something is wrong: in one line, without the answer."""

import copy
import traceback
from types import ModuleType

from torch import Tensor

LONGEST = 220  # characters of a message


class Wrong(AssertionError):
    """An item is lost; the message is for the student."""


def require(condition: object, message: str) -> None:
    """Raise Wrong with the message where the condition does not hold."""
    if not condition:
        raise Wrong(message)


def line(error: BaseException) -> str:
    """One line for any error of a hidden test."""
    if isinstance(error, Wrong):
        return shorten(str(error))
    return f"your result could not be compared ({type(error).__name__})"


def shorten(text: str) -> str:
    """The text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def place(error: BaseException) -> str:
    """Where in the submission an error arose, as `(cell 3, line 2)`, or nothing."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<submission ")]
    if not frames:
        return ""
    return f" ({frames[-1].filename.removeprefix('<submission ').rstrip('>')}, line {frames[-1].lineno})"


class Student:
    """The functions of one submission. Results are checked for type, shape and finite numbers as they come."""

    def __init__(self, module: ModuleType, trouble: list[str]) -> None:
        self.module, self.trouble = module, trouble

    def lend(self, **functions: object) -> None:
        """Put working functions in the place of earlier tasks, so that a mistake there is counted once."""
        vars(self.module).update(functions)

    def call(self, name: str, *arguments: object) -> object:
        """Call a function of the submission on copies of the arguments."""
        function = getattr(self.module, name, None)
        hint = f": {self.trouble[0]}" if self.trouble else ": is its cell there, and is the name right?"
        require(callable(function), f"there is no function {name}{hint}")
        try:
            return function(*copy.deepcopy(arguments))
        except NotImplementedError:
            raise Wrong(f"{name} is not written yet") from None
        except SystemExit:
            raise Wrong(f"{name} ends the program (sys.exit); give a result back") from None
        except KeyboardInterrupt:
            raise Wrong(f"{name} raises KeyboardInterrupt; give a result back") from None
        except BaseException as error:
            try:
                said = f"{type(error).__name__}: {error}"
            except BaseException:  # an error of the submission's own making
                said = "an error that cannot be printed"
            raise Wrong(shorten(f"{name} stopped with {said}{place(error)}")) from None

    def tensor(self, name: str, *arguments: object, shape: tuple[int, ...]) -> Tensor:
        """A finite floating-point tensor of this shape, as float64."""
        found = self.call(name, *arguments)
        require(type(found) is Tensor, f"{name} returns {kind(found)}; a torch tensor is asked for")
        require(
            found.is_floating_point(), f"{name} returns {found.dtype}; floating-point numbers are asked for"
        )
        said = f"{name} returns shape {tuple(found.shape)}; {shape} is asked for"
        require(tuple(found.shape) == shape, said)
        found = found.detach().double()
        require(
            bool(found.isfinite().all()), f"{name} returns numbers that are infinite or not numbers (nan)"
        )
        return found

    def numbers(self, name: str, *arguments: object, count: int) -> list[float]:
        """So many finite numbers, from a tuple, a list or a tensor."""
        return as_numbers(name, self.call(name, *arguments), count)

    def entries(self, name: str, *arguments: object, keys: tuple[str, ...]) -> dict:
        """A dictionary that holds these keys."""
        found = self.call(name, *arguments)
        require(isinstance(found, dict), f"{name} returns {kind(found)}; a dictionary is asked for")
        missing = [key for key in keys if key not in found]
        require(not missing, f"the dictionary of {name} has no entry {missing[:1]}")
        return found


def as_numbers(name: str, found: object, count: int) -> list[float]:
    """So many finite numbers as floats; a single number counts as one."""
    try:
        values = [float(value) for value in (found if count > 1 else [found])]
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{name} returns {kind(found)}; {plural(count)} asked for") from None
    require(len(values) == count, f"{name} returns {len(values)} numbers; {plural(count)} asked for")
    require(all(-1e30 < value < 1e30 for value in values), f"{name} returns a number that is not finite")
    return values


def plural(count: int) -> str:
    """`one number is`, `three numbers are`."""
    return "one number is" if count == 1 else f"{count} numbers are"


def kind(found: object) -> str:
    """What a result is, in words."""
    return "nothing (is there a return?)" if found is None else f"a {type(found).__name__}"

"""What every classifier shares: parameters, fit, predict, save, load, and the registry of names."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from kpl_lib.classifiers.start import STARTS
from kpl_lib.common.checks import check_count, check_images, check_labels, check_positive
from kpl_lib.common.errors import InputError, among, one_line
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.features import Features, TextBank
from kpl_lib.prediction import Prediction
from kpl_lib.text_proxies import numbers_of

_REGISTRY: dict[str, type["Classifier"]] = {}


@dataclass(eq=False)
class Classifier(ABC):
    """A method from image features and descriptions to classes: fields are parameters, `fit` sets the rest.

    A temperature of None is that of the encoder which made the texts, `bank.temperature`.

    After `fit`: `class_names`; `model`, which predicts; `chosen`, for each class the numbers of the
    descriptions that were used, best first, empty where none was; `joint`, what a method that reads
    neighbours says about the fitted images, where that is not what `predict` says of an image alone.

    Of each method: `transductive`, it reads the images as a set; `order_free`, their order does not matter;
    `takes_prior`, it uses class shares; `reads_labels`, it learns from labelled images where some are given;
    `needs_patches`, it reads patch features too.

    Args:
        text: where the text proxies come from: class `names`, `all` descriptions, the `top-k` nearest ones; as
            controls `random` words, or descriptions `swapped` between classes.
        k: descriptions kept per class with `top-k`.

    Chapter: ch-one-sitting
    """

    text: str = "names"
    k: int = 8
    name: ClassVar[str] = ""
    transductive: ClassVar[bool] = False
    order_free: ClassVar[bool] = True
    takes_prior: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    needs_patches: ClassVar[bool] = False
    model_type: ClassVar[type | tuple[type, ...]] = object
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    class_names: tuple[str, ...] = field(default=(), init=False, repr=False)
    chosen: tuple[tuple[int, ...], ...] = field(default=(), init=False, repr=False)
    model: object | None = field(default=None, init=False, repr=False)
    joint: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for key, allowed in {"text": STARTS, **self.choices}.items():
            if getattr(self, key) not in allowed:
                raise InputError(
                    f"{key} {getattr(self, key)!r} is unknown: {among(getattr(self, key), allowed)}"
                )
        for known in fields(self):
            value = getattr(self, known.name)
            of_text = known.init and known.default is None and value is not None
            if type(known.default) is int:
                check_count(value, known.name)
            elif type(known.default) is float or of_text:  # a temperature of the text may be None
                check_positive(value, known.name)
            elif type(known.default) is bool and type(value) is not bool:
                raise InputError(f"{known.name} must be True or False, not {value!r}")

    @property
    def parameters(self) -> dict:
        """The parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def parameters_with(self, bank: TextBank) -> dict:
        """The parameters as a fit to this bank takes them: its temperature where none was given."""
        return {k: bank.temperature if value is None else value for k, value in self.parameters.items()}

    @abstractmethod
    def _fit(
        self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None
    ) -> tuple[object, tuple]:
        """Return the model (`scores` and `probabilities` of images), and the chosen descriptions.

        A method that reads neighbours also sets `joint`: scores `[N, C]` whose softmax are the probabilities. One
        with `reads_labels` takes `labels` as well, int64 `[N]` or None: see `fit`.
        """

    def fit(
        self,
        images: Tensor | Features,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None = None,
        labels: Tensor | Sequence[int] | None = None,
    ) -> Self:
        """Fit to images of which none, or a few, are labelled.

        Args:
            images: unit rows `[N, D]`.
            bank: text features of C classes.
            prior: class shares `[C]` that sum to 1; None is uniform.
            labels: class numbers `[N]`, -1 where unknown; None is unknown throughout. The labels that images carry
                for judging (`Features.labels`) are never read.

        Returns:
            This classifier.

        Raises:
            InputError: for input that does not fit together, and for labels where the method reads none.
        """
        x = _matrix(images)
        check_images(x, minimum=2 if self.transductive else 1)
        known = None if labels is None else check_labels(labels, len(x), len(bank)).to(x.device)
        if known is not None and bool((known < 0).all()):
            known = None
        if known is not None and not self.reads_labels:
            readers = ", ".join(name for name, kind in sorted(_REGISTRY.items()) if kind.reads_labels)
            raise InputError(f"classifier {self.name!r} reads no labels: leave them out, or use {readers}")
        given = {"labels": known} if self.reads_labels else {}
        model, chosen = self._fit(x, bank, prior, **given)
        self.model, self.class_names = model, bank.class_names
        self.chosen = numbers_of(chosen)
        return self

    def predict(self, images: Tensor | Features) -> Prediction:
        """Classify images, the fitted ones or new ones, one or many.

        Args:
            images: unit rows `[N, D]`.

        Returns:
            Probabilities, scores and labels.

        Raises:
            InputError: before `fit`, or for images of another encoder.
        """
        if self.model is None:
            raise InputError(
                f"classifier {self.name!r} is not fitted: call fit(images, bank) first, or load one"
            )
        x = _matrix(images)
        scores = self.model.scores(x)
        return Prediction(self.model.probabilities(x), scores, scores.argmax(dim=1), self.class_names)

    def fit_predict(
        self,
        images: Tensor | Features,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None = None,
        patches: Tensor | None = None,
        labels: Tensor | Sequence[int] | None = None,
    ) -> Prediction:
        """Fit to images and classify the same images.

        `patches` is for methods that read patch tokens; the others ignore it. A method that reads neighbours
        classifies the fitted images together here; its `predict` places images one by one.
        """
        self.fit(images, bank, prior, labels)
        if self.joint is None:
            return self.predict(images)
        labels = self.joint.argmax(dim=1)
        return Prediction(self.joint.softmax(dim=1), self.joint, labels, self.class_names)

    def to(self, device: str | torch.device) -> Self:
        """The same fitted classifier on another device, such as that of the images to predict.

        Args:
            device: such as `cpu` or `cuda`.

        Returns:
            A copy; this one stays where it is.
        """
        moved = copy(self)
        moved.model = None if self.model is None else model_on(device, self.model)
        moved.joint = None if self.joint is None else self.joint.to(device)
        return moved

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """The fitted classifier as tensors, and a header that JSON can hold; `from_state` makes it again."""
        if self.model is None:
            raise InputError(f"classifier {self.name!r} is not fitted: there is nothing to save")
        values = {f.name: getattr(self.model, f.name) for f in fields(self.model)}
        tensors = {key: value.clone() for key, value in values.items() if isinstance(value, Tensor)}
        header = {"name": self.name, "parameters": self.parameters, "class_names": self.class_names}
        header["chosen"], header["model_type"] = self.chosen, type(self.model).__name__
        header["model"] = {key: value for key, value in values.items() if key not in tensors}
        return tensors, header

    @staticmethod
    def from_state(tensors: Mapping[str, Tensor], header: Mapping) -> "Classifier":
        """Make the classifier that `state` described; an InputError for what another version wrote."""
        made = create(header["name"], **header["parameters"])
        made.class_names = tuple(header["class_names"])
        made.chosen = tuple(map(tuple, header["chosen"]))
        kinds = made.model_type if isinstance(made.model_type, tuple) else (made.model_type,)
        kind = next((one for one in kinds if one.__name__ == header.get("model_type")), kinds[0])
        try:
            made.model = kind(**tensors, **header["model"])
        except TypeError as error:
            why = f"a {made.name!r} of another version of this library ({one_line(error)}); fit it again"
            raise InputError(why) from None
        return made

    def save(self, path: str | Path) -> None:
        """Write the fitted classifier as safetensors, whole or not at all."""
        write_tensors(path, "Classifier", *self.state())

    @staticmethod
    def load(path: str | Path) -> "Classifier":
        """Read what `save` wrote; its predictions are the same.

        Raises:
            InputError: if the file is missing, broken, or of a method that this library does not know.
        """
        return Classifier.from_state(*read_tensors(path, "Classifier"))


def register(name: str) -> Callable[[type[Classifier]], type[Classifier]]:
    """Class decorator that makes a classifier known to `create` under this name.

    Args:
        name: what `create` will know it by.

    Returns:
        The decorator; it gives the class back.

    Chapter: ch-failures
    """

    def add(kind: type[Classifier]) -> type[Classifier]:
        if _REGISTRY.get(name, kind).__qualname__ != kind.__qualname__:
            raise InputError(f"classifier {name!r} is taken: choose another name")
        kind.name = name
        _REGISTRY[name] = kind
        return kind

    return add


def available(patches: bool = False) -> tuple[str, ...]:
    """Names that `create` knows.

    Args:
        patches: also those of methods that read patch features beside the image features.

    Returns:
        The names.

    Example:
        >>> "kpl" in available(), "calip" in available(), "calip" in available(patches=True)
        (True, False, True)

    Chapter: ch-benchmark
    """
    return tuple(sorted(name for name, kind in _REGISTRY.items() if patches or not kind.needs_patches))


def create(name: str, **parameters) -> Classifier:
    """Make a classifier by name.

    Args:
        name: a name of `available()`.
        parameters: what the method takes; the rest keeps its defaults.

    Returns:
        The classifier, not fitted yet.

    Raises:
        InputError: for an unknown name or parameter (the nearest is said), or a value out of range.

    Example:
        >>> create("kpl", k=5).parameters["k"]
        5
        >>> create("klp")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: unknown classifier 'klp': did you mean 'kpl'? known: ...

    Chapter: ch-one-sitting
    """
    if name not in _REGISTRY:
        raise InputError(f"unknown classifier {name!r}: {among(name, available(patches=True))}")
    kind = _REGISTRY[name]
    known = tuple(f.name for f in fields(kind) if f.init)
    for key in parameters:
        if key not in known:
            raise InputError(f"classifier {name!r} takes no {key!r}: {among(key, known)}")
    return kind(**parameters)


def model_on(device: str | torch.device, model: object) -> object:
    """The same model with its tensors on a device."""
    values = {f.name: getattr(model, f.name) for f in fields(model)}
    return replace(
        model, **{key: value.to(device) for key, value in values.items() if isinstance(value, Tensor)}
    )


def _matrix(images: Tensor | Features) -> Tensor:
    return images.images if isinstance(images, Features) else images

"""A fitted classifier with all that it needs to classify new images later: one file."""

import datetime
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import kpl_lib
from kpl_lib.classifiers.base import Classifier
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.sets.folder import open_files
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.encoders.joined import JoinedEncoder, load_encoders
from kpl_lib.encoders.phantom_world import refuse_far
from kpl_lib.features import TextBank, one_by_one, read_by
from kpl_lib.own_images.classify import FolderRun, centre_of, encode_folder, rows_of
from kpl_lib.own_images.table import Classification

KIND = "FittedModel"


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted classifier, the texts it was fitted with, and what its encoder must be.

    Args:
        classifier: fitted, on the CPU.
        bank: features and texts of the descriptions that the classifier chose.
        centre: the mean image `[D]` of the images it was fitted to; descriptions are compared at it.
        encoders: names of its encoders: one, or several that were joined.
        fingerprint: checksum of them: weights, architecture, preprocessing, precision.
        origin: where it comes from, in words: knowledge base and who wrote it, images, versions, date.

    Example:
        >>> FittedModel.load("nowhere.safetensors")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.safetensors: no such file; make it first, or correct the path

    Chapter: ch-own-images
    """

    classifier: Classifier
    bank: TextBank
    centre: Tensor
    encoders: tuple[str, ...]
    fingerprint: str
    origin: dict[str, str]

    @classmethod
    def of(cls, run: FolderRun) -> "FittedModel":
        """Keep what a run over a folder has fitted; its images are not kept, but for methods that need them."""
        kb = run.knowledge
        origin = {
            "knowledge": kb.name,
            "written by": kb.origin,
            "images": f"{len(run.features)} of {run.dataset.name}",
            "versions": f"kpl_lib {kpl_lib.__version__}, torch {torch.__version__}",
            "date": datetime.date.today().isoformat(),
        }
        classifier, centre = run.classifier, centre_of(run.features.images)
        return cls(classifier, run.bank, centre, run.encoder.names, run.encoder.fingerprint, origin)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes."""
        return self.bank.class_names

    @property
    def encoder(self) -> str:
        """Name of the encoder; of several, with ` + ` between them."""
        return " + ".join(self.encoders)

    def open_encoder(
        self, names: str | Sequence[str] = (), device: str | torch.device | None = None
    ) -> Encoder | JoinedEncoder:
        """Load the encoder that the model was fitted with, or the several.

        Args:
            names: where it is now, if it has moved; of several, all in their order; none takes what was saved.
            device: where to run; None chooses.

        Raises:
            InputError: if one is missing, or what stands under a name is another encoder.
        """
        names = ([names] if isinstance(names, str) else list(names)) or self.encoders
        if len(names) != len(self.encoders):
            fitted = f"the model was fitted with {len(self.encoders)} encoders ({self.encoder})"
            cure = "name all of them with --encoder, in that order, or none"
            raise InputError(f"{fitted}, {len(names)} given: {cure}")
        found = load_encoders(names, device)
        if found.fingerprint != self.fingerprint:
            sums = f"checksum {self.fingerprint[:12]}, here {found.fingerprint[:12]}"
            raise InputError(
                f"encoder {found.name!r} is not the one that the model was fitted with ({self.encoder!r}, {sums}): "
                "its weights or preprocessing differ; name the right one with --encoder, or fit again"
            )
        return found

    def predict(
        self,
        images: ImageDataset | Sequence[str | Path] | str | Path,
        encoder: Encoder | JoinedEncoder | None = None,
        *,
        skip_unreadable: bool = False,
        accept_phantom: bool = False,
        workers: int | None = None,
        progress: bool = True,
    ) -> Classification:
        """Classify new images, one or many, each alone.

        For the images that were fitted this is what `classify_folder` gives. Methods that judge an image
        by others, near it (transclip, stata, zlap) or before it (oga), place images one by one here, and may differ.

        Args:
            images: a dataset, or image files and folders by name.
            encoder: from `open_encoder`; None loads it, which takes most of the time.
            skip_unreadable: leave out files that cannot be read, and list them.
            accept_phantom: go on, with a warning, where a phantom encoder meets images that are no phantoms.
            workers: processes that decode, as for `Encoder.encode_images`.
            progress: show bars.

        Returns:
            One row an image.

        Raises:
            InputError: for images that are missing or cannot be read, for another encoder, and for phantom encoders on
                images far from their world.
        """
        names = [images] if isinstance(images, str | Path) else images
        dataset = images if isinstance(images, ImageDataset) else open_files(names)
        if encoder is None or encoder.fingerprint != self.fingerprint:
            encoder = self.open_encoder(() if encoder is None else encoder.names)
        made, features = encode_folder(encoder, dataset, self.classifier, skip_unreadable, workers, progress)
        bank, fitted = self.bank.to(features.images.device), self.classifier.to(features.images.device)
        views = [rows for rows, _ in one_by_one(features.images, bank)]
        far = refuse_far(encoder.names, views, accept_phantom)
        if far is not None:
            warnings.warn(far, UserWarning, stacklevel=2)
        prediction = fitted.predict(made)
        return rows_of(prediction, features, bank, fitted.chosen, self.centre, warning=far)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            InputError: if the file cannot be written.
        """
        tensors, method = self.classifier.state()
        used = [sorted(chosen) or [0] for chosen in self.classifier.chosen]
        renumbered = [list(map(keep.index, c)) for c, keep in zip(self.classifier.chosen, used, strict=True)]
        rows = [group[keep] for group, keep in zip(self.bank.descriptions, used, strict=True)]
        texts = [[group[i] for i in keep] for group, keep in zip(self.bank.texts, used, strict=True)]
        header = {
            "classifier": {**method, "chosen": renumbered},
            "encoder": self.encoders if len(self.encoders) > 1 else self.encoder,  # a name, as in 0.1
            "fingerprint": self.fingerprint,
            "origin": self.origin,
            "texts": texts,
            "views": self.bank.views,
            "temperature": self.bank.temperature,
            "temperatures": self.bank.temperatures,
        }
        parts = {"centre": self.centre, "names": self.bank.names, "descriptions": torch.cat(rows)}
        write_tensors(path, KIND, {**parts, **{f"model {key}": t for key, t in tensors.items()}}, header)

    @classmethod
    def load(cls, path: str | Path) -> "FittedModel":
        """Read what `save` wrote; its predictions are the same.

        Raises:
            InputError: if the file is missing, broken, or no fitted model of this library.
        """
        try:
            tensors, header = read_tensors(path, KIND, ("centre", "names", "descriptions"))
        except InputError as error:
            if not Path(path).is_file():
                raise
            why = str(error).removeprefix(f"{path}: ").split("; ")[0]
            raise InputError(f"{path}: no fitted model ({why}); name a file that `kpl fit` wrote") from None
        try:
            inner = {key.removeprefix("model "): t for key, t in tensors.items() if key.startswith("model ")}
            classifier = Classifier.from_state(inner, header["classifier"])
            rows = tensors["descriptions"].split([len(group) for group in header["texts"]])
            texts = header["texts"]
            bank = TextBank(classifier.class_names, rows, tensors["names"], texts, **read_by(header))
            names = header["encoder"]
            names = (names,) if isinstance(names, str) else tuple(names)
            facts = header["fingerprint"], dict(header["origin"])
            return cls(classifier, bank, tensors["centre"], names, *facts)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = f"a fitted model that this version cannot read ({one_line(error)}); fit it again"
            raise InputError(f"{path}: {why}") from None

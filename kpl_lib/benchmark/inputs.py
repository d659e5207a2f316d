"""What the runs of a benchmark read: features, texts and pools, each encoded once; and the checksum of all of it."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from kpl_lib.benchmark.grid import DatasetSpec, Setting
from kpl_lib.classifiers.base import create
from kpl_lib.classifiers.start import CONTROLS
from kpl_lib.common.code import code_checksum, code_of
from kpl_lib.common.errors import InputError, noted
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.load import PHANTOMS, load_dataset
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.encoders.joined import JoinedEncoder, load_encoders
from kpl_lib.encoders.phantom_world import far_from_phantoms
from kpl_lib.features import Features, TextBank, one_by_one
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.controls import with_controls
from kpl_lib.knowledge.description import Description
from kpl_lib.knowledge.match import match_classes

CLASS_NAMES = "class-names"  # in the place of a knowledge base: no descriptions, the names of the set alone
BASELINE = "clip"  # the plain text proxy, which every method is compared with on its own text

#: What makes the figures of a row; and the lines to compare with.
MEASURES = tuple(f"kpl_lib.benchmark.row.{name}" for name in ("figures_of", "difference", "as_rows"))
MEASURES += ("kpl_lib.metrics.tally.bootstrap_weights",)
LINES = "kpl_lib.classifiers.references.REFERENCES"


class Inputs:
    """Images, texts and pool of one dataset and one encoder, read when first asked for.

    Args:
        dataset: which images.
        encoders: names for `load_encoder`; several are joined.
        device: where to compute; None chooses.
        cache: folder that keeps features; None keeps none.
        workers: processes that decode, as for `Encoder.encode_images`.
    """

    def __init__(
        self,
        dataset: DatasetSpec,
        encoders: Sequence[str],
        device: str | None = None,
        cache: str | Path | None = None,
        workers: int | None = None,
    ) -> None:
        self.spec, self.cache, self.workers = dataset, cache, workers
        self._names, self._device = encoders, device
        self._banks: dict[tuple[str, bool], TextBank] = {}
        self._bases: dict[str, KnowledgeBase] = {}
        self.notes: dict[tuple[str, bool], list[str]] = {}

    @cached_property
    def encoder(self) -> Encoder | JoinedEncoder:
        return load_encoders(self._names, self._device)

    @cached_property
    def dataset(self) -> ImageDataset:
        return load_dataset(self.spec.name, **self.spec.options)

    @cached_property
    def features(self) -> Features:
        return self._encode(self.dataset)

    @cached_property
    def pool_dataset(self) -> ImageDataset | None:
        return None if self.spec.pool is None else load_dataset(**self.spec.pool)

    @cached_property
    def pool(self) -> Features | None:
        """Labelled images for the linear probe."""
        return None if self.pool_dataset is None else self._encode(self.pool_dataset)

    @property
    def origin(self) -> str:
        """Where a figure on these images comes from."""
        return "measured-phantom" if self.spec.name.split("/")[0] in PHANTOMS else "measured-real"

    @property
    def device(self) -> str:
        """The device in words."""
        place = self.encoder.device
        return f"cuda ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)

    def bank(self, knowledge: str, text: str) -> TextBank:
        """Text features in the class order of the images; random and swapped texts only where they are asked for."""
        key = knowledge, text in CONTROLS
        if key not in self._banks:
            base = self.base(knowledge)
            with noted() as notes:
                bank = self.encoder.encode_knowledge(base, progress=False)
                bank = with_controls(bank, base, self.encoder.encode_texts) if key[1] else bank
            views = [rows for rows, _ in one_by_one(self.features.images, bank)]
            far = far_from_phantoms(self.encoder.names, views)
            self.notes[key] = [*notes, *([] if far is None else [far])]
            self._banks[key] = bank.to(self.encoder.device)
        return self._banks[key]

    def notes_on(self, knowledge: str, text: str) -> list[str]:
        """What was warned of when these texts were encoded, such as texts that were cut."""
        return self.notes.get((knowledge, text in CONTROLS), [])

    def base(self, knowledge: str) -> KnowledgeBase:
        """Knowledge in the class order of the images."""
        if knowledge not in self._bases:
            classes = self.dataset.class_names
            base = _names_alone(classes) if knowledge == CLASS_NAMES else KnowledgeBase.load(knowledge)
            found = match_classes(base, classes)
            if not found.complete:
                what = "lacks" if found.missing else "has more classes:"
                names = f"{', '.join(found.missing or found.left_over)} of {self.spec.label}"
                cure = "give it the classes of the dataset, under the same names"
                raise InputError(f"knowledge base {knowledge!r} {what} {names}: {cure}")
            self._bases[knowledge] = found.knowledge
        return self._bases[knowledge]

    def checksum(self, setting: Setting, resamples: int) -> str:
        """Checksum of everything that a row depends on: images, labels, encoder, texts, parameters, code."""
        asked = [setting.prior, setting.seed, resamples, self.spec.positive, self.spec.ordered]
        parts = [self._images(self.dataset), self.encoder.fingerprint, asked]
        if setting.reference:
            pool = self.pool_dataset
            parts += [pool and self._images(pool), setting.parameters, code_checksum(LINES, *MEASURES)]
        else:
            base, made = self.base(setting.knowledge), setting.make()
            plain = type(create(BASELINE))
            parts += [base.prompts(), base.sentences(), made.parameters]
            parts += [code_of(type(made)), code_of(plain), code_checksum(*MEASURES)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _images(self, dataset: ImageDataset) -> list:
        """What identifies images and labels; features themselves where the dataset has no fingerprint."""
        if dataset.fingerprint:
            return [dataset.name, dataset.fingerprint, len(dataset), dataset.labels, dataset.groups]
        features = self.features if dataset is self.dataset else self.pool
        digest = hashlib.sha256(features.images.cpu().numpy().tobytes()).hexdigest()
        return [dataset.name, digest, dataset.labels, dataset.groups]

    def _encode(self, dataset: ImageDataset) -> Features:
        cache = self.cache if dataset.fingerprint else None
        found = self.encoder.encode_images(dataset, workers=self.workers, cache=cache, progress=False)
        return found.to(self.encoder.device)


def _names_alone(classes: Sequence[str]) -> KnowledgeBase:
    """A base that says of each class what it is called."""
    return KnowledgeBase(CLASS_NAMES, {name: [Description(name)] for name in classes})

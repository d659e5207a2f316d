"""Encoders: open_clip models by name, images and texts to unit vectors."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kpl_lib.checkpoints import local_names, open_checkpoint
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.loader import batches
from kpl_lib.devices import PRECISIONS, check_precision, choose_device
from kpl_lib.errors import InputError
from kpl_lib.feature_cache import remember
from kpl_lib.features import Features, TextBank
from kpl_lib.text_tower import causal_tower, encode_causal, warn_truncated
from kpl_lib.validation import check_count

if TYPE_CHECKING:
    from kpl_lib.knowledge import KnowledgeBase

PROGRESS_DELAY = 2.0  # seconds before a bar appears: short work shows none


def available() -> tuple[str, ...]:
    """Names of the encoders that ship with the library and need no download."""
    return local_names()


def load_encoder(
    name: str = "phantom", device: str | torch.device | None = None, precision: str | None = None
) -> "Encoder":
    """Load an image-text encoder by name, through open_clip.

    Args:
        name: `phantom` (embedded), `path:DIR`, `ARCH/TAG` (open_clip), or `hf-hub:ORG/NAME`.
        device: where to run; None takes a GPU if there is one, else the CPU.
        precision: `fp32` (default), `fp16` or `bf16`.

    Returns:
        The encoder. The first use of an `ARCH/TAG` or `hf-hub:` name downloads the weights.

    Raises:
        InputError: for an unknown name or device, and for weights that are not safetensors.

    Example:
        >>> load_encoder("fantom")
        Traceback (most recent call last):
        kpl_lib.errors.InputError: unknown encoder 'fantom': ...

    Source: Radford et al. 2021, arXiv 2103.00020; the models are run by open_clip.
    """
    precision = check_precision(precision)
    place = choose_device(device)
    checkpoint = open_checkpoint(name, place, precision)
    if place.type == "cpu":
        checkpoint.model.visual.to(memory_format=torch.channels_last)
    parts = checkpoint.model, checkpoint.preprocess, checkpoint.tokenizer
    return Encoder(name, *parts, place, PRECISIONS[precision])


@dataclass(frozen=True, eq=False)
class Encoder:
    """A CLIP-like model that maps images and texts to the same unit sphere.

    Args:
        name: what it was loaded as.
        model: the open_clip model, in evaluation mode.
        preprocess: image to tensor `[3, H, W]`.
        tokenizer: texts to token numbers `[n, context]`.
        device: where the model is.
        dtype: dtype of the images that it takes.
    """

    name: str
    model: nn.Module
    preprocess: Callable
    tokenizer: Callable
    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def logit_scale(self) -> float:
        """The factor on cosines that the model was trained with (`1/τ_t`; 100 for CLIP)."""
        return float(self.model.logit_scale.detach().exp())

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of everything that features depend on: weights, preprocessing, precision."""
        steps = re.sub(r" at 0x\w+", "", str(self.preprocess))  # addresses differ from run to run
        digest = hashlib.sha256(f"{steps}{self.dtype}".encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(
                name.encode()
                + weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()

    @property
    def context_length(self) -> int:
        """The most tokens of a text that are read."""
        return int(self.tokenizer.context_length)

    def encode_images(
        self,
        dataset: ImageDataset,
        batch_size: int = 64,
        workers: int = 0,
        progress: bool = True,
        skip_unreadable: bool = False,
        cache: str | Path | None = None,
    ) -> Features:
        """Encode every image of a dataset, once.

        `x_i = f(image_i) / ‖f(image_i)‖`

        Args:
            dataset: N images.
            batch_size: images a step; it changes speed, not results.
            workers: processes that decode; 0 decodes in this one.
            progress: show a bar when it takes more than 2 seconds.
            skip_unreadable: leave out images that cannot be read, and list them in `meta["skipped"]`.
            cache: folder where the features are kept, under a key of encoder and dataset; None keeps nothing.

        Returns:
            Unit features `[N, D]`, float32, on the CPU, with encoder, dataset, paths, groups, skipped in `meta`.

        Raises:
            InputError: for an image that cannot be read, unless `skip_unreadable`; if none is left.

        Derived in chapter "Zero-shot classification, and why medicine breaks it".
        """
        check_count(batch_size, "batch_size")
        check_count(workers, "workers", 0)
        if cache is not None:
            return remember(
                cache,
                self.fingerprint,
                dataset,
                lambda: self.encode_images(dataset, batch_size, workers, progress, skip_unreadable),
            )
        loader = batches(dataset, self.preprocess, batch_size, workers)
        rows, problems = [], []
        with tqdm(
            total=len(dataset), desc="encode images", unit="img", disable=not progress, delay=PROGRESS_DELAY
        ) as bar:
            for pixels, failed in loader:
                if failed and not skip_unreadable:
                    raise failed[0][1]
                problems += failed
                if pixels is not None:
                    rows.append(self._encode_pixels(pixels))
                bar.update(batch_size if bar.n + batch_size <= len(dataset) else len(dataset) - bar.n)
        return self._features(dataset, rows, problems)

    @torch.inference_mode()
    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        """Unit features `[n, D]` of preprocessed images `[n, 3, H, W]`, float32 on the CPU."""
        layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        pixels = pixels.to(self.device, self.dtype, memory_format=layout)
        return F.normalize(self.model.encode_image(pixels).float(), dim=1).cpu()

    def _features(self, dataset: ImageDataset, rows: list[Tensor], problems: list) -> Features:
        """Put rows, labels and provenance together, without the images that could not be read."""
        skipped = {index for index, _ in problems}
        kept = [i for i in range(len(dataset)) if i not in skipped]
        if not kept:
            why = f"; the first: {problems[0][1]}" if problems else ""
            raise InputError(f"{dataset.name}: no image to encode{why}")
        groups = dataset.groups
        meta = {
            "encoder": self.name,
            "dataset": dataset.name,
            "paths": [dataset.paths[i] for i in kept],
            "groups": None if groups is None else [groups[i] for i in kept],
            "skipped": [[dataset.paths[index], str(error)] for index, error in problems],
        }
        labels = None if dataset.labels is None else [dataset.labels[i] for i in kept]
        return Features(torch.cat(rows), labels, dataset.class_names, meta)

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256, progress: bool = False) -> Tensor:
        """Encode texts; texts of like length go together, which saves most of the work.

        `t_j = g(text_j) / ‖g(text_j)‖`. Under a causal mask the padding behind the last token changes
        nothing, so it is cut off. Other text towers get whole contexts.

        Args:
            texts: n texts.
            batch_size: texts a step.
            progress: show a bar when it takes more than 2 seconds.

        Returns:
            Unit features `[n, D]`, float32, on the CPU.

        Raises:
            InputError: if there is no text, or something that is not text.
        """
        texts = list(texts)
        if not texts:
            raise InputError("texts: none given; pass at least one")
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise InputError(f"texts must be text, not {wrong[0]!r}")
        check_count(batch_size, "batch_size")
        tokens = self.tokenizer(texts)
        warn_truncated(self.tokenizer, texts, tokens)
        tower = causal_tower(self.model, self.tokenizer)
        lengths = (
            tokens.argmax(dim=1) + 1 if tower is not None else torch.full((len(texts),), tokens.shape[1])
        )
        rows: list[Tensor] = []
        order = lengths.argsort(stable=True)
        with tqdm(
            total=len(texts), desc="encode texts", unit="text", disable=not progress, delay=PROGRESS_DELAY
        ) as bar:
            for chunk in order.split(batch_size):
                rows.append(self._encode_tokens(tokens[chunk, : int(lengths[chunk].max())], tower))
                bar.update(len(chunk))
        return torch.cat(rows)[order.argsort()]

    @torch.inference_mode()
    def _encode_tokens(self, tokens: Tensor, tower: nn.Module | None) -> Tensor:
        """Unit features `[n, D]` of tokens `[n, L]`, float32 on the CPU."""
        tokens = tokens.to(self.device)
        encoded = self.model.encode_text(tokens) if tower is None else encode_causal(tower, tokens)
        return F.normalize(encoded.float(), dim=1).cpu()

    def encode_knowledge(
        self, kb: "KnowledgeBase", template: str | None = None, progress: bool = True
    ) -> TextBank:
        """Encode a knowledge base: the class names, and each description in its sentence.

        Args:
            kb: C classes with M_c descriptions each.
            template: sentence with `{class}` and `{description}`; None takes the one of the knowledge base.
            progress: show a bar when it takes more than 2 seconds.

        Returns:
            Unit features of names `[C, D]` and of descriptions `[M_c, D]`, with their texts.

        Raises:
            InputError: for a template without `{description}`.

        Derived in chapter "KPL in one sitting".
        """
        sentences = kb.sentences(template)
        flat = [text for group in sentences.values() for text in group]
        rows = self.encode_texts(kb.prompts() + flat, progress=progress)
        names, described = rows[: len(sentences)], rows[len(sentences) :]
        parts = described.split([len(group) for group in sentences.values()])
        return TextBank(tuple(sentences), parts, names, tuple(tuple(texts) for texts in kb.classes.values()))

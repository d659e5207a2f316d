"""Encoders: open_clip models by name, images and texts to unit vectors, and a checksum of each."""

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kpl_lib.common.checks import check_count
from kpl_lib.common.devices import PRECISIONS, check_precision, choose_device, mixed_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.encoders.cache import remember
from kpl_lib.encoders.load import open_checkpoint
from kpl_lib.encoders.run import PROGRESS_DELAY, Job, layout
from kpl_lib.encoders.table import tell_terms
from kpl_lib.encoders.towers import departures, image_and_patches, image_size, padding_plan, warn_truncated
from kpl_lib.features import Features, TextBank, three_digits
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.patches import Patches

ON_ERROR = ("raise", "skip")
LISTED = 20  # images that a warning names


def load_encoder(
    name: str = "phantom", device: str | torch.device | None = None, precision: str | None = None
) -> "Encoder":
    """Load an image-text encoder by name, through open_clip; of weights in its table the terms are said once.

    Args:
        name: `phantom` (embedded), `path:DIR`, `ARCH/TAG` (open_clip), `ARCH/FILE` for a checkpoint file,
            `path:FILE` for one of OpenAI's own, or `hf-hub:ORG/NAME`. `kpl encoders list` prints some. Folders and
            names of the hub may hold a model of open_clip or a CLIP of `transformers`.
        device: where to run; None takes a GPU if there is one, else the CPU.
        precision: `fp32` (default), `fp16`, `bf16`, or `mixed`: weights in float32, large products of images in
            float16 on a GPU and in bfloat16 elsewhere.

    Returns:
        The encoder. The first use of an `ARCH/TAG` or `hf-hub:` name downloads the weights.

    Raises:
        InputError: for an unknown name or device, for weights that are broken or hold more than tensors, and for
            weights of QuickGELU models in an architecture with GELU.

    Example:
        >>> load_encoder("fantom")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: unknown encoder 'fantom': ...

    Source: Radford et al. 2021, arXiv 2103.00020; the models are run by open_clip.
    Chapter: ch-zero-shot
    """
    precision = check_precision(precision)
    place = choose_device(device)
    parts, _ = open_checkpoint(name, place, "fp32" if precision == "mixed" else precision)
    tell_terms(name)
    parts[0].visual.to(memory_format=layout(place))
    return Encoder(name, *parts, place, PRECISIONS[precision], mixed_dtype(precision, place))


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
        mixed: dtype of the large products within a float32 model; None computes all in `dtype`.

    Chapter: ch-zero-shot
    """

    name: str
    model: nn.Module
    preprocess: Callable
    tokenizer: Callable
    device: torch.device
    dtype: torch.dtype = torch.float32
    mixed: torch.dtype | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, as one of one: what a joined encoder has several of."""
        return (self.name,)

    @property
    def logit_scale(self) -> float:
        """The factor on cosines that the model was trained with (`1/τ_t`; 100 for CLIP)."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def temperature(self) -> float:
        """The temperature `τ_t` of the model's own logits, which its banks carry and classifiers take.

        CLIP ends at 0.01, SigLIP and BiomedCLIP elsewhere. The classes of zero-shot do not depend on it; its
        confidences do, and so do the plans of transport. It is rounded to three significant digits: training ends
        near a number (0.009997 is CLIP's 0.01), and no figure depends on more.
        """
        return three_digits(1 / self.logit_scale)

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of everything that features depend on: weights, architecture, preprocessing, precision."""
        mixed = "" if self.mixed is None else f" mixed {self.mixed}"
        steps = re.sub(r" at 0x\w+", "", str(self.preprocess))  # addresses differ from run to run
        digest = hashlib.sha256(f"{steps}{self.dtype}{mixed}".encode())
        digest.update("".join(departures(self.model.visual)).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            raw = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(name.encode() + raw.numpy().tobytes())
        return digest.hexdigest()

    @property
    def context_length(self) -> int:
        """The most tokens of a text that are read."""
        return int(self.tokenizer.context_length)

    def encode_images(
        self,
        dataset: ImageDataset,
        batch_size: int = 64,
        workers: int | None = None,
        progress: bool = True,
        on_error: str = "raise",
        cache: str | Path | None = None,
    ) -> Features:
        """Encode every image of a dataset, once.

        `x_i = f(image_i) / ‖f(image_i)‖`

        With a cache, what is done is kept every few seconds; a run that was stopped goes on from there, to the same
        bits, if it is run again with the same `batch_size`.

        Args:
            dataset: N images.
            batch_size: images a step; it changes speed, and results in their last bits only.
            workers: processes that decode while the model computes; 0 decodes in this one, in turn with it. None times
                a batch and takes what is soonest: 0 for small sets. Where processes are spawned, as on Windows and
                macOS, a script that is long at it needs `if __name__ == "__main__"`, or 0.
            progress: show a bar with images per second when it takes more than 2 seconds; after a minute or more, a
                line tells whether decoding or the model was the limit.
            on_error: what to do about images that cannot be read, after all others are encoded: `raise` an error,
                or `skip` them with a warning and list them in `meta["skipped"]`.
            cache: folder where the features are kept, under a key of encoder and dataset; None keeps nothing.

        Returns:
            Unit features `[N, D]`, float32, on the encoder's device, with encoder, dataset, paths, groups, skipped in
            `meta`.

        Raises:
            InputError: for images that cannot be read, unless they are skipped; if none is left; if the cache cannot be
                written.

        Chapter: ch-zero-shot
        """
        return self._encode(dataset, False, on_error, cache, batch_size, workers, progress)

    def encode_patches(
        self,
        dataset: ImageDataset,
        batch_size: int = 64,
        workers: int | None = None,
        progress: bool = True,
        on_error: str = "raise",
        cache: str | Path | None = None,
    ) -> Patches:
        """Encode every image of a dataset and its patches, in one pass.

        Args as for `encode_images`. The patches take 2 N P D bytes: 100 MB for 1,000 images of ViT-B/16.

        Returns:
            The images `[N, D]`, and their patches `[N, P, D]`, float16, on the encoder's device.

        Raises:
            InputError: as `encode_images`, and for an encoder whose patches are not in the space of the texts.

        Source: Guo et al. 2022, arXiv 2209.14169.
        Chapter: ch-benchmark
        """
        return self._encode(dataset, True, on_error, cache, batch_size, workers, progress)

    def _encode(
        self, dataset: ImageDataset, patches: bool, on_error: str, cache: str | Path | None, *how: int
    ) -> Features | Patches:
        """What a job gives, kept where asked for; `how` is its batch size, workers and progress."""
        if on_error not in ON_ERROR:
            raise InputError(f"on_error {on_error!r} is unknown: choose one of {', '.join(ON_ERROR)}")
        encode, size = partial(self.encode_pixels, patches=patches), image_size(self.model.visual)
        job = Job(dataset, encode, self.preprocess, size, self.device, self.name, *how, patches)
        made = remember(cache, job, self.fingerprint) if cache is not None else job.run()
        _tell_skipped(made.features if patches else made, dataset, on_error)
        return made if self.device.type == "cpu" else made.to(self.device)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor, patches: bool = False) -> dict[str, Tensor]:
        """Unit features `[n, D]` of preprocessed images `[n, 3, H, W]`, and of their patches; on the CPU.

        Args:
            pixels: what its `preprocess` gives, `[n, 3, H, W]`.
            patches: also give `tokens`, `[n, P, D]`, where the model has them.

        Returns:
            `images` `[n, D]`, float32, and where asked for `tokens`, float16.

        Chapter: ch-scaling
        """
        place, mixed = self.device, self.mixed
        pixels = pixels.to(place, self.dtype, memory_format=layout(place), non_blocking=True)
        with torch.autocast(place.type, mixed, enabled=mixed is not None):
            if not patches:
                return {"images": F.normalize(self.model.encode_image(pixels).float(), dim=1).cpu()}
            images, tokens = image_and_patches(self.model.visual, pixels)
        tokens = F.normalize(tokens.float(), dim=2).half()
        return {"images": F.normalize(images.float(), dim=1).cpu(), "tokens": tokens.cpu()}

    def encode_texts(self, texts: Sequence[str], batch_size: int = 512, progress: bool = False) -> Tensor:
        """Encode texts; texts of like length go together, which saves most of the work.

        `t_j = g(text_j) / ‖g(text_j)‖`. Under a causal mask the padding behind the last token changes
        nothing, so it is cut off. Other text towers get whole contexts.

        Args:
            texts: n texts.
            batch_size: texts a step.
            progress: show a bar when it takes more than 2 seconds.

        Returns:
            Unit features `[n, D]`, float32, on the encoder's device.

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
        lengths, encode = padding_plan(self.model, self.tokenizer, tokens)
        rows: list[Tensor] = []
        order = lengths.argsort(stable=True)
        shown = {"desc": "encode texts", "unit": "text", "disable": not progress, "delay": PROGRESS_DELAY}
        with tqdm(total=len(texts), **shown) as bar, torch.inference_mode():
            for chunk in order.split(batch_size):
                cut = tokens[chunk, : int(lengths[chunk].max())].to(self.device)
                rows.append(F.normalize(encode(cut).float(), dim=1).cpu())
                bar.update(len(chunk))
        return torch.cat(rows)[order.argsort()].to(self.device)

    def encode_knowledge(
        self, kb: KnowledgeBase, template: str | None = None, progress: bool = True
    ) -> TextBank:
        """Encode a knowledge base: the class names, and each description in its sentence.

        Args:
            kb: C classes with M_c descriptions each.
            template: sentence with `{class}` and `{description}`; None takes the one of the knowledge base.
            progress: show a bar when it takes more than 2 seconds.

        Returns:
            Unit features of names `[C, D]` and of descriptions `[M_c, D]`, with their texts and the temperature.

        Raises:
            InputError: for a template without `{description}`.

        Chapter: ch-one-sitting
        """
        sentences = kb.sentences(template)
        flat = [text for group in sentences.values() for text in group]
        rows = self.encode_texts(kb.prompts() + flat, progress=progress)
        names, described = rows[: len(sentences)], rows[len(sentences) :]
        parts = described.split([len(group) for group in sentences.values()])
        texts = tuple(tuple(group) for group in kb.classes.values())
        return TextBank(tuple(sentences), parts, names, texts, temperature=self.temperature)


def _tell_skipped(features: Features, dataset: ImageDataset, on_error: str) -> None:
    """Raise or warn about the images that could not be read."""
    skipped = [why for _, why in features.meta["skipped"]]
    if not skipped:
        return
    count = f"{dataset.name}: {len(skipped)} of {len(dataset)} images cannot be read"
    if on_error == "raise":
        raise InputError(skipped[0] if len(skipped) == 1 else f"{count}, the first: {skipped[0]}")
    listed = "; ".join(skipped[:LISTED]) + ("; ..." if len(skipped) > LISTED else "")
    message = f"{count} and are left out (all are in meta['skipped']): {listed}"
    warnings.warn(message, UserWarning, stacklevel=4)

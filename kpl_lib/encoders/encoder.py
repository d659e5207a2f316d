"""Encoders: open_clip models by name, images and texts to unit vectors, and a checksum of each."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kpl_lib.common.checks import check_count
from kpl_lib.common.devices import PRECISIONS, check_precision, choose_device, mixed_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.encoders.load import local_names, open_checkpoint
from kpl_lib.encoders.run import PROGRESS_DELAY, encode_images, encode_patches
from kpl_lib.encoders.towers import padding_plan, warn_truncated
from kpl_lib.features import TextBank

if TYPE_CHECKING:
    from kpl_lib.knowledge.base import KnowledgeBase


def fingerprint(encoder: "Encoder") -> str:
    """Checksum of everything that image features depend on: weights, architecture, preprocessing, precision.

    Args:
        encoder: the model with its preprocessing.

    Returns:
        64 hexadecimal digits.
    """
    steps = re.sub(r" at 0x\w+", "", str(encoder.preprocess))  # addresses differ from run to run
    mixed = "" if encoder.mixed is None else f" mixed {encoder.mixed}"
    digest = hashlib.sha256(f"{steps}{encoder.dtype}{mixed}".encode())
    digest.update("".join(departures(encoder.model.visual)).encode())
    for name, weight in sorted(encoder.model.state_dict().items()):
        raw = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(name.encode() + raw.numpy().tobytes())
    return digest.hexdigest()


def departures(visual: nn.Module) -> list[str]:
    """What the weights of an image tower do not show, wherever it is not GELU, heads of 64, the class token.

    Example:
        >>> departures(nn.Sequential(nn.GELU(), nn.GELU("tanh")))
        ['1 GELU ']
    """
    found = []
    for name, module in visual.named_modules():
        kind = type(module).__name__
        if ("GELU" in kind and kind != "GELU") or getattr(module, "approximate", "none") != "none":
            found.append(f"{name} {kind} ")
        asks = getattr(module, "k_proj", None)
        heads = getattr(module, "num_heads", None)
        width = getattr(module, "embed_dim", None) or getattr(asks, "in_features", None)
        if heads and width and width != 64 * heads:
            found.append(f"{name} {heads} heads ")
    pool = getattr(visual, "pool_type", "tok")
    late = " late norm" if getattr(visual, "final_ln_after_pool", False) else ""
    return found + [f"pool {pool}{late} "] * (pool != "tok" or bool(late))


def available() -> tuple[str, ...]:
    """Names of the encoders that ship with the library and need no download.

    Chapter: ch-how-to-use
    """
    return local_names()


def load_encoder(
    name: str = "phantom", device: str | torch.device | None = None, precision: str | None = None
) -> "Encoder":
    """Load an image-text encoder by name, through open_clip.

    Args:
        name: `phantom` (embedded), `path:DIR`, `ARCH/TAG` (open_clip), `ARCH/FILE` for a checkpoint file,
            `path:FILE` for one of OpenAI's own, or `hf-hub:ORG/NAME`. `kpl encoders list` prints some.
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
    checkpoint = open_checkpoint(name, place, "fp32" if precision == "mixed" else precision)
    if place.type == "cpu":
        checkpoint.model.visual.to(memory_format=torch.channels_last)
    parts = checkpoint.model, checkpoint.preprocess, checkpoint.tokenizer
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
    def logit_scale(self) -> float:
        """The factor on cosines that the model was trained with (`1/τ_t`; 100 for CLIP)."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def temperature(self) -> float:
        """The temperature `τ_t` of the model's own logits: what classifiers take instead of their 0.01.

        CLIP ends at 0.01, SigLIP and BiomedCLIP elsewhere. The classes of zero-shot do not depend on it; its
        confidences do, and so do the plans of transport.
        """
        return 1 / self.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """What is added to scaled cosines by models of the sigmoid loss (SigLIP); None for the others.

        A softmax over classes is the same with it and without. One pair alone needs it: `σ(s x·t + b)`.
        """
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else float(bias.detach())

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of everything that features depend on: weights, architecture, preprocessing, precision."""
        return fingerprint(self)

    @property
    def context_length(self) -> int:
        """The most tokens of a text that are read."""
        return int(self.tokenizer.context_length)

    encode_images = encode_images
    encode_patches = encode_patches

    def encode_texts(self, texts: Sequence[str], batch_size: int = 512, progress: bool = False) -> Tensor:
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
        lengths, encode = padding_plan(self.model, self.tokenizer, tokens)
        rows: list[Tensor] = []
        order = lengths.argsort(stable=True)
        with tqdm(
            total=len(texts), desc="encode texts", unit="text", disable=not progress, delay=PROGRESS_DELAY
        ) as bar:
            for chunk in order.split(batch_size):
                rows.append(self._encode_tokens(tokens[chunk, : int(lengths[chunk].max())], encode))
                bar.update(len(chunk))
        return torch.cat(rows)[order.argsort()]

    @torch.inference_mode()
    def _encode_tokens(self, tokens: Tensor, encode: Callable) -> Tensor:
        """Unit features `[n, D]` of tokens `[n, L]`, float32 on the CPU."""
        return F.normalize(encode(tokens.to(self.device)).float(), dim=1).cpu()

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

        Chapter: ch-one-sitting
        """
        sentences = kb.sentences(template)
        flat = [text for group in sentences.values() for text in group]
        rows = self.encode_texts(kb.prompts() + flat, progress=progress)
        names, described = rows[: len(sentences)], rows[len(sentences) :]
        parts = described.split([len(group) for group in sentences.values()])
        return TextBank(tuple(sentences), parts, names, tuple(tuple(texts) for texts in kb.classes.values()))

"""Measure a trained phantom encoder on held-out pairs and write its model card."""

import json
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from kpl_lib.phantoms.corpus import make_corpus
from kpl_lib.phantoms.model import CONFIG

HELD_OUT_SEED, HELD_OUT = 900_001, 1000
GROUP = 100  # retrieval is measured among this many pairs


def encode_tokens(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Encode tokens `[n, L]`, cut at the longest sentence: exact, as attention is causal and pooling takes the end."""
    tokens = tokens[:, : int((tokens != 0).sum(dim=1).max())]
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    return F.normalize(x @ model.text_projection, dim=-1)


def to_pixels(images) -> torch.Tensor:
    """uint8 `[n, S, S, 3]` to normalised float `[n, 3, S, S]`, in channels-last order."""
    mean, std = (torch.tensor(CONFIG["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
    return pixels.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def measure(model, tokenizer, device: str = "cpu") -> dict[str, float]:
    """On held-out pairs: retrieval among 100 (image to text), the modality gap, the mean cosines."""
    corpus = make_corpus(HELD_OUT, HELD_OUT_SEED, captions=1, progress=False)
    parts = [to_pixels(corpus.images[i : i + 200]).to(device) for i in range(0, HELD_OUT, 200)]
    images = torch.cat([F.normalize(model.encode_image(part), dim=-1) for part in parts])
    texts = encode_tokens(model, tokenizer([c[0] for c in corpus.captions]).to(device))
    cosines = [x @ t.T for x, t in zip(images.split(GROUP), texts.split(GROUP), strict=True)]
    rank = torch.cat([(cosine > cosine.diagonal()[:, None]).sum(1) for cosine in cosines])
    scans = np.isin(corpus.kinds, ("chest", "fundus", "cell"))
    image_mean, text_mean = images[scans].mean(0), texts[scans].mean(0)
    return {
        "recall_at_1": float((rank < 1).float().mean()),
        "recall_at_5": float((rank < 5).float().mean()),
        "gap": float((image_mean - text_mean).norm()),
        "image_image_cosine": float(image_mean.square().sum()),
        "text_text_cosine": float(text_mean.square().sum()),
        "image_text_cosine": float(image_mean @ text_mean),
    }


def write(run, out: Path) -> None:
    """Write `model_card.md` for a reader and `training.json` for a program."""
    figures = measure(run.model, run.tokenizer, run.device)
    facts = {
        "recipe": asdict(run.recipe),
        "loss": float(np.mean(run.losses[-50:])),
        "held_out": figures,
        "minutes": run.seconds / 60,
        "device": run.device,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    recipe = "\n".join(f"| {key} | {value} |" for key, value in facts["recipe"].items())
    measured = "\n".join(f"| {key} | {value:.3f} |" for key, value in figures.items())
    (out / "model_card.md").write_text(f"""# Phantom encoder: model card

A tiny CLIP (open_clip: ModifiedResNet for images, a 2-layer transformer for text). It was trained from scratch
on procedurally drawn, **synthetic** images and captions. It knows no real patient and no real disease.
Not for clinical use.

Train it again: `python -m book.tools train-encoder`. Licence: MIT, like the code.

| recipe | |
|---|---|
{recipe}

The logit scale is fixed at 100. Scans of the corpus show findings drawn independently of any disease.

Measured on {HELD_OUT} held-out pairs (retrieval among {GROUP}; gap and cosines on scans alone).
Final loss {facts["loss"]:.3f}, {facts["minutes"]:.1f} minutes on {facts["device"]}
({facts["threads"]} threads, {facts["machine"]}), torch {facts["torch"]}, {facts["date"]}.

| held out | |
|---|---|
{measured}
""")

"""The embedded encoder as files: an open_clip config, a small vocabulary, the untrained model."""

import gzip
import json
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import default_bpe

from kpl_lib.phantoms.paint import SIZE

MERGES = 7680  # the first merges of open_clip's own vocabulary: 27 KB instead of 1.4 MB
CONTEXT = 64
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": SIZE,
            "layers": [1, 1, 1, 1],
            "width": 16,
            "head_width": 64,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 512 + MERGES + 2,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "tokenizer_kwargs": {"bpe_path": "bpe_vocab.txt.gz"},
        },
    },
    "preprocess_cfg": {
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "size": SIZE,
    },
}


def write_vocabulary(folder: Path) -> Path:
    """Write the first `MERGES` merges of open_clip's vocabulary; the same bytes every time."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[: MERGES + 1]
    path = folder / "bpe_vocab.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return path


def write_config(folder: Path) -> Path:
    """Write the open_clip configuration of the encoder.

    Args:
        folder: where it goes.

    Returns:
        The file.

    Chapter: ch-own-images
    """
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(CONFIG, indent=2) + "\n")
    return path


def build(folder: Path, seed: int) -> tuple[open_clip.CLIP, open_clip.tokenizer.SimpleTokenizer]:
    """Build the untrained model and its tokenizer; the logit scale is fixed at 100, CLIP's own final value.

    Args:
        folder: with configuration and vocabulary.
        seed: of the weights.

    Returns:
        The model, and its tokenizer.

    Chapter: ch-own-images
    """
    text = CONFIG["model_cfg"]["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": str(write_vocabulary(folder))}}
    registry = folder / "registry"
    registry.mkdir(exist_ok=True)
    name = f"kpl-phantom-{SIZE}"
    (registry / f"{name}.json").write_text(json.dumps(CONFIG["model_cfg"] | {"text_cfg": text}))
    open_clip.add_model_config(registry)
    torch.manual_seed(seed)
    model = open_clip.create_model(name, load_weights=False)
    model.logit_scale.requires_grad_(False).fill_(float(torch.log(torch.tensor(100.0))))
    return model.to(memory_format=torch.channels_last), open_clip.get_tokenizer(name)


def encode_tokens(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Encode tokens `[n, L]`, cut at the longest sentence: exact, as attention is causal and pooling takes the end."""
    tokens = tokens[:, : int((tokens != 0).sum(dim=1).max())]
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    return torch.nn.functional.normalize(x @ model.text_projection, dim=-1)


def to_pixels(images) -> torch.Tensor:
    """uint8 `[n, S, S, 3]` to normalised float `[n, 3, S, S]`, in channels-last order."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
    return pixels.contiguous(memory_format=torch.channels_last)

"""Make a folder with a small random encoder, in the layout of the embedded one."""

import gzip
import json
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import default_bpe
from safetensors.torch import save_file

MERGES = 100
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 512 + MERGES + 2,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "tokenizer_kwargs": {"bpe_path": "bpe_vocab.txt.gz"},
    },
}
PREPROCESS = {
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "size": 32,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def write_tiny_encoder(folder: Path, seed: int = 0, model: dict | None = None) -> str:
    """Write the folder; return the name for `load_encoder`."""
    config = json.loads(json.dumps(model or MODEL))
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as source:
        lines = [next(source).rstrip("\n") for _ in range(config["text_cfg"]["vocab_size"] - 512 - 2 + 1)]
    with gzip.open(folder / "bpe_vocab.txt.gz", "wt", encoding="utf-8") as target:
        target.write("\n".join(lines))
    text = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(text), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = open_clip.CLIP(**config)
    save_file(
        {k: v.half().contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors"
    )
    return f"path:{folder}"

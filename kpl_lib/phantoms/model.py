"""The embedded encoder as files: an open_clip config, a small vocabulary, the untrained model."""

import gzip
import json
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import default_bpe

from kpl_lib.common.files import data_dir, read_json

#: The open_clip configuration that ships with the encoder; a new one is trained by it.
CONFIG = read_json(data_dir() / "encoders" / "phantom" / "open_clip_config.json")
#: The first merges of open_clip's own vocabulary: 27 KB in place of 1.4 MB; bytes and marks are 514 tokens more.
MERGES = CONFIG["model_cfg"]["text_cfg"]["vocab_size"] - 514


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
    name = "kpl-phantom"
    (registry / f"{name}.json").write_text(json.dumps(CONFIG["model_cfg"] | {"text_cfg": text}))
    open_clip.add_model_config(registry)
    torch.manual_seed(seed)
    model = open_clip.create_model(name, load_weights=False)
    model.logit_scale.requires_grad_(False).fill_(float(torch.log(torch.tensor(100.0))))
    return model.to(memory_format=torch.channels_last), open_clip.get_tokenizer(name)

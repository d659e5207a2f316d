"""Small random models whose texts are read by `transformers`, in the layout of a folder of the hub."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "photo", "of", "lung", "cells", "under", "the", "microscope", "stained", "round"]
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def write_tokenizer(folder: Path) -> None:
    """A word-piece tokenizer of a few words."""
    from transformers import BertTokenizerFast

    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=True).save_pretrained(
        folder
    )
    vocabulary.unlink()


def write_bert(folder: Path, pooler: str, kind: str = "bert") -> str:
    """A tower of the BERT family and its tokenizer, as BiomedCLIP has them: context 256, an mlp on top."""
    from transformers import AutoConfig

    (folder / "text").mkdir(parents=True)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    settings = AutoConfig.for_model(
        kind, vocab_size=len(WORDS), max_position_embeddings=300, pad_token_id=0, **sizes
    )
    settings.save_pretrained(folder / "text")
    text = {
        "hf_model_name": "text",
        "hf_tokenizer_name": "somewhere/else",
        "hf_proj_type": "mlp",
        "hf_pooler_type": pooler,
        "context_length": 256,
    }
    write_tokenizer(folder)
    inner = {**text, "hf_model_name": str(folder / "text"), "hf_model_pretrained": False}
    return _write(folder, {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}, inner, {})


def write_siglip(folder: Path) -> str:
    """A tower that sees padding and reads its last place, a bias on the logits, an image tower of timm."""
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    text = {
        "context_length": 64,
        "vocab_size": len(WORDS),
        "hf_tokenizer_name": "somewhere/else",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    vision = {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "none",
    }
    settings = {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": vision,
        "text_cfg": text,
    }
    return _write(folder, settings, text, SQUASH)


def _write(folder: Path, settings: dict, text: dict, preprocess: dict) -> str:
    """Write configuration and random weights; return the name for `load_encoder`."""
    whole = {"model_cfg": settings, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(whole), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = {key: value for key, value in settings.items() if key != "custom_text"}
        model = open_clip.CustomTextCLIP(**{**built, "text_cfg": text})
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return f"path:{folder}"

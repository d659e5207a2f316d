"""Tiny random CLIP models in the layout in which `transformers` publishes them, as the hub keeps PLIP."""

import json
import math
from pathlib import Path

import torch
from open_clip import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

SIZES = {
    "vision": {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
    | {"image_size": 32, "patch_size": 16},
    "text": {"hidden_size": 48, "intermediate_size": 100, "num_attention_heads": 3, "num_hidden_layers": 2}
    | {"max_position_embeddings": 20, "vocab_size": 49408, "eos_token_id": 2},
}
PIXELS = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "crop_size": 32,
    "size": 32,
    "resample": 3,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
}
WIDTH = 24


def settings(act: str = "quick_gelu") -> dict:
    """What `config.json` holds."""
    towers = {f"{part}_config": {**sizes, "hidden_act": act} for part, sizes in SIZES.items()}
    return {"model_type": "clip", "projection_dim": WIDTH, **towers}


def tensors() -> dict[str, Tensor]:
    """Random weights under the names of a `CLIPModel`, with the counted places that old versions store."""
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn) / math.sqrt(shape[-1])

    found = {"logit_scale": torch.tensor(4.2)}
    for part, sizes in SIZES.items():
        wide, inner, start = sizes["hidden_size"], sizes["intermediate_size"], f"{part}_model."
        places = sizes.get("max_position_embeddings", 5)
        found[f"{start}embeddings.position_embedding.weight"] = draw(places, wide)
        found[f"{start}embeddings.position_ids"] = torch.arange(places)[None]
        found[f"{'visual' if part == 'vision' else part}_projection.weight"] = draw(WIDTH, wide)
        norms = ("pre_layrnorm", "post_layernorm") if part == "vision" else ("final_layer_norm",)
        for layer in range(sizes["num_hidden_layers"]):
            here = f"encoder.layers.{layer}."
            norms += (f"{here}layer_norm1", f"{here}layer_norm2")
            shapes = {f"self_attn.{x}_proj": (wide, wide) for x in ("q", "k", "v", "out")}
            shapes |= {"mlp.fc1": (inner, wide), "mlp.fc2": (wide, inner)}
            for name, shape in shapes.items():
                found[f"{start}{here}{name}.weight"] = draw(*shape)
                found[f"{start}{here}{name}.bias"] = draw(shape[0])
        for name in norms:
            found[f"{start}{name}.weight"] = 1 + draw(wide)
            found[f"{start}{name}.bias"] = draw(wide)
    side, wide = SIZES["vision"]["patch_size"], SIZES["vision"]["hidden_size"]
    found["vision_model.embeddings.class_embedding"] = draw(wide)
    found["vision_model.embeddings.patch_embedding.weight"] = draw(wide, 3, side, side)
    words = (SIZES["text"]["vocab_size"], SIZES["text"]["hidden_size"])
    found["text_model.embeddings.token_embedding.weight"] = draw(*words)
    return found


def write_clip(
    folder: Path, act: str = "quick_gelu", file: str = "model.safetensors", pixels: dict | None = None
) -> str:
    """Write a folder with configuration, preprocessing and weights; return the name for `load_encoder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings(act)), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS | (pixels or {})), encoding="utf-8")
    weights = {name: value.contiguous() for name, value in tensors().items()}
    save = save_file if file.endswith(".safetensors") else torch.save
    save(weights, folder / file)
    return f"path:{folder}"


def write_vocabulary(folder: Path) -> None:
    """CLIP's own vocabulary as `transformers` keeps it, where the two special words have other names."""
    words = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    known = {names.get(word, word): number for word, number in words.encoder.items()}
    merges = sorted(words.bpe_ranks, key=words.bpe_ranks.get)
    (folder / "vocab.json").write_text(json.dumps(known), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

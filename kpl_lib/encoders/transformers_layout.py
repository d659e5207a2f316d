"""CLIP models in the layout of `transformers`, as PLIP and PubMedCLIP are published, read as models of open_clip.

Both libraries compute the same towers. In open_clip query, key and value are one matrix, projections stand
transposed, and configurations have other words. What open_clip cannot compute is refused.
"""

from torch import Tensor, cat

from kpl_lib.common.errors import InputError

CONFIG = "config.json"
PIXELS = ("preprocessor_config.json", "processor_config.json")  # the second since transformers 5
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
VOCABULARY = 49408  # of CLIP's own tokenizer; its last entry ends a text
#: What a configuration leaves out where it is so.
BOTH = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
DEFAULTS = {
    "text": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
    | {"max_position_embeddings": 77, "vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1},
    "vision": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    | {"image_size": 224, "patch_size": 32, "num_channels": 3},
}
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # numbers of Pillow
#: Parts of names there -> here, from left to right.
NAMES = {
    "vision_model.": "visual.",
    "text_model.": "",
    "encoder.layers.": "transformer.resblocks.",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.": "conv1.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "final_layer_norm.": "ln_final.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.q_proj.": "attn.in_proj_",
    "self_attn.": "attn.",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}


def clip_config(name: str, settings: dict) -> dict:
    """The configuration of open_clip for a `config.json` of transformers.

    Raises:
        InputError: for a model of another kind, and for one that open_clip would compute differently.
    """
    kind = settings.get("model_type")
    if kind != "clip":
        read = "of transformers' layouts 'clip' alone is read"
        raise InputError(f"{name}: {CONFIG} is of a {kind!r} model; {read}")
    text, vision = (_tower(name, settings, part) for part in ("text", "vision"))
    ends = text["eos_token_id"] in (2, VOCABULARY - 1)  # old files say 2 and mean the largest
    if text["vocab_size"] != VOCABULARY or not ends:
        own = f"a vocabulary of {text['vocab_size']} that ends texts with {text['eos_token_id']}"
        raise InputError(f"{name}: {own}; only CLIP's own of {VOCABULARY} is read: choose another")
    for fact in ("hidden_act", "layer_norm_eps"):
        known = ("quick_gelu", "gelu") if fact == "hidden_act" else (1e-5,)
        if text[fact] != vision[fact] or text[fact] not in known:
            told, has = f"{text[fact]!r} and {vision[fact]!r}", " or ".join(map(repr, known))
            raise InputError(f"{name}: {fact} {told}; open_clip has {has} in both towers")
    heads = vision["hidden_size"] // vision["num_attention_heads"]
    size = {"image_size": vision["image_size"], "patch_size": vision["patch_size"], "head_width": heads}
    read = {"context_length": text["max_position_embeddings"], "vocab_size": VOCABULARY}
    return {
        "embed_dim": settings.get("projection_dim", 512),
        "quick_gelu": text["hidden_act"] == "quick_gelu",
        "vision_cfg": size | _sizes(vision),
        "text_cfg": read | {"heads": text["num_attention_heads"]} | _sizes(text),
    }


def _tower(name: str, settings: dict, part: str) -> dict:
    """The settings of one tower; what an old `text_config_dict` says goes before `text_config`, as there."""
    old, now = (settings.get(f"{part}_config{end}") for end in ("_dict", ""))
    given = (now or {}) if old is None else old
    tower = BOTH | DEFAULTS[part] | (given if isinstance(given, dict) else {"hidden_size": given})
    for fact in {*BOTH, *DEFAULTS[part]} - {"hidden_act", "layer_norm_eps", "eos_token_id"}:
        if not isinstance(tower[fact], int) or tower[fact] < 1:
            cure = f"copy {CONFIG} from the model again"
            raise InputError(f"{name}: {part} tower with {fact} {tower[fact]!r}; {cure}")
    return tower


def _sizes(tower: dict) -> dict:
    """Width, layers and inner width; open_clip rounds the last down from a ratio."""
    width = tower["hidden_size"]
    inner = (tower["intermediate_size"] + 0.5) / width
    return {"width": width, "layers": tower["num_hidden_layers"], "mlp_ratio": inner}


def clip_pixels(name: str, settings: dict, size: int) -> dict:
    """Mean, deviation, interpolation and resizing, as open_clip names them, of a `preprocessor_config.json`.

    Raises:
        InputError: for steps that open_clip's transform does not have.
    """
    settings = settings.get("image_processor", settings)
    resized, cut = settings.get("size", size), settings.get("crop_size", size)
    squash = isinstance(resized, dict) and "height" in resized
    given = [side.values() if isinstance(side, dict) else (side,) for side in (resized, cut)]
    sides = {*given[0], *given[1]}
    asked = {"do_resize", "do_rescale"} | (set() if squash else {"do_center_crop"})
    wrong = [f"{step}: false" for step in sorted(asked) if not settings.get(step, True)]
    wrong += [f"sizes {sorted(map(str, sides))} before a tower of {size}"] * (sides != {size})
    wrong += [f"resample: {settings.get('resample')}"] * (settings.get("resample", 3) not in RESAMPLE)
    wrong += ["a rescale_factor of its own"] * (abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6)
    if wrong:
        found = "; ".join(wrong)
        raise InputError(f"{name}: its preprocessing ({found}) is not one of open_clip's; choose another")
    plain = settings.get("do_normalize", True)
    return {
        "mean": settings.get("image_mean") if plain else [0.0] * 3,
        "std": settings.get("image_std") if plain else [1.0] * 3,
        "interpolation": RESAMPLE[settings.get("resample", 3)],
        "resize_mode": "squash" if squash else "shortest",
    }


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CLIPModel` of transformers under the names of open_clip; others are given back as they are.

    `W_in = [W_q; W_k; W_v]`, and `x W` here is `W' x` there.
    """
    if "visual_projection.weight" not in tensors:
        return tensors
    found = {}
    for name, value in tensors.items():
        if name.endswith(".position_ids") or "_attn.k_proj." in name or "_attn.v_proj." in name:
            continue  # places are counted, not stored; keys and values go with their query
        if "_attn.q_proj." in name:
            value = cat([tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        elif name.endswith("_projection.weight"):
            value = value.T.contiguous()
        for there, here in NAMES.items():
            name = name.replace(there, here)
        found[name] = value
    return found

"""Small random checkpoints in the layouts that CLIP models are published in."""

import json
import warnings
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
VISION = {
    "vit": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "rn": {"image_size": 32, "patch_size": None, "width": 8, "layers": [1, 1, 1, 1]},
}


def config(kind: str, quick: bool = True) -> dict:
    """Configuration of the `vit` or the `rn`."""
    return {"embed_dim": 16, "quick_gelu": quick, "vision_cfg": VISION[kind], "text_cfg": dict(TEXT)}


def network(kind: str, quick: bool = True) -> open_clip.CLIP:
    """A random model; its weights are exact in float16, as OpenAI stores them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**config(kind, quick)).eval()
        for name, weight in model.named_parameters():
            weight.data = (
                (weight.data + (0.02 * torch.randn_like(weight) if "bias" in name else 0)).half().float()
            )
    return model


def register(folder: Path, name: str, settings: dict) -> str:
    """Make a configuration known to open_clip under a name."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    open_clip.add_model_config(path)
    return name


def write_archive(path: Path, kind: str) -> None:
    """OpenAI's own: a traced model, half of it in float16, with its sizes beside the weights."""
    model = network(kind)
    for name, value in {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    if kind == "vit":  # a constant of the code, as with OpenAI; the other stands for scripted models
        model.attn_mask = model._buffers.pop("attn_mask")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = {
            "encode_image": torch.zeros(1, 3, 32, 32),
            "encode_text": torch.zeros(1, 16, dtype=torch.long),
        }
        traced = torch.jit.trace_module(model, inputs, check_trace=False)
        traced.save(path)


def write_state(path: Path, kind: str, half: bool = True) -> None:
    """A plain state_dict: pickled, or safetensors."""
    tensors = {
        name: value.half() if half and value.is_floating_point() else value.clone()
        for name, value in network(kind).state_dict().items()
    }
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def write_training(path: Path, kind: str) -> None:
    """A checkpoint of open_clip's training: the state_dict of a parallel model beside the optimizer's."""
    tensors = {f"module.{name}": value for name, value in network(kind).state_dict().items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": tensors, "optimizer": {"state": {}}}, path)

"""One pass of an image tower that keeps the patches: each goes the way that the whole image goes."""

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from kpl_lib.errors import InputError


def image_and_patches(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """One pass of the image tower: the image `[n, D]` and its patches `[n, P, D]`, not normalised.

    Vision transformer: every token of the last layer goes through the norm and the projection of the pooled one.
    ResNet of CLIP: every position asks the attention pool as the mean of all positions does, so a patch is a
    mixture of projected value vectors.

    Args:
        visual: the image tower of an open_clip model.
        pixels: preprocessed images `[n, 3, H, W]`.

    Raises:
        InputError: for towers of another kind.

    Source: Guo et al. 2022, arXiv 2209.14169. The released code also projects the raw map; it does not use it.
    """
    if isinstance(visual, ModifiedResNet):
        x = visual.stem(pixels)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
        x = _ask_everywhere(visual.attnpool, x)
        return x[:, 0], x[:, 1:]
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        pooled, tokens = visual._pool(visual.transformer(visual._embeds(pixels)))
        if visual.final_ln_after_pool:
            tokens = visual.ln_post(tokens)
        return (pooled, tokens) if visual.proj is None else (pooled @ visual.proj, tokens @ visual.proj)
    if isinstance(visual, TimmModel) and _is_plain(visual.trunk):
        trunk, tokens = visual.trunk, visual.trunk.forward_features(pixels)
        patches = trunk.head(trunk.fc_norm(tokens[:, trunk.num_prefix_tokens :]))
        return visual.head(trunk.forward_head(tokens)), visual.head(patches)
    raise InputError(
        f"this encoder's image tower ({type(visual).__name__}) gives no patches in the space of the texts; "
        "use one of OpenAI's CLIP models, BiomedCLIP, or 'phantom'"
    )


def _is_plain(trunk: nn.Module) -> bool:
    """Whether a transformer of timm pools by its class token or mean, and not by attention of its own."""
    return type(trunk).__name__ == "VisionTransformer" and trunk.global_pool in ("token", "avg")


def _ask_everywhere(pool: AttentionPool2d, grid: Tensor) -> Tensor:
    """Attention pooling `[n, 1 + P, D]` of a map `[n, W, h, w]`: row 0 is what the pool gives, then each position."""
    x = grid.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding.to(x.dtype)
    query, key, value = (
        layer(x).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for layer in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    mixed = F.scaled_dot_product_attention(query, key, value)
    return pool.c_proj(mixed.transpose(1, 2).flatten(2))

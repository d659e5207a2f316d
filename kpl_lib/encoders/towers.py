"""What is known about the towers of a model: patches and size of images, and texts without their padding."""

import warnings
from collections.abc import Callable
from functools import partial

import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from kpl_lib.common.errors import InputError


def image_and_patches(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """One pass of the image tower: the image `[n, D]` and its patches `[n, P, D]`, not normalised.

    Vision transformer: every token of the last layer goes through the norm and the projection of the pooled one.
    ResNet of CLIP: every position asks the attention pool as the mean of all positions does, so a patch is a
    mixture of projected value vectors.

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
    trunk = visual.trunk if isinstance(visual, TimmModel) else None
    pooling = getattr(trunk, "global_pool", "")  # others pool by attention of their own
    if type(trunk).__name__ == "VisionTransformer" and pooling in ("token", "avg"):
        tokens = trunk.forward_features(pixels)
        patches = trunk.head(trunk.fc_norm(tokens[:, trunk.num_prefix_tokens :]))
        return visual.head(trunk.forward_head(tokens)), visual.head(patches)
    raise InputError(
        f"this encoder's image tower ({type(visual).__name__}) gives no patches in the space of the texts; "
        "use one of OpenAI's CLIP models, BiomedCLIP, or 'phantom'"
    )


def _ask_everywhere(pool: AttentionPool2d, grid: Tensor) -> Tensor:
    """Attention pooling `[n, 1 + P, D]` of a map `[n, W, h, w]`: row 0 is what the pool gives, then each position."""
    x = grid.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding.to(x.dtype)
    asked = [layer(x).unflatten(2, (pool.num_heads, -1)) for layer in (pool.q_proj, pool.k_proj, pool.v_proj)]
    mixed = F.scaled_dot_product_attention(*(heads.transpose(1, 2) for heads in asked))
    return pool.c_proj(mixed.transpose(1, 2).flatten(2))


def image_size(visual: nn.Module) -> int:
    """Pixels a side that an image tower takes, the larger side; 0 where it does not say."""
    size = getattr(visual, "image_size", 0)
    return max(size) if isinstance(size, tuple | list) else int(size or 0)


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


def padding_plan(model: nn.Module, tokenizer: Callable, tokens: Tensor) -> tuple[Tensor, Callable]:
    """How many tokens of each text count, and what encodes texts that are cut there.

    * Under a causal mask, with the text read off at its last token, what stands behind it changes nothing.
    * The towers of `transformers` (BERT and its kin) mask the padding; cut off, it changes nothing either.
    * Every other tower (SigLIP reads its last place, CoCa adds a token behind) gets whole contexts.

    Lengths are `[n]`; the function takes tokens `[m, L]` to features `[m, D]`, not normalised.
    """
    causal, tower = causal_tower(model, tokenizer), getattr(model, "text", None)
    if causal is not None:
        return tokens.argmax(dim=1) + 1, partial(encode_causal, causal)
    plain = isinstance(tokenizer, HFTokenizer) and not tokenizer.tokenizer_mode
    if isinstance(tower, HFTextEncoder) and plain:
        place = torch.arange(1, tokens.shape[1] + 1) * (tokens != tower.config.pad_token_id)
        return place.max(dim=1).values.clamp(min=1), model.encode_text
    return torch.full((len(tokens),), tokens.shape[1]), model.encode_text


def causal_tower(model: nn.Module, tokenizer: Callable) -> nn.Module | None:
    """The text tower if cutting the padding is exact: causal mask, pooled at the largest token."""
    tower = model.text if isinstance(model, open_clip.CustomTextCLIP) else model
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    standard = isinstance(tower, open_clip.CLIP | TextTransformer) and pool == "argmax"
    plain = getattr(tower, "cls_emb", None) is None and getattr(tower, "attn_mask", None) is not None
    return tower if standard and plain and isinstance(tokenizer, open_clip.SimpleTokenizer) else None


def encode_causal(tower: nn.Module, tokens: Tensor) -> Tensor:
    """The text tower on tokens `[n, L]` cut at their longest text; `[n, D]`, not normalised."""
    length, dtype = tokens.shape[1], tower.transformer.get_cast_dtype()
    x = (tower.token_embedding(tokens) + tower.positional_embedding[:length]).to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)]
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def warn_truncated(tokenizer: Callable, texts: list[str], tokens: Tensor) -> None:
    """Warn once about texts that are longer than the context."""
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        count, padding = lambda text: len(tokenizer.encode(text)) + 2, 0
    elif isinstance(tokenizer, HFTokenizer) and not tokenizer.tokenizer_mode:
        inner = tokenizer.tokenizer
        count, padding = lambda text: len(inner(tokenizer.clean_fn(text)).input_ids), inner.pad_token_id
    else:
        return
    full = (tokens[:, -1] != padding).nonzero()[:, 0].tolist()
    longer = [texts[i] for i in full if count(texts[i]) > tokenizer.context_length]
    if longer:
        many = f"{len(longer)} texts have more than {tokenizer.context_length} tokens"
        warnings.warn(f"{many} and are cut: {longer[0]!r}", UserWarning, stacklevel=4)

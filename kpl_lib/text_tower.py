"""Short texts through a text tower without their padding, and a warning about texts that are too long."""

import warnings
from collections.abc import Callable

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn


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
    """Warn once about texts that are longer than the context; tokenizers other than CLIP's are not asked."""
    if not isinstance(tokenizer, open_clip.SimpleTokenizer):
        return
    full = (tokens[:, -1] != 0).nonzero()[:, 0].tolist()
    longer = [texts[i] for i in full if len(tokenizer.encode(texts[i])) + 2 > tokenizer.context_length]
    if longer:
        warnings.warn(
            f"{len(longer)} texts have more than {tokenizer.context_length} tokens and are cut: {longer[0]!r}",
            UserWarning,
            stacklevel=4,
        )

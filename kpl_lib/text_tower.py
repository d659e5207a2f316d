"""Short texts through a text tower without their padding, and a warning about texts that are too long."""

import warnings
from collections.abc import Callable
from functools import partial

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn


def padding_plan(model: nn.Module, tokenizer: Callable, tokens: Tensor) -> tuple[Tensor, Callable]:
    """How many tokens of each text count, and what encodes texts that are cut there.

    * Under a causal mask, with the text read off at its last token, what stands behind it changes nothing.
    * The towers of `transformers` (BERT and its kin) mask the padding; cut off, it changes nothing either.
    * Every other tower (SigLIP reads its last place, CoCa adds a token behind) gets whole contexts.

    Args:
        model: the open_clip model.
        tokenizer: what made the tokens.
        tokens: `[n, context]`.

    Returns:
        Lengths `[n]`, and a function from tokens `[m, L]` to features `[m, D]`, not normalised.
    """
    tower = causal_tower(model, tokenizer)
    if tower is not None:
        return tokens.argmax(dim=1) + 1, partial(encode_causal, tower)
    padding = masked_padding(model, tokenizer)
    if padding is None:
        return torch.full((len(tokens),), tokens.shape[1]), model.encode_text
    place = torch.arange(1, tokens.shape[1] + 1) * (tokens != padding)
    return place.max(dim=1).values.clamp(min=1), model.encode_text


def causal_tower(model: nn.Module, tokenizer: Callable) -> nn.Module | None:
    """The text tower if cutting the padding is exact: causal mask, pooled at the largest token."""
    tower = model.text if isinstance(model, open_clip.CustomTextCLIP) else model
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    standard = isinstance(tower, open_clip.CLIP | TextTransformer) and pool == "argmax"
    plain = getattr(tower, "cls_emb", None) is None and getattr(tower, "attn_mask", None) is not None
    return tower if standard and plain and isinstance(tokenizer, open_clip.SimpleTokenizer) else None


def masked_padding(model: nn.Module, tokenizer: Callable) -> int | None:
    """The token of the padding if the tower masks it; None for other towers."""
    tower = getattr(model, "text", None)
    plain = isinstance(tokenizer, HFTokenizer) and not tokenizer.tokenizer_mode
    return tower.config.pad_token_id if plain and isinstance(tower, HFTextEncoder) else None


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
        warnings.warn(
            f"{len(longer)} texts have more than {tokenizer.context_length} tokens and are cut: {longer[0]!r}",
            UserWarning,
            stacklevel=4,
        )

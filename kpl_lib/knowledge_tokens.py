"""How many tokens a description has, so that none is cut by the context of an encoder."""

from collections.abc import Callable, Sequence
from functools import cache


def token_counts(texts: Sequence[str], tokenizer: Callable | None = None, enough: int = 0) -> list[int]:
    """Tokens of each text, begin and end counted.

    A word is cut into tokens by itself, so each different word is cut once.

    Args:
        texts: n texts.
        tokenizer: an open_clip tokenizer with `encode`; None is CLIP's own, which ships with open_clip.
        enough: where no text can have more tokens than this, bytes are counted instead, which is quick.

    Returns:
        n counts.

    Example:
        >>> token_counts(["a photo of a cat"])
        [7]
    """
    upper = [len("".join(text.split()).encode()) + 2 for text in texts]  # a token holds a byte or more
    if max(upper, default=0) <= enough:
        return upper
    encode = (tokenizer or _clip_tokenizer()).encode
    known: dict[str, int] = {}
    counts = []
    for text in texts:
        total = 2
        for word in text.split():
            if word not in known:
                known[word] = len(encode(word))
            total += known[word]
        counts.append(total)
    return counts


@cache
def _clip_tokenizer() -> Callable:
    """CLIP's tokenizer; its vocabulary is a file of open_clip."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()

"""Controls for descriptions: does a gain come from what the texts say, or only from having many texts?

They change the sentences, which are then encoded like any others: `waffle_texts` (random words), `scramble` (the words
of each sentence in random order), `swap_texts` (sentences of another class); `with_controls` encodes the first and the
last of them beside a bank.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from kpl_lib.common.checks import check_classes, check_count
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.description import check_template, fill

CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"


def waffle_texts(class_names: Sequence[str], n: int, seed: int, words: int = 2) -> dict[str, list[str]]:
    """Random-word descriptions: n sentences of meaningless words, the same for every class.

    Args:
        class_names: the C classes, in order.
        n: sentences for each class; take as many as the real knowledge has.
        seed: same seed, same words.
        words: words in a sentence.

    Returns:
        For each class its n sentences, to be put in the same template and encoded as knowledge is.

    Raises:
        InputError: if `n` or `words` is below 1.

    >>> texts = waffle_texts(("cat", "dog"), n=2, seed=0)
    >>> texts["cat"] == texts["dog"], len(texts["cat"])
    (True, 2)

    Source: WaffleCLIP (arXiv 2306.07282).
    Chapter: ch-text-proxies
    """
    check_count(n, "n")
    check_count(words, "words")
    source = random.Random(seed)
    sentences = [" ".join(_nonsense(source) for _ in range(words)) for _ in range(n)]
    return {name: list(sentences) for name in class_names}


def _nonsense(source: random.Random) -> str:
    syllables = source.randint(2, 4)
    return "".join(source.choice(CONSONANTS) + source.choice(VOWELS) for _ in range(syllables))


def scramble(texts: Sequence[str], seed: int) -> list[str]:
    """The same sentences, the words of each in random order.

    Args:
        texts: n sentences.
        seed: the same seed gives the same order.

    Returns:
        n sentences.

    >>> sorted(scramble(["small round dark spots"], seed=0)[0].split())
    ['dark', 'round', 'small', 'spots']

    Source: written for this project.
    Chapter: ch-text-proxies
    """
    source = random.Random(seed)
    scrambled = []
    for text in texts:
        words = text.split()
        source.shuffle(words)
        scrambled.append(" ".join(words))
    return scrambled


def swap_texts(classes: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[str]]:
    """Every class gets the sentences of another class; the class names stay.

    Args:
        classes: for each of C classes its sentences.
        seed: chooses which class gets whose.

    Returns:
        For each class, in the same order, the sentences of another one.

    Raises:
        InputError: if there are fewer than two classes.

    >>> swap_texts({"cat": ["fur"], "dog": ["ears"]}, seed=0)
    {'cat': ['ears'], 'dog': ['fur']}

    Source: written for this project.
    Chapter: ch-text-proxies
    """
    names = list(classes)
    others = zip(names, derangement(len(names), seed), strict=True)
    return {name: list(classes[names[other]]) for name, other in others}


def derangement(n: int, seed: int) -> list[int]:
    """A random cyclic permutation of n numbers (Sattolo): none stays in its place."""
    check_classes(n, "classes")
    source = random.Random(seed)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = source.randrange(i)
        order[i], order[j] = order[j], order[i]
    return order


def with_controls(
    bank: TextBank,
    kb: KnowledgeBase,
    encode: Callable[[Sequence[str]], Tensor],
    seeds: int = 3,
    template: str | None = None,
) -> TextBank:
    """Encode the controls of a knowledge base beside it: `random` words, and texts `swapped` between classes.

    random: for each seed, as many sentences of random words as a class has descriptions on average, the same
    for every class. swapped: each class gets the descriptions of another one; the seed of that is fixed.
    Both stand in the sentences of the knowledge base, with the class's own name.

    Args:
        bank: the encoded knowledge base.
        kb: its texts.
        encode: texts to unit rows, `encode_texts` of the encoder that made the bank.
        seeds: sets of random words; methods average over all of them.
        template: the sentence that `encode_knowledge` was given.

    Returns:
        The bank with `controls`, which classifiers read as `text="random"` and `text="swapped"`.

    Raises:
        InputError: if bank and knowledge base name different classes.

    Source: WaffleCLIP (arXiv 2306.07282).
    Chapter: ch-benchmark
    """
    if bank.class_names != kb.class_names:
        both = [", ".join(names) for names in (bank.class_names, kb.class_names)]
        raise InputError(f"the bank has classes {both[0]}, {kb.name!r} has {both[1]}: encode that one")
    count = max(1, round(sum(bank.counts) / len(bank)))
    drawn = [waffle_texts(kb.class_names, count, seed) for seed in range(check_count(seeds, "seeds"))]
    texts = {
        "random": {name: [text for words in drawn for text in words[name]] for name in kb.class_names},
        "swapped": swap_texts(kb.classes, seed=0),
    }
    template = check_template(kb.template if template is None else template, "{description}")
    encoded = {}
    for key, classes in texts.items():
        sentences = [fill(template, name, text) for name, group in classes.items() for text in group]
        rows = encode(sentences).to(bank.names.device)
        encoded[key] = rows.split([len(group) for group in classes.values()])
    return replace(bank, controls={**bank.controls, **encoded})

"""The words of the pretraining captions: what each finding may be called, and how to say it.

They stand as data in `data/words/phantom-captions.json`. Knowledge bases use other sentences made of mostly the same
words, as a reader's sentence differs from a report's.
"""

from collections.abc import Sequence

import numpy as np

from kpl_lib.common.files import data_dir, read_json

#: All that captions are made of; `captions` puts it together.
SAID = read_json(data_dir() / "words" / "phantom-captions.json")
#: Finding -> what a caption may call it.
FINDINGS: dict[str, list[str]] = SAID["findings"]
#: Modality -> what a caption may say of an image without findings.
NOTHING: dict[str, list[str]] = SAID["nothing"]

SYNONYM_RATE = 0.3


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of several, each as likely."""
    return options[int(rng.integers(len(options)))]


def phrase(finding: str, value: object, rng: np.random.Generator) -> str:
    """Put one finding into words; `value` is what `attributes.detail` says of it."""
    details = value.items() if isinstance(value, dict) else ()
    words = {
        key: pick(SAID["details"].get(item, (item,)), rng) for key, item in details if isinstance(item, str)
    }
    return pick(FINDINGS[finding], rng).format(**words)


def vary(sentence: str, rng: np.random.Generator) -> str:
    """Replace words by synonyms here and there, so that the encoder meets more than one wording."""
    synonyms = SAID["synonyms"]
    return " ".join(
        pick(synonyms[word], rng) if word in synonyms and rng.random() < SYNONYM_RATE else word
        for word in sentence.split(" ")
    )

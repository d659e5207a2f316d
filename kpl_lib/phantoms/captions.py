"""The caption grammar: findings in, sentences out."""

import numpy as np

from kpl_lib.phantoms.attributes import CLASSES, FREE, MODALITY, name_class
from kpl_lib.phantoms.phrases import (
    FINDINGS,
    FRAMES,
    LEAFLET_FRAMES,
    LEAFLET_NAMES,
    LEAFLETS,
    NAME_FRAMES,
    NOTHING,
    SCENE_FRAMES,
    SHAPE_FRAMES,
    SYNONYMS,
)

NAME_RATE = 0.005  # share of scan captions that give a class name, as the web rarely does
LEAFLET_NAME_RATE = 0.35
SYNONYM_RATE = 0.3
WORDS = {
    "upper": ("upper", "apical", "top"),
    "middle": ("middle", "mid", "central"),
    "lower": ("lower", "basal", "bottom"),
    "few": ("a few", "some", "occasional", "several"),
    "many": ("many", "numerous", "countless", "more than twenty"),
    "moderate": ("moderate", "mild"),
    "dense": ("dense", "heavy"),
}


def _pick(options, rng):
    return options[int(rng.integers(len(options)))]


def phrase(finding: str, value, rng: np.random.Generator) -> str:
    """Put one finding into words."""
    fields = {}
    if isinstance(value, dict):
        fields = {
            key: _pick(WORDS.get(item, (item,)), rng) for key, item in value.items() if isinstance(item, str)
        }
    return _pick(FINDINGS[finding], rng).format(**fields)


def _vary(sentence, rng):
    """Replace words by synonyms here and there, so that the encoder meets more than one wording."""
    words = sentence.split(" ")
    return " ".join(
        _pick(SYNONYMS[word], rng) if word in SYNONYMS and rng.random() < SYNONYM_RATE else word
        for word in words
    )


def caption_scan(modality: str, findings: dict, rng: np.random.Generator) -> str:
    """One caption of a scan: some of its findings in any order; rarely its class name (`NAME_RATE`)."""
    if rng.random() < NAME_RATE:
        tasks = [task for task in CLASSES if MODALITY[task] == modality]
        name = name_class(_pick(tasks, rng), findings)
        if name:
            return _pick(NAME_FRAMES, rng).format(name)
    signs = [name for name in findings if name in FREE[modality]]
    others = [name for name in findings if name not in signs]
    said = (
        [phrase(name, findings[name], rng) for name in rng.permutation(signs)[: rng.integers(1, 4)]]
        if signs
        else []
    )
    if not signs and (not others or rng.random() < 0.85):
        said.append(_pick(NOTHING[modality], rng))
    if others and (not said or rng.random() < 0.3):
        said.append(phrase(*(lambda name: (name, findings[name]))(_pick(others, rng)), rng))
    rng.shuffle(said)
    said = [_vary(words, rng) for words in said]
    return _pick(FRAMES[modality], rng).format(_pick((", ", " and ", " with ", "; "), rng).join(said))


def caption_leaflet(findings: dict, rng: np.random.Generator) -> str:
    """One caption of a leaflet: what its text says, at times with a disease name of its topic."""
    topic = findings["topic"]
    if rng.random() < LEAFLET_NAME_RATE:
        name = _pick(CLASSES[_pick(LEAFLET_NAMES[topic], rng)], rng)
        said = _pick(
            (
                name,
                f"{name}: {_pick(LEAFLETS[topic, findings['kind']], rng)}",
                f"facts about {name}",
                f"what is {name}",
            ),
            rng,
        )
    else:
        said = _vary(_pick(LEAFLETS[topic, findings["kind"]], rng), rng)
    return _pick(LEAFLET_FRAMES, rng).format(said)


def caption(kind: str, findings: dict, rng: np.random.Generator) -> str:
    """One caption of a corpus image of any kind (a scan's modality, `leaflet`, `shape` or `scene`).

    Args:
        kind: what kind of image it is.
        findings: what it shows.
        rng: where chance comes from.

    Returns:
        One sentence.

    Chapter: ch-zero-shot
    """
    if kind in FRAMES:
        return caption_scan(kind, findings, rng)
    if kind == "leaflet":
        return caption_leaflet(findings, rng)
    return _pick(SHAPE_FRAMES if kind == "shape" else SCENE_FRAMES, rng).format(**findings)

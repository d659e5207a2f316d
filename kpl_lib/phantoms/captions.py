"""The caption grammar: findings in, sentences out."""

import numpy as np

from kpl_lib.phantoms.attributes import CLASSES, FREE, MODALITY, name_class
from kpl_lib.phantoms.phrases import NOTHING, SAID, phrase, pick, vary

NAME_RATE = 0.005  # share of scan captions that give a class name, as the web rarely does
LEAFLET_NAME_RATE = 0.35


def caption_scan(modality: str, findings: dict, rng: np.random.Generator) -> str:
    """One caption of a scan: some of its findings in any order; rarely its class name (`NAME_RATE`)."""
    if rng.random() < NAME_RATE:
        tasks = [task for task in CLASSES if MODALITY[task] == modality]
        name = name_class(pick(tasks, rng), findings)
        if name:
            return pick(SAID["name_frames"], rng).format(name)
    signs = [name for name in findings if name in FREE[modality]]
    others = [name for name in findings if name not in signs]
    said = []
    if signs:
        said = [phrase(name, findings[name], rng) for name in rng.permutation(signs)[: rng.integers(1, 4)]]
    elif not others or rng.random() < 0.85:
        said = [pick(NOTHING[modality], rng)]
    if others and (not said or rng.random() < 0.3):
        name = pick(others, rng)
        said.append(phrase(name, findings[name], rng))
    rng.shuffle(said)
    said = [vary(words, rng) for words in said]
    return pick(SAID["frames"][modality], rng).format(pick((", ", " and ", " with ", "; "), rng).join(said))


def caption_leaflet(findings: dict, rng: np.random.Generator) -> str:
    """One caption of a leaflet: what its text says, at times with a disease name of its topic."""
    topic = findings["topic"]
    lines = SAID["leaflets"][topic][findings["kind"]]
    if rng.random() < LEAFLET_NAME_RATE:
        name = pick(CLASSES[pick(SAID["leaflet_names"][topic], rng)], rng)
        named = (name, f"{name}: {pick(lines, rng)}", f"facts about {name}", f"what is {name}")
        said = pick(named, rng)
    else:
        said = vary(pick(lines, rng), rng)
    return pick(SAID["leaflet_frames"], rng).format(said)


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
    if kind in SAID["frames"]:
        return caption_scan(kind, findings, rng)
    if kind == "leaflet":
        return caption_leaflet(findings, rng)
    return pick(SAID[f"{kind}_frames"], rng).format(**findings)

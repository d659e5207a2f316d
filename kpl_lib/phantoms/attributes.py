"""What an image shows: findings are drawn first, then painted and put into words.

Two samplers on purpose. `draw_free` draws findings independently of any disease: the pretraining corpus sees nothing
else. `draw_class` draws the findings of one class: dev and test sets only. `name_class` reads the class off the
findings by a fixed rule, which is how a free draw can get the rare caption with a disease name.
"""

import numpy as np

from kpl_lib.phantoms.phrases import pick

CLASSES = {
    "chest": ("normal chest", "tuberculosis"),
    "retinopathy": (
        "no diabetic retinopathy",
        "mild diabetic retinopathy",
        "moderate diabetic retinopathy",
        "severe diabetic retinopathy",
        "proliferative diabetic retinopathy",
    ),
    "malaria": ("uninfected cell", "parasitized cell"),
    "cataract": ("normal eye", "cataract", "glaucoma", "retina disease"),
}
SKEWED = {
    "chest": (0.85, 0.15),
    "retinopathy": (0.55, 0.1, 0.2, 0.09, 0.06),
    "malaria": (0.85, 0.15),
    "cataract": (0.6, 0.18, 0.12, 0.1),
}
MODALITY = {"chest": "chest", "retinopathy": "fundus", "malaria": "cell", "cataract": "fundus"}
SIDES, ZONES = ("right", "left"), ("upper", "middle", "lower")

FREE = {
    "chest": ("opacity", "cavity", "miliary", "fibrosis", "effusion", "hilar_nodes"),
    "fundus": (
        "microaneurysms",
        "haemorrhages",
        "exudates",
        "cotton_wool",
        "beading",
        "new_vessels",
        "preretinal",
        "fibrous_bands",
        "haze",
        "cupping",
        "drusen",
        "scar",
        "detachment",
    ),
    "cell": ("ring_forms", "trophozoite", "schizont", "gametocyte", "pigment", "stippling"),
}
BYSTANDERS = {
    "chest": {"large_heart": 0.15, "pacemaker": 0.08, "hyperinflation": 0.15, "granuloma": 0.12},
    "fundus": {"tigroid": 0.2, "pale_fundus": 0.2, "laser_scars": 0.06},
    "cell": {
        "central_pallor": 0.35,
        "crenation": 0.15,
        "platelet": 0.18,
        "debris": 0.12,
        "pale_stain": 0.25,
        "swollen": 0.2,
        "bite": 0.08,
    },
}


def detail(finding: str, rng: np.random.Generator, level: str | None = None):
    """Draw what there is to say about one finding: its side, its number, its depth."""
    if finding in ("opacity", "cavity"):
        return {"side": pick(SIDES, rng), "zone": str(rng.choice(ZONES, p=(0.6, 0.25, 0.15)))}
    if finding in ("fibrosis", "effusion"):
        return {"side": pick(SIDES, rng)}
    if finding in ("microaneurysms", "haemorrhages"):
        level = level or pick(("few", "many"), rng)
        few, many = ((3, 7), (12, 20)) if finding == "microaneurysms" else ((2, 6), (18, 28))
        return {"level": level, "count": int(rng.integers(*(few if level == "few" else many)))}
    if finding == "new_vessels":
        return {"at": pick(("disc", "elsewhere"), rng)}
    if finding == "haze":
        return {"depth": pick(("moderate", "dense"), rng)}
    if finding == "cupping":
        return {"ratio": float(rng.uniform(0.72, 0.88))}
    if finding == "ring_forms":
        return int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))
    return True


def _bystanders(modality, rng):
    return {name: True for name, rate in BYSTANDERS[modality].items() if rng.random() < rate}


def draw_free(modality: str, rng: np.random.Generator) -> dict:
    """Draw findings independently of any disease: none in three of ten images, else one to four of them."""
    findings = _bystanders(modality, rng)
    count = int(rng.choice((0, 1, 2, 3, 4), p=(0.3, 0.3, 0.22, 0.12, 0.06)))
    for name in rng.choice(FREE[modality], count, replace=False):
        findings[str(name)] = detail(str(name), rng)
    return findings


def draw_class(task: str, label: int, rng: np.random.Generator) -> dict:
    """Draw the findings of class `label` of `task`.

    Args:
        task: `chest`, `retinopathy`, `malaria` or `cataract`.
        label: number of the class.
        rng: where chance comes from.

    Returns:
        Finding -> what there is to say about it.

    Chapter: ch-own-images
    """
    findings = _bystanders(MODALITY[task], rng)
    findings.update(_DRAW[task](label, rng))
    return findings


def _some(rng, pool: dict, least: int) -> dict:
    """Draw each finding of `pool` at its rate; draw again until there are `least` of them."""
    while True:
        names = [name for name, rate in pool.items() if rng.random() < rate]
        if len(names) >= least:
            return {name: detail(name, rng) for name in names}


def _draw_chest(label, rng):
    if label == 0:
        return {}
    return _some(
        rng,
        {
            "opacity": 0.5,
            "cavity": 0.35,
            "miliary": 0.18,
            "fibrosis": 0.35,
            "effusion": 0.22,
            "hilar_nodes": 0.2,
        },
        1,
    )


def _draw_retinopathy(label, rng):
    if label == 0:
        return {}
    if label == 1:
        return {"microaneurysms": detail("microaneurysms", rng, "few")}
    spots = {"microaneurysms": detail("microaneurysms", rng, "many" if label == 3 else None)}
    if label == 2:
        return (
            spots
            | _some(rng, {"exudates": 0.65, "cotton_wool": 0.35}, 1)
            | ({"haemorrhages": detail("haemorrhages", rng, "few")} if rng.random() < 0.6 else {})
        )
    if label == 3:
        return (
            spots
            | {"haemorrhages": detail("haemorrhages", rng, "many")}
            | _some(rng, {"beading": 0.55, "cotton_wool": 0.4, "exudates": 0.3}, 0)
        )
    return _some(rng, {"haemorrhages": 0.5, "exudates": 0.3, "beading": 0.25}, 0) | _some(
        rng, {"new_vessels": 0.65, "preretinal": 0.4, "fibrous_bands": 0.4}, 1
    )


def _draw_malaria(label, rng):
    if label == 0:
        return {}
    stage = str(
        rng.choice(("ring_forms", "trophozoite", "schizont", "gametocyte"), p=(0.5, 0.25, 0.13, 0.12))
    )
    return {stage: detail(stage, rng)} | _some(
        rng, {"pigment": 0.2 if stage == "ring_forms" else 0.5, "stippling": 0.3}, 0
    )


def _draw_cataract(label, rng):
    if label == 0:
        return {}
    if label == 1:
        return {"haze": detail("haze", rng)}
    if label == 2:
        return {"cupping": detail("cupping", rng)}
    return _some(
        rng, {"drusen": 0.4, "scar": 0.3, "detachment": 0.25, "exudates": 0.2, "haemorrhages": 0.12}, 1
    )


_DRAW = {
    "chest": _draw_chest,
    "retinopathy": _draw_retinopathy,
    "malaria": _draw_malaria,
    "cataract": _draw_cataract,
}


def name_class(task: str, findings: dict) -> str | None:
    """Read the class of `task` off the findings by a fixed rule; None where they fit no class.

    Args:
        task: as for `draw_class`.
        findings: what an image shows.

    Returns:
        The name of the class, or None.

    Chapter: ch-own-images
    """
    names = CLASSES[task]
    present = {name for name in findings if name in FREE[MODALITY[task]]}
    if not present:
        return names[0]
    if task in ("chest", "malaria"):
        return names[1]
    if task == "cataract":
        if present & {"haze", "cupping"}:
            return names[1] if present == {"haze"} else names[2] if present == {"cupping"} else None
        return names[3]
    if present & {"haze", "cupping", "drusen", "scar", "detachment"}:
        return None
    if present & {"new_vessels", "preretinal", "fibrous_bands"}:
        return names[4]
    if "beading" in present or findings.get("haemorrhages", {}).get("level") == "many":
        return names[3]
    return names[2] if present & {"exudates", "cotton_wool", "haemorrhages"} else names[1]

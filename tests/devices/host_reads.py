"""How often each method makes a GPU wait for the host, by the function that asks: `python tests/devices/host_reads.py`.

Writes data/results/host_reads.json. `test_host_reads.py` counts again, and fails where a place reads more often.
"""

import json
import sys
import warnings
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core_world import bank_of, world
from pretended_device import DEVICE, pretended

from kpl_lib import __version__, transport, vision_proxies
from kpl_lib.classifiers import available, create
from kpl_lib.features import Features
from kpl_lib.gap import modality_gap
from kpl_lib.text_proxies import text_proxies

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "data" / "results" / "host_reads.json"
SIZE = {"images": 400, "dimensions": 32, "classes": 10, "descriptions": 12, "k": 8, "patches": 4}


def scene() -> tuple[Features, object, torch.Tensor]:
    """Images, a bank with controls, and patches, all on the device."""
    images, texts, labels = world(*(SIZE[key] for key in ("images", "dimensions", "classes", "descriptions")))
    bank = bank_of(texts.float())
    bank = replace(bank, controls={"random": bank.descriptions})
    tokens = torch.nn.functional.normalize(
        images[:, None] + 0.3 * images.roll(1, 0)[:, None].expand(-1, 4, -1), dim=2
    )
    return (
        Features(images.float(), labels, bank.class_names).to(DEVICE),
        bank.to(DEVICE),
        tokens.float().to(DEVICE),
    )


def works() -> dict:
    """What is counted by name: each makes its method run once on images, bank and patches."""
    found = {
        f"classifier {name}": lambda x, bank, tokens, name=name: create(name).fit_predict(
            x, bank, patches=tokens
        )
        for name in available(patches=True)
    }
    return found | {
        "text_proxies": lambda x, bank, _: text_proxies(bank, x.images, k=SIZE["k"]),
        "sinkhorn": lambda x, bank, _: transport.sinkhorn(x.images @ bank.names.T),
        "greenkhorn": lambda x, bank, _: transport.greenkhorn(x.images @ bank.names.T),
        "fit_proxies": lambda x, bank, _: vision_proxies.fit_proxies(
            x.images, bank.names, (x.images @ bank.names.T / 0.01).softmax(dim=1), steps=100
        ),
        "ridge_proxies": lambda x, bank, _: vision_proxies.ridge_proxies(
            x.images, (x.images @ bank.names.T / 0.01).softmax(dim=1), intercept=True
        ),
        "modality_gap": lambda x, bank, _: modality_gap(x.images, torch.cat(list(bank.descriptions))),
    }


def count(name: str) -> Counter[str]:
    """Host reads of one of `works`, by place; copies to the host are reads too."""
    with warnings.catch_warnings(), pretended() as reads:
        warnings.simplefilter("ignore")
        given = scene()
        reads.clear()
        works()[name](*given)
    return reads


def main() -> None:
    found = {
        "what": "Host reads of one fit_predict or call on a pretended device, by the function that asks.",
        "by": "python tests/devices/host_reads.py",
        "size": SIZE,
        "versions": {"kpl_lib": __version__, "torch": torch.__version__},
        "date": date.today().isoformat(),
        "reads": {name: dict(sorted(count(name).items())) for name in works()},
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.relative_to(ROOT)}: {sum(sum(one.values()) for one in found['reads'].values())} reads")


if __name__ == "__main__":
    main()

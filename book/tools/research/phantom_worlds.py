"""Where the phantom encoders are at home: mean and whitening of their features, and how far phantoms stray.

All from development seeds: every variant of the four phantom sets. The limit for n images is what their distance stays
under in 99.9 % of draws from the worst variant, with a tenth added.
"""

import torch
import typer
from tqdm import tqdm

from book.tools.research.dev_world import ENCODERS, PHANTOMS
from kpl_lib.common.tensors import write_tensors
from kpl_lib.datasets.load import load_dataset
from kpl_lib.encoders.encoder import load_encoder
from kpl_lib.encoders.phantom_world import COUNTS, KIND, distances, nearest_quarter, worlds_file

IMAGES = 600  # of each variant: one half for mean and whitening, the other for the limits
DRAWS = 100_000
SHARE, MARGIN, RIDGE = 0.999, 1.1, 1e-6
VARIANTS = [
    f"phantom-{name}/{scanner}/{balance}"
    for name in PHANTOMS
    for scanner in ("seen", "unseen")
    for balance in ("even", "skewed")
]


def world_of(fitted: torch.Tensor, held: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean, whitening and limits of one encoder, from features to fit and features of each variant to judge."""
    mean, scatter = fitted.mean(0), torch.cov(fitted.T)
    lower = torch.linalg.cholesky(scatter + RIDGE * torch.eye(len(scatter), dtype=scatter.dtype))
    whitening = torch.linalg.inv(lower).T
    generator = torch.Generator().manual_seed(0)
    limits = torch.zeros(len(COUNTS), dtype=torch.float64)
    for features in held:
        far = distances(features, mean, whitening)
        for place, count in enumerate(COUNTS):
            drawn = far[torch.randint(len(far), (DRAWS, count), generator=generator)]
            limits[place] = max(limits[place], nearest_quarter(drawn).quantile(SHARE) * MARGIN)
    return {"mean": mean.float(), "whitening": whitening.float(), "limits": limits}


def main() -> None:
    """Encode the development sets with each phantom encoder, and write the file of worlds."""
    found = {}
    for name in ENCODERS:
        encoder = load_encoder(name)
        sets = [load_dataset(variant, split="dev", n=IMAGES) for variant in VARIANTS]
        views = [encoder.encode_images(data, progress=False).images.double() for data in tqdm(sets, name)]
        made = world_of(
            torch.cat([view[: IMAGES // 2] for view in views]), [view[IMAGES // 2 :] for view in views]
        )
        found |= {f"{name} {part}": tensor for part, tensor in made.items()}
        print(name, [round(x, 2) for x in made["limits"].tolist()])
    write_tensors(
        worlds_file(), KIND, found, {"images": IMAGES, "seeds": "dev", "share": SHARE, "margin": MARGIN}
    )


if __name__ == "__main__":
    typer.run(main)

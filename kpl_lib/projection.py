"""Features in a plane, for pictures: PCA and UMAP, with a cache that cannot go stale."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kpl_lib.errors import InputError
from kpl_lib.store import read_tensors, write_tensors
from kpl_lib.validation import check_count, check_float_matrix, shape_of


@torch.no_grad()
def plane(
    features: Tensor,
    method: Literal["pca", "umap"] = "pca",
    *,
    seed: int = 0,
    neighbours: int = 15,
    min_dist: float = 0.1,
    cache: str | Path | None = None,
) -> Tensor:
    """Coordinates in a plane, for a picture: PCA (a projection) or UMAP (a drawing of neighbourhoods).

    PCA: (X − u) V₂, V₂ the two leading right singular vectors, each signed so that its largest entry is
    positive.

    UMAP keeps who is near whom. Distances between clusters, their sizes and the gap between them mean
    nothing.

    Args:
        features: rows `[N, D]`; for images and texts together, stack them.
        method: "pca" or "umap".
        seed: of UMAP.
        neighbours, min_dist: of UMAP.
        cache: folder that keeps UMAP's coordinates, or None. The file name is a digest of the features, the
            settings and the versions of UMAP and numpy: changed input or software never meets an old picture.

    Returns:
        `[N, 2]`, float32, on the CPU.

    Raises:
        InputError: if the method is unknown, rows are too few, or UMAP is not installed.

    >>> plane(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))[:, 0].tolist()
    [-2.0, 0.0, 2.0]

    Source: UMAP, McInnes et al. 2018 (arXiv 1802.03426).
    Chapter: ch-gap
    """
    check_float_matrix(features, "features")
    if len(features) < 3 or features.shape[1] < 2:
        raise InputError(f"features {shape_of(features)} must have at least 3 rows and 2 columns for a plane")
    if method == "pca":
        return _pca(features)
    if method != "umap":
        raise InputError(f"method must be 'pca' or 'umap', not {method!r}")
    settings = {"seed": seed, "n_neighbors": check_count(neighbours, "neighbours", 2), "min_dist": min_dist}
    rows = features.detach().float().cpu().contiguous()
    file = None if cache is None else _cache_file(Path(cache), rows, settings)
    if file is not None and file.is_file():
        try:
            return read_tensors(file, "plane", ("plane",))[0]["plane"]
        except InputError:
            pass  # a broken file of a cache is made again
    drawn = _umap(rows, settings)
    if file is not None:
        write_tensors(file, "plane", {"plane": drawn}, {"settings": settings})
    return drawn


def _pca(features: Tensor) -> Tensor:
    x = features.double()
    x = x - x.mean(dim=0)
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:2]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return (x @ (axes * largest.sign()).T).float().cpu()


def _cache_file(folder: Path, rows: Tensor, settings: dict) -> Path:
    try:
        versions = [version("umap-learn"), version("numpy")]
    except PackageNotFoundError:
        raise InputError("method 'umap' needs umap-learn: pip install umap-learn, or take 'pca'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to cache {folder}: {error.strerror}; choose another folder") from None
    key = json.dumps([settings, versions, list(rows.shape)], sort_keys=True).encode()
    digest = hashlib.sha256(key + rows.numpy().tobytes()).hexdigest()[:32]
    return folder / f"umap-{digest}.safetensors"


def _umap(rows: Tensor, settings: dict) -> Tensor:
    try:
        from umap import UMAP
    except ImportError:
        raise InputError("method 'umap' needs umap-learn: pip install umap-learn, or take 'pca'") from None
    rest = {key: value for key, value in settings.items() if key != "seed"}
    rest["n_neighbors"] = min(rest["n_neighbors"], len(rows) - 1)
    model = UMAP(n_components=2, metric="cosine", random_state=settings["seed"], n_jobs=1, **rest)
    return torch.from_numpy(model.fit_transform(rows.numpy())).float()

"""Nearest neighbours by cosine, and what flows along them: for the methods that read a graph of images."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import working_dtype

BLOCK = 1 << 24  # cosines held at a time


@dataclass(frozen=True, eq=False)
class Graph:
    """Weighted links A from each of N images to k nodes.

    Args:
        weights: `[N, k]`.
        index: `[N, k]`, node numbers.
    """

    weights: Tensor
    index: Tensor

    def pull(self, values: Tensor) -> Tensor:
        """`A z`, `[N, C]`: what the images get from the nodes z `[nodes, C]`."""
        return torch.einsum("nk,nkc->nc", self.weights, values[self.index])

    def push(self, values: Tensor, nodes: int) -> Tensor:
        """`Aᵀ z`, `[nodes, C]`: what the nodes get from the images z `[N, C]`."""
        parts = self.weights[:, :, None] * values[:, None]
        total = values.new_zeros(nodes, values.shape[1])
        return total.index_add_(0, self.index.flatten(), parts.flatten(0, 1))


def nearest_rows(images: Tensor, others: Tensor, k: int, themselves: bool = False) -> Graph:
    """Link each image to the k others with the largest cosines, which are the weights, in float64.

    Args:
        images: unit rows `[N, D]`.
        others: unit rows `[M, D]`, M >= k.
        k: links of each image.
        themselves: the others are the same images, and none is linked to itself.
    """
    found, row, dtype = [], 0, working_dtype(images, others)
    others = others.to(dtype)
    for block in images.split(max(1, BLOCK // len(others))):
        cosines = block.to(dtype) @ others.T
        if themselves:
            own = torch.arange(len(block), device=block.device)
            cosines[own, row + own] = -torch.inf
        found.append(cosines.topk(k, dim=1))
        row += len(block)
    return Graph(torch.cat([top.values for top in found]).double(), torch.cat([top.indices for top in found]))


def at_most(wanted: int, there: int, name: str) -> int:
    """`wanted`, or the number that is there, with a warning."""
    if wanted > there:
        warnings.warn(
            f"{name} = {wanted} is clipped to {there}: there are no more images", UserWarning, stacklevel=4
        )
    return min(wanted, there)

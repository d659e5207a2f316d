"""KPL on images that many processes hold, each its own rows: the names and arguments of one process.

`images`, `logits` and `pseudo_labels` are the rows of this process; proxies and priors are whole. Every process calls
the function, and gets the same proxies. `group` is a group of `torch.distributed`; None is all processes, or this one
alone where there are no others. What is sent is as large as the proxies, never as the images::

    with joined() as device:                                   # torchrun --nproc-per-node 2 script.py
        rows = slice_of(len(features), place().rank, place().world)
        images = features.images[rows.start : rows.stop].to(device)
        plan = sinkhorn(images @ text.T)
        proxies = ridge_proxies(images, plan.pseudo_labels / len(features))

Chapter: ch-scaling
"""

from kpl_lib.distributed.group import RankLost, joined, own_device, place, slice_of
from kpl_lib.distributed.solve import fit_proxies, mean_image, ridge_proxies, sinkhorn, text_proxies

__all__ = [
    "RankLost",
    "fit_proxies",
    "joined",
    "mean_image",
    "own_device",
    "place",
    "ridge_proxies",
    "sinkhorn",
    "slice_of",
    "text_proxies",
]

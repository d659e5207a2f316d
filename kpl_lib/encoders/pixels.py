"""Images to batches of pixels: what an image needs alone, then what a whole batch can have at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from open_clip.transform import MaybeConvertMode, MaybeToTensor
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Normalize

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import MAX_PIXELS, decode_for

Failed = list[tuple[int, str]]
Item = tuple[int, Tensor | str]
LAST = (MaybeConvertMode, MaybeToTensor, Normalize)  # how open_clip's own preprocessing ends


@dataclass(frozen=True, eq=False)
class Pixels(Dataset):
    """Images as tensors, one by one and as batches; an unreadable one becomes the line that says why.

    Where the preprocessing is one of open_clip's, an image stays 8-bit, `[H, W, 3]`, and a batch is scaled as a whole:
    `(x / 255 - mean) / std`, to the bits of the scaling of each image, in a fifth of the time.

    Args:
        dataset: the images.
        preprocess: of the encoder, to `[3, H, W]`.
        size: pixels a side that the image tower takes, the larger side; 0 where it does not say.
        layout: the order of a batch in memory.
    """

    dataset: ImageDataset
    preprocess: Callable[[Image.Image], Tensor]
    size: int
    layout: torch.memory_format

    @cached_property
    def _parts(self) -> tuple[Callable, Normalize | None]:
        """The steps of one image, and the scaling of a batch where that is known."""
        steps = getattr(self.preprocess, "transforms", ())
        known = tuple(map(type, steps[-3:])) == LAST and steps[-3].mode == "RGB" and all(steps[-1].std)
        return (Compose(steps[:-2]), steps[-1]) if known else (self.preprocess, None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        path = self.dataset.paths[index]
        try:
            with decode_for(self.size):
                image = self.dataset[index][0]
            short, long = sorted(image.size)
            # resized by its shorter side, a strip would fill the memory
            if self.size**2 * long > MAX_PIXELS * short:
                width, height = image.size
                return index, f"{path}: {width} x {height} pixels is a strip; cut it, or leave it out"
            each, scaling = self._parts
            return index, each(image) if scaling is None else torch.from_numpy(np.array(each(image)))
        except InputError as error:
            return index, str(error)
        except Exception as error:  # one image must not end the run, whatever its reader raises
            return index, f"{path}: cannot be read ({one_line(error, kind=True)}); leave it out"

    def batch(self, items: list[Item]) -> tuple[Tensor | None, Failed]:
        """Pixels `[n, 3, H, W]` or None, with number and reason of what cannot be read."""
        good = [item for _, item in items if isinstance(item, Tensor)]
        failed = [(index, item) for index, item in items if isinstance(item, str)]
        if not good:
            return None, failed
        scaling, pixels = self._parts[1], torch.stack(good)
        if scaling is not None:
            pixels = scale_batch(pixels, scaling).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=self.layout), failed


def scale_batch(pixels: Tensor, scaling: Normalize) -> Tensor:
    """8-bit images `[n, H, W, 3]` scaled as `ToTensor` and `Normalize` scale each, to the same bits.

    Example:
        >>> scale_batch(torch.full((1, 1, 2, 3), 255, dtype=torch.uint8), Normalize([0.5, 0.5, 1], [0.5, 1, 1]))
        tensor([[[[1.0000, 0.5000, 0.0000],
                  [1.0000, 0.5000, 0.0000]]]])
    """
    made = pixels.to(torch.get_default_dtype()).div_(255)
    mean, std = (
        torch.as_tensor(values, dtype=made.dtype).repeat(made.shape[2])
        for values in (scaling.mean, scaling.std)
    )
    made.flatten(2).sub_(mean).div_(std)  # whole rows: three numbers at a time would be slow
    return made

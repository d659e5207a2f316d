"""Images of a dataset as batches of tensors; what cannot be read is handed back, not raised."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.errors import InputError

Failed = list[tuple[int, InputError]]


def batches(
    dataset: ImageDataset, preprocess: Callable[[Image.Image], Tensor], batch_size: int, workers: int = 0
) -> DataLoader:
    """Decode and preprocess a dataset in its order.

    Args:
        dataset: N images.
        preprocess: image to tensor `[3, H, W]`.
        batch_size: images a batch.
        workers: processes that decode; 0 decodes in this one.

    Returns:
        Batches of (pixels `[n, 3, H, W]` or None, list of (image number, error)).
    """
    return DataLoader(_Tensors(dataset, preprocess), batch_size, num_workers=workers, collate_fn=_stack)


class _Tensors(Dataset):
    """Images as tensors; an unreadable one becomes its error."""

    def __init__(self, dataset: ImageDataset, preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.dataset, self.preprocess = dataset, preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Tensor | InputError]:
        try:
            return index, self.preprocess(self.dataset[index][0])
        except InputError as error:
            return index, error


def _stack(items: list[tuple[int, Tensor | InputError]]) -> tuple[Tensor | None, Failed]:
    good = [item for _, item in items if isinstance(item, Tensor)]
    failed = [(index, item) for index, item in items if isinstance(item, InputError)]
    return torch.stack(good) if good else None, failed

"""What comes out of a classifier: probabilities, scores and labels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a classifier says about N images.

    Args:
        probabilities: `[N, C]`; each row sums to 1.
        scores: `[N, C]`, larger is likelier; the unit is the method's own.
        labels: class numbers `[N]`, the largest score of each row.
        class_names: the C classes; may be empty.

    Chapter: ch-one-sitting
    """

    probabilities: Tensor
    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

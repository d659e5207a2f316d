"""How good a prediction is, and how sure that is.

Counts first (tally), measures from them, and estimates with their intervals. Public: evaluate, paired_difference,
accuracy, balanced_accuracy, confusion_matrix, reliability_curve. May import: prediction, common.
"""

from kpl_lib.metrics.estimates import (
    Difference,
    Estimate,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    evaluate,
    paired_difference,
    reliability_curve,
)

__all__ = [
    "Difference",
    "Estimate",
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "evaluate",
    "paired_difference",
    "reliability_curve",
]

"""From probabilities to decisions: sets of classes, an abstaining answer, and what a wrong answer costs.

Public: calibrate, evaluate_sets, cross_coverage, joint_step, same_source, net_benefit, predictive_values. May import:
metrics, transport, prediction, features, common.
"""

from kpl_lib.decisions.benefit import NetBenefit, PredictiveValues, net_benefit, predictive_values
from kpl_lib.decisions.conformal import SCORES, Calibration, PredictionSets, calibrate
from kpl_lib.decisions.coverage import SetFigures, cross_coverage, evaluate_sets
from kpl_lib.decisions.exchangeability import ShiftTest, same_source
from kpl_lib.decisions.joint import joint_step

__all__ = [
    "SCORES",
    "Calibration",
    "NetBenefit",
    "PredictionSets",
    "PredictiveValues",
    "SetFigures",
    "ShiftTest",
    "calibrate",
    "cross_coverage",
    "evaluate_sets",
    "joint_step",
    "net_benefit",
    "predictive_values",
    "same_source",
]

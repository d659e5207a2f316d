"""From probabilities to decisions: sets of classes, an abstaining answer, the cost of errors, the encoder to trust.

Public: calibrate, evaluate_sets, cross_coverage, joint_step, same_source, net_benefit, predictive_values,
rank_encoders. May import: classifiers, metrics, transport, prediction, features, common.
"""

from kpl_lib.decisions.benefit import NetBenefit, PredictiveValues, net_benefit, predictive_values
from kpl_lib.decisions.conformal import SCORES, Calibration, PredictionSets, calibrate
from kpl_lib.decisions.coverage import SetFigures, cross_coverage, evaluate_sets
from kpl_lib.decisions.exchangeability import ShiftTest, same_source
from kpl_lib.decisions.joint import joint_step
from kpl_lib.decisions.ranking import EncoderRanking, RankedEncoder, rank_encoders

__all__ = [
    "SCORES",
    "Calibration",
    "EncoderRanking",
    "NetBenefit",
    "PredictionSets",
    "PredictiveValues",
    "RankedEncoder",
    "SetFigures",
    "ShiftTest",
    "calibrate",
    "cross_coverage",
    "evaluate_sets",
    "joint_step",
    "net_benefit",
    "predictive_values",
    "rank_encoders",
    "same_source",
]

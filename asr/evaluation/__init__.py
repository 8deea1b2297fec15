"""How well fragments were recognised: per dialect, per speaker group, against a baseline, with intervals."""

from asr.evaluation.intents import IntentGroup, IntentScores, ReadingScores, score_understanding
from asr.evaluation.report import (
    DialectGap,
    DialectScores,
    EvaluationReport,
    GroupScore,
    LabelScores,
    QuestionScores,
    Reliability,
    ReliabilityBin,
    RiskCoverage,
    RiskPoint,
    Speed,
    SystemScore,
    TargetScores,
    WorstFragment,
)
from asr.evaluation.run import evaluate
from asr.evaluation.score import SPEAKER_GROUPS, score
from asr.evaluation.table import render

__all__ = [
    "SPEAKER_GROUPS",
    "DialectGap",
    "DialectScores",
    "EvaluationReport",
    "GroupScore",
    "IntentGroup",
    "IntentScores",
    "LabelScores",
    "QuestionScores",
    "ReadingScores",
    "Reliability",
    "ReliabilityBin",
    "RiskCoverage",
    "RiskPoint",
    "Speed",
    "SystemScore",
    "TargetScores",
    "WorstFragment",
    "evaluate",
    "render",
    "score",
    "score_understanding",
]

"""What counts as the same word when a transcript is scored: one normaliser per language, named in every result."""

from asr.text.normalizer import APOSTROPHES, Normalizer, close_elisions, fold, get_normalizer

__all__ = ["APOSTROPHES", "Normalizer", "close_elisions", "fold", "get_normalizer"]

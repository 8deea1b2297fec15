"""What counts as the same word when a transcript is scored: one normaliser per language, named in every result."""

from asr.text.normalizer import Normalizer, get_normalizer

__all__ = ["Normalizer", "get_normalizer"]

"""The names that an export can be asked for; here, so that the command line knows them without torch."""

from __future__ import annotations

from typing import Literal

Target = Literal["ctranslate2", "huggingface", "ggml", "openai"]
Quantization = Literal["int8", "int8_float32", "float16", "float32"]

FRAGMENTS = 200
"""Most fragments that an export is checked with, if nobody chooses."""

TOLERANCE = 0.02
"""Most by which an export's WER may differ, if nobody chooses: two points."""

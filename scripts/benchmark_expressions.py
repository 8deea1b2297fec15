"""What a bias does to expressions: python scripts/benchmark_expressions.py MANIFEST --lexicon fr-BE.tsv fr-CH.tsv.

Every lexicon is measured on the fragments of its dialect, for every strength. Counted are the expressions that are led
to: those of the reference that are heard (recall), and those heard that are not in the reference (false). A fragment's
reference is its verbatim text; WER is over the whole text, digits read as comes nearest.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from asr.errors import AsrError
from asr.expressions import Lexicon, read_lexicon
from asr.fragment import Fragment, read_manifest
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.metrics.wer import ErrorCounts, nearest_errors
from asr.model.checkpoint import Checkpoint, load_checkpoint
from asr.text import fold, get_normalizer


def expressions(lexicon: Lexicon, text: str) -> Counter[str]:
    """Count the expressions of a text that are led to."""
    led = Lexicon(lexicon.dialect, tuple(entry for entry in lexicon.entries if not entry.ambiguous))
    return Counter(fold(one.text, lexicon.language).replace("-", " ") for one in led.find(text))


def measure(transcriber: Transcriber, lexicon: Lexicon, fragments: list[Fragment]) -> str:
    """Transcribe the fragments of a dialect; return a row of the table."""
    present = heard = false = 0
    errors = ErrorCounts()
    for fragment, result in zip(fragments, transcriber.transcribe_many(fragments), strict=True):
        if isinstance(result, AsrError):
            print(f"left out: {result}", file=sys.stderr)
            continue
        reference, hypothesis = expressions(lexicon, fragment.text), expressions(lexicon, result.text)
        present += reference.total()
        heard += (reference & hypothesis).total()
        false += (hypothesis - reference).total()
        normalizer = get_normalizer(fragment.language, fragment.dialect)
        errors += nearest_errors(normalizer(fragment.text), normalizer.renderings(result.text))[0]
    recall = f"{heard:4d} / {present:<4d}"
    return (
        f"{lexicon.dialect:15} {transcriber.options.bias:8.2f} {recall:>11} {false:6d} {100 * (errors.rate or 0):8.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--lexicon", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--strength", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--beam-size", type=int)
    given = parser.parse_args()
    checkpoint: Checkpoint = load_checkpoint(given.model)
    fragments = list(read_manifest(given.manifest))
    print(f"{'dialect':15} {'strength':>8} {'recall':>11} {'false':>6} {'WER in %':>8}")
    for lexicon in map(read_lexicon, given.lexicon):
        own = [one for one in fragments if one.dialect is not None and lexicon.serves(one.language, one.dialect)]
        for strength in given.strength:
            options = DecodeOptions(beam_size=given.beam_size, bias=strength)
            print(measure(Transcriber(checkpoint, options=options, lexicon=lexicon), lexicon, own), flush=True)


if __name__ == "__main__":
    main()

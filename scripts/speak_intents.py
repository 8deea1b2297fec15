"""Speak intent sentences in SYNTHETIC dialects: python scripts/speak_intents.py clinc150/manifest.jsonl FOLDER.

The manifest's lines have ``text``, ``intent``, ``lang`` and ``split``. Sentences of its test part are spoken by
espeak-ng, some of each intent and of what is out of scope, in four dialects of English and in a standard one; no voice
and no sentence of FOLDER/train.jsonl is in FOLDER/test.jsonl. Its training and development parts become
FOLDER/learn.jsonl and FOLDER/choose.jsonl, for ``scripts/train_intent.py``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from asr.files import atomic_write
from asr.fragment import Consent, write_manifest
from asr.importers.synthetic import SyntheticOptions, import_synthetic
from asr.jsonlines import read_objects

TEXTS = Path(__file__).parents[1] / "datasets" / "synthetic"
COLUMNS = ("id", "type", "dialects", "text", "text_standard", "expressions")
DIALECTS = ("en-US", "en-GB-scotland", "en-GB-x-lancs", "en-GB-x-westmids", "en-029")
# Nobody is heard.
CONSENT = Consent(id="synthetic", purposes=("training", "annotation", "evaluation", "offer"))
PARTS = {"learn": ("train", "oos_train"), "choose": ("val", "oos_val"), "speak": ("test", "oos_test")}


def main() -> None:
    """Read the arguments, write the manifests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-intent", type=int, default=4, help="sentences of each intent")
    parser.add_argument(
        "--per-dialect", type=int, default=400, help="fragments of each dialect, a third of them to test"
    )
    given = parser.parse_args()
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
    for _, row in read_objects(given.manifest):
        if isinstance(row, Exception):
            raise row
        for name, splits in PARTS.items():
            if row["split"] in splits:
                parts[name].append({"text": row["text"], "intent": row["intent"], "language": row["lang"]})
    for name in ("learn", "choose"):
        with atomic_write(given.folder / f"{name}.jsonl") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in parts[name])
    texts = given.folder / "texts"
    intents = write_sentences(parts["speak"], texts, given.per_intent)
    for name in ("voices", "pronunciations", "sounds"):
        shutil.copy(TEXTS / f"{name}.tsv", texts)
    options = SyntheticOptions(texts=str(texts), dialects=DIALECTS, per_dialect=given.per_dialect, dev=0.0, test=1 / 3)
    spoken = [
        # The tune is nobody's choice here.
        fragment.replace(
            intonation=None,
            consent=CONSENT,
            custom=fragment.custom | {"intent": intents[str(fragment.custom["sentence"]).removeprefix("en/")]},
        )
        for fragment in import_synthetic(given.folder, options)
    ]
    for split in ("train", "test"):
        own = [fragment for fragment in spoken if fragment.split == split]
        write_manifest(own, given.folder / f"{split}.jsonl")
        print(f"{split}: {len(own)} fragments, {len({one.custom['intent'] for one in own})} intents")


def write_sentences(rows: list[dict[str, Any]], texts: Path, per_intent: int) -> dict[str, str]:
    """Write the first sentences of each intent as the importer reads them; return the intent of each by its id."""
    intents: dict[str, str] = {}
    seen: Counter[str] = Counter()
    with atomic_write(texts / "sentences.en.tsv") as handle:
        handle.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            intent = row["intent"]
            if seen[intent] < per_intent:
                seen[intent] += 1
                id = f"{intent}-{seen[intent]:02d}"
                intents[id] = intent
                handle.write("\t".join((id, "statement", "*", row["text"], "", "")) + "\n")
    return intents


if __name__ == "__main__":
    main()

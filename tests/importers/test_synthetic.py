"""The synthetic corpus, spoken by the real espeak-ng: reproducible, labelled, and split without leaks."""

import dataclasses
import math
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import load_audio
from asr.errors import ConfigError
from asr.importers.sentences import TYPES
from asr.importers.synthetic import ESPEAK_LANGUAGES, SyntheticOptions, import_synthetic
from asr.prosody import prosody_of, track

pytest.importorskip("espeakng_loader")

TEXTS = Path(__file__).parents[2] / "datasets" / "synthetic"
OPTIONS = SyntheticOptions(texts=str(TEXTS), per_dialect=12, dev=0.25, test=0.25)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    return root, list(import_synthetic(root, OPTIONS))


def _files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_runs_give_the_same_bytes(spoken, tmp_path):
    root, fragments = spoken
    # Another order of work and another folder.
    options = dataclasses.replace(OPTIONS, dialects=tuple(reversed(OPTIONS.dialects)))
    again = list(import_synthetic(tmp_path, options))
    assert _files(root) == _files(tmp_path)
    assert {f.id for f in again} == {f.id for f in fragments}


def test_a_second_run_reuses_what_is_there(spoken, monkeypatch):
    root, fragments = spoken
    monkeypatch.setattr("asr.importers.espeak.speak", lambda *args: pytest.fail("spoke again"))
    assert list(import_synthetic(root, OPTIONS)) == fragments


def test_a_broken_recording_is_made_again(tmp_path):
    options = dataclasses.replace(OPTIONS, dialects=("fr-BE",))
    first = next(import_synthetic(tmp_path, options))
    whole = Path(first.audio).read_bytes()
    Path(first.audio).write_bytes(b"")
    assert next(import_synthetic(tmp_path, options)) == first
    assert Path(first.audio).read_bytes() == whole


def test_two_at_once_do_not_disturb_each_other(spoken, tmp_path):
    root, _ = spoken
    options = dataclasses.replace(OPTIONS, dialects=("fr-CH",))
    threads = [threading.Thread(target=lambda: list(import_synthetic(tmp_path, options))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _files(tmp_path) == {path: data for path, data in _files(root).items() if path.parts[1] == "fr-CH"}


def test_fragments_say_what_they_are(spoken):
    _, fragments = spoken
    assert len(fragments) == 12 * len(ESPEAK_LANGUAGES)
    assert len({f.id for f in fragments}) == len(fragments)
    for f in fragments:
        assert f.custom["synthetic"] is True
        assert f.custom["engine"].startswith("espeak-ng 1.")
        assert f.speaker.startswith("espeak-") and f.licence and f.intonation in ("statement", "question")
        assert f.language == f.dialect.split("-")[0]
    belgian = " ".join(f.text for f in fragments if f.dialect == "fr-BE")
    assert "quatre-vingt-dix" not in belgian and "soixante-dix" not in belgian


def test_french_dialects_are_not_told_by_their_words_alone(tmp_path):
    (tmp_path / "sentences.fr.tsv").write_text(
        "id\ttype\tdialects\ttext\ttext_standard\texpressions\n"
        "a\tstatement\t*\tUn vélo rue de la fête, et puis un pot.\t\t\n"
    )
    for name in ("voices.tsv", "pronunciations.tsv", "sounds.tsv"):
        (tmp_path / name).write_bytes((TEXTS / name).read_bytes())
    dialects = ("fr-FR", "fr-BE", "fr-CH")
    options = SyntheticOptions(str(tmp_path), dialects, per_dialect=1, dev=0, test=0, rate=(160, 160), pitch=(50, 50))
    spoken = [soundfile.read(f.audio)[0].tobytes() for f in import_synthetic(tmp_path / "audio", options)]
    assert len(set(spoken)) == 3


def test_audio_is_sane(spoken):
    _, fragments = spoken
    for f in fragments:
        samples, rate = soundfile.read(f.audio, dtype="float64")
        assert rate == 16000 and samples.ndim == 1
        assert f.duration == pytest.approx(len(samples) / rate, abs=1e-9)
        assert 0.5 < f.duration < 8
        # 5 to 25 letters a second is what people speak.
        assert 5 < len(f.text) / f.duration < 30
        assert np.abs(samples).max() == pytest.approx(0.5, abs=1e-3)
        assert 0.02 < math.sqrt(np.mean(samples**2)) < 0.25
        assert abs(samples.mean()) < 0.01


def test_neither_voice_nor_sentence_is_on_two_sides(spoken):
    _, fragments = spoken
    for key in (lambda f: f.speaker, lambda f: f.custom["sentence"], lambda f: f.text):
        sides = {}
        for f in fragments:
            sides.setdefault(key(f), set()).add(f.split)
        assert all(len(side) == 1 for side in sides.values())
    for dialect in ESPEAK_LANGUAGES:
        counts = Counter(f.split for f in fragments if f.dialect == dialect)
        assert counts == {"train": 6, "dev": 3, "test": 3}


def test_more_fragments_only_adds(spoken, tmp_path):
    _, fragments = spoken
    options = dataclasses.replace(OPTIONS, dialects=("fr-FR",), per_dialect=20)
    more = {f.id for f in import_synthetic(tmp_path, options)}
    assert {f.id for f in fragments if f.dialect == "fr-FR"} < more


def test_pairs_differ_by_their_tune_alone(tmp_path):
    options = dataclasses.replace(OPTIONS, pairs=True, per_dialect=16)
    fragments = list(import_synthetic(tmp_path, options))
    assert len(fragments) == 16 * len(ESPEAK_LANGUAGES)
    pairs = {}
    for f in fragments:
        pairs.setdefault((f.dialect, f.custom["sentence"], f.speaker), []).append(f)
    assert {f.split for f in fragments} == {"train", "dev", "test"}
    for pair in pairs.values():
        question, statement = sorted(pair, key=lambda f: f.intonation)
        assert (question.intonation, statement.intonation) == ("question", "statement")
        assert question.text.rstrip("? ") == statement.text.rstrip(".")
        assert question.split == statement.split
        for key in ("espeak_voice", "rate", "pitch"):
            assert question.custom[key] == statement.custom[key]
        assert Path(question.audio).read_bytes() != Path(statement.audio).read_bytes()


def test_a_question_ends_higher_than_its_statement(tmp_path):
    def rise(fragment):
        found = prosody_of(track(load_audio(fragment.audio))).final_slope
        return np.nan if found is None else found

    for dialect in ("fr-BE", "en-US"):
        options = dataclasses.replace(OPTIONS, pairs=True, dialects=(dialect,), per_dialect=40)
        fragments = sorted(import_synthetic(tmp_path, options), key=lambda f: (f.custom["sentence"], f.speaker))
        asked, said = (np.array([rise(f) for f in fragments if f.intonation == tune]) for tune in TYPES[::-1])
        # Semitones a second; some voices creak where they end, and have no pitch there.
        assert np.nanmedian(asked - said) > 2
        assert np.nanmean(asked > said) > 0.8


def test_another_seed_gives_another_corpus(spoken, tmp_path):
    _, fragments = spoken
    options = dataclasses.replace(OPTIONS, dialects=("fr-FR",), seed=1)
    assert {f.id for f in import_synthetic(tmp_path, options)} != {f.id for f in fragments if f.dialect == "fr-FR"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dialects": ("fr-CA",)}, "no synthetic voice speaks 'fr-CA'; accepted are fr-FR"),
        ({"per_dialect": 0}, "'per_dialect' must be 1 or more"),
        ({"dev": 0.6, "test": 0.5}, "sum must be below 1"),
        ({"rate": (200, 100)}, "'rate' must give the lower value first"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(OPTIONS, **changes)


def test_asking_for_more_than_there_is_says_how_much_there_is(tmp_path):
    options = dataclasses.replace(OPTIONS, per_dialect=10**6)
    with pytest.raises(
        ConfigError, match=r"asks for 500000 train fragments of fr-FR, but \d+ sentences and \d+ voices"
    ):
        next(import_synthetic(tmp_path, options))

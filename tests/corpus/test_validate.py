"""Every check of a manifest: what it finds, where it says it is, and what it leaves alone."""

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.corpus import validate
from asr.corpus.validate import CHECKS, MAX_LABEL_TOKENS, Issue, validate_manifest
from asr.errors import AsrError, ConfigError, ManifestError


def recording(path: Path, seconds: float = 2.0) -> Path:
    soundfile.write(path, np.zeros(int(seconds * 8000), np.float32), 8000)
    return path


def manifest(folder: Path, *rows: object, name: str = "m.jsonl") -> Path:
    """Write rows (objects, or strings as they are); what a row does not say is right."""
    folder.mkdir(exist_ok=True)
    if not (folder / "a.wav").exists():
        recording(folder / "a.wav")
    good = {"audio": "a.wav", "text": "Où ça ?", "language": "fr"}
    lines = [
        json.dumps(good | {"id": f"{name}-{n}", "text": f"Où ça {n} ?"} | row) if isinstance(row, dict) else str(row)
        for n, row in enumerate(rows)
    ]
    (folder / name).write_text("".join(line + "\n" for line in lines), "utf-8")
    return folder / name


def only(path: Path, code: str) -> Issue:
    """Return the one issue that there must be."""
    (issue,) = validate_manifest(path).issues
    assert (issue.code, issue.severity) == (code, CHECKS[code])
    return issue


def test_a_good_manifest_has_no_issues(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"dialect": "fr-CA", "start": 0.5, "duration": 1.5, "emphasis": [1]},
        {"expressions": [{"text": "ça", "start_word": 1}], "words": [{"text": "Où", "start": 0.1, "duration": 0.2}]},
        {"dialect": "gsw-CH", "language": "de", "duration": 2.03},  # rounded by an annotation tool
    )
    report = validate_manifest(path)
    assert report.ok and report.fragments == 3 and report.issues == ()
    assert report.to_dict() == {"ok": True, "errors": 0, "warnings": 0, "fragments": 3, "counts": {}, "issues": ()}


@pytest.mark.parametrize(
    ("row", "code", "message"),
    [
        ({"audio": "b.wav"}, "missing-audio", "does not exist"),
        ({"audio": "."}, "missing-audio", "does not exist"),
        ({"audio": "m.jsonl"}, "unreadable-audio", "cannot be read"),
        ({"start": 1.0, "duration": 1.5}, "outside-recording", r"ends at 2.50 s but its recording lasts 2.00 s"),
        ({"start": 2.0}, "outside-recording", r"starts at 2.00 s but its recording lasts 2.00 s"),
        ({"text": " \u00a0"}, "empty-text", "has no text"),
        ({"text": "ab é " * 300}, "label-too-long", r"\d+ tokens and Whisper has room for 448"),
        ({"text_standard": "ab é " * 300}, "label-too-long", "text_standard of fragment"),
        ({"language": "xx"}, "language", "'xx', which Whisper does not know"),
        ({"dialect": "en Indian (L1 Tamil)"}, "dialect-tag", "no BCP 47 tag.*'fr-CA'"),
        ({"dialect": "fr_CA"}, "dialect-tag", "joined by '-'"),
        ({"dialect": "en-GB-x-cumbria"}, "dialect-language", "language 'fr' but the dialect 'en-GB-x-cumbria'"),
        ({"emphasis": [0, 9]}, "annotation", "4 words and emphasis on word 9"),
        ({"expressions": [{"text": "là", "start_word": 1}]}, "annotation", "expression at word 1 .* not there"),
        ({"words": [{"text": "a", "start": 0.5, "duration": 9}], "duration": 2.0}, "annotation", "outside it"),
        ("{broken", "broken-line", "not JSON"),
        ({"duration": -1}, "broken-line", "'duration'"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, row: object, code: str, message: str) -> None:
    path = manifest(tmp_path, {"text": "autre"}, "", row)
    issue = only(path, code)
    assert (issue.file, issue.line) == (str(path), 3)
    assert str(issue).startswith(f"{path}:3: {issue.severity}: ")
    assert str(issue).count(str(path)) == 1 or code == "unreadable-audio"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(issue.message)
    assert validate_manifest(path, ignore=[code]).issues == ()
    assert validate_manifest(path).ok is (CHECKS[code] == "warning")


def test_audio_need_not_be_opened(tmp_path: Path) -> None:
    assert validate_manifest(manifest(tmp_path, {"audio": "b.wav"}), audio=False).ok


def test_a_recording_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    probe = validate.probe
    monkeypatch.setattr(validate, "probe", lambda path: opened.append(path) or probe(path))
    assert validate_manifest(manifest(tmp_path, {}, {}, {})).ok
    assert opened == [str(tmp_path / "a.wav")]


def test_long_fragments_are_a_warning_with_or_without_a_duration(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    recording(tmp_path / "a.wav", 31.0)
    report = validate_manifest(manifest(tmp_path, {}, {"duration": 30.5}, {"start": 2.0}))
    assert [(issue.code, issue.line) for issue in report.issues] == [("over-30-seconds", 1), ("over-30-seconds", 2)]
    assert report.ok and report.warnings == 2


def test_ids_are_unique_over_all_manifests(tmp_path: Path) -> None:
    first = manifest(tmp_path, {"id": "x"}, {"id": "x", "text": "un"}, name="one.jsonl")
    second = manifest(tmp_path, {"id": "x", "text": "deux"}, name="two.jsonl")
    assert only(first, "duplicate-id").line == 2
    report = validate_manifest(first, second)
    assert report.counts == {"duplicate-id": 2}
    assert f"{first}:1" in report.issues[1].message


def test_a_speaker_on_both_sides_is_named_once(tmp_path: Path) -> None:
    rows = [{"speaker": "s1", "split": split} for split in ("train", "dev", "train", "dev")]
    path = manifest(tmp_path, *rows, {"speaker": "s2", "split": "dev"}, {"speaker": "s3"})
    issue = only(path, "speaker-across-splits")
    assert issue.line == 2 and "'dev' here and in 'train' at" in issue.message
    assert "s1" not in issue.message  # a report is pasted into tickets


def test_a_sentence_on_both_sides_is_a_warning(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"text": "Qu'est-ce que c'est ?", "split": "train"},
        {"text": "qu’est ce que c’est", "split": "dev"},
        {"text": "Qu'est-ce que c'est ?", "split": "train"},
        {"text": "Qu'est-ce que c'est ?", "split": "test", "language": "en"},
    )
    assert only(path, "sentence-across-splits").line == 2


def test_manifests_are_the_sides_where_fragments_name_none(tmp_path: Path) -> None:
    train = manifest(tmp_path, {"speaker": "s", "text": "un"}, name="train.jsonl")
    dev = manifest(tmp_path, {"speaker": "s", "text": "deux"}, name="dev.jsonl")
    assert validate_manifest(train).ok and validate_manifest(dev).ok
    assert validate_manifest(train, dev).counts == {"speaker-across-splits": 1}
    # Two shards of one side.
    shards = [manifest(tmp_path, {"speaker": "s", "text": t, "split": "train"}, name=f"{t}.jsonl") for t in "ab"]
    assert validate_manifest(*shards).ok


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_manifest_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.jsonl").write_text(content)
    assert only(tmp_path / "m.jsonl", "empty-manifest").line is None


def test_a_missing_manifest_raises(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        validate_manifest(tmp_path / "m.jsonl")
    with pytest.raises(ManifestError, match="folder"):
        validate_manifest(tmp_path)


def test_an_unknown_check_cannot_be_ignored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no check 'emtpy-text'; accepted are .*empty-text"):
        validate_manifest(manifest(tmp_path, {}), ignore=["emtpy-text"])


def test_all_issues_are_counted_and_a_thousand_are_kept(tmp_path: Path) -> None:
    report = validate_manifest(manifest(tmp_path, *["{"] * 1200))
    assert report.counts == {"broken-line": 1200} and report.errors == 1200
    assert len(report.issues) == 1000


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=600))
@example("<|endoftext|>")
def test_the_cheap_bound_on_labels_is_one(text: str) -> None:
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(multilingual=True, language="fr", task="transcribe")
    said = tokenizer.encode(" " + text.strip(), disallowed_special=())
    label = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *said, tokenizer.eot]
    assert len(label) <= validate.label_tokens(text)


def test_labels_are_counted_as_whisper_counts_them(tmp_path: Path) -> None:
    from whisper.tokenizer import get_tokenizer

    # " a" is one token: three of the start, one for no times (or two times), one of the end.
    fits, over = "a " * (MAX_LABEL_TOKENS - 6), "a " * (MAX_LABEL_TOKENS - 5)
    assert len(get_tokenizer(multilingual=True).encode(" " + fits.strip())) == MAX_LABEL_TOKENS - 6
    assert validate_manifest(manifest(tmp_path, {"text": fits})).ok
    assert only(manifest(tmp_path, {"text": over}), "label-too-long")


def test_whispers_own_tokens_in_a_long_text_do_not_stop_the_check(tmp_path: Path) -> None:
    text = "<|endoftext|> " + "a " * MAX_LABEL_TOKENS
    assert only(manifest(tmp_path, {"text": text}), "label-too-long")


def test_memory_does_not_grow_with_the_lines(tmp_path: Path) -> None:
    peaks = []
    for lines in (500, 5000):
        rows = ({"id": f"f{n}", "audio": "a", "text": f"{n}", "language": "fr", "split": "train"} for n in range(lines))
        path = tmp_path / f"{lines}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tracemalloc.start()
        assert validate_manifest(path, audio=False).fragments == lines
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_halves_of_surrogate_pairs_are_remembered_too(tmp_path: Path) -> None:
    row = {"id": "a", "audio": "a", "text": "\ud800x", "language": "fr"}
    lines = [json.dumps(row | {"split": side}) for side in ("\ud800", "\ud801")]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    counts = validate_manifest(tmp_path / "m.jsonl", audio=False).counts
    assert counts == {"duplicate-id": 1, "sentence-across-splits": 1}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give databases room for a few pages."""
    connect = sqlite3.connect

    def small(*given: Any, **named: Any) -> sqlite3.Connection:
        store = connect(*given, **named)
        store.execute("PRAGMA max_page_count = 8")
        return store

    monkeypatch.setattr(sqlite3, "connect", small)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    rows = [{"id": f"{n}" * 50} for n in range(500)]
    with pytest.raises(AsrError, match="disk is full; make room for temporary files"):
        validate_manifest(manifest(tmp_path, *rows), audio=False)

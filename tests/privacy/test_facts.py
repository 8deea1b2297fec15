import gzip
import json
from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.fragment import Fragment, write_manifest
from asr.lines import MAX_LINE_BYTES
from asr.privacy.facts import Fact, facts_in, is_list, read_json, rows_of, span_of


def test_our_own_manifest(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    fragment = Fragment(id="f", audio=str(audio), text="oui", language="fr", speaker="s", start=1.0, duration=0.5)
    write_manifest([fragment, fragment.replace(duration=None)], tmp_path / "m.jsonl.gz")
    assert list(facts_in(tmp_path / "m.jsonl.gz")) == [
        Fact("s", "f", "a.wav", 1.0, 1.5, ("oui",)),
        Fact("s", "f", "a.wav", 1.0, None, ("oui",)),
    ]


def test_lists_of_others(tmp_path: Path) -> None:
    nemo = {"audio_filepath": "b.wav", "offset": 2, "duration": 1.5, "text": "non", "speaker": "t"}
    (tmp_path / "nemo.jsonl").write_text(json.dumps(nemo) + "\n{broken\n\n[1]\n")
    assert list(facts_in(tmp_path / "nemo.jsonl")) == [Fact("t", None, "b.wav", 2.0, 3.5, ("non",))]
    (tmp_path / "cv.tsv").write_text('client_id\tpath\tsentence\nu\tc.mp3\tIl dit "oui\n')
    assert list(facts_in(tmp_path / "cv.tsv")) == [Fact("u", None, "c.mp3", 0.0, None, ('Il dit "oui',))]
    (tmp_path / "hf.csv").write_text('﻿file_name,speaker_id,transcription\nd.wav,7,"un,\ndeux"\n')
    assert list(facts_in(tmp_path / "hf.csv")) == [Fact("7", None, "d.wav", 0.0, None, ("un,\ndeux",))]
    task = {"id": 3, "data": {"audio": "e.wav", "speaker": "v", "text": "tu"}}
    (tmp_path / "tasks.json").write_text(json.dumps([task, 5]))
    assert list(facts_in(tmp_path / "tasks.json")) == [Fact("v", None, "e.wav", 0.0, None, ("tu",))]


def test_a_cut_with_two_speakers(tmp_path: Path) -> None:
    supervisions = [
        {"id": "x1", "start": 0.5, "duration": 1.0, "speaker": "a", "text": "oui"},
        {"id": "x2", "start": 2.0, "duration": 1.0, "speaker": "b"},
    ]
    recording = {"sources": [{"type": "file", "source": "r.wav"}]}
    cut = {"id": "x", "start": 10.0, "duration": 4.0, "supervisions": supervisions, "recording": recording}
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as handle:
        handle.write(json.dumps(cut) + "\n")
    assert list(facts_in(tmp_path / "cuts.jsonl.gz")) == [
        Fact("a", "x1", "r.wav", 10.5, 11.5, ("oui",)),
        Fact("b", "x2", "r.wav", 12.0, 13.0, ()),
    ]


def test_a_kaldi_folder(tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("u1 a\nu2 b\nu3 a\n")
    (tmp_path / "segments").write_text("u1 r1 0.5 2.0\nu2 r1 2.0 -1\n")
    (tmp_path / "wav.scp").write_text("r1 sound/r1.wav\nu3 sox u3.mp3 -t wav - |\n")
    (tmp_path / "text").write_text("u1 oui merci\n")
    assert list(facts_in(tmp_path / "utt2spk")) == [
        Fact("a", "u1", "sound/r1.wav", 0.5, 2.0, ("oui merci",)),
        Fact("b", "u2", "sound/r1.wav", 2.0, None, ()),
        Fact("a", "u3", None, 0.0, None, ()),
    ]


def test_rows_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    content = b'a,id\r\n1,"x\ny"\n\n2,z'
    (tmp_path / "t.csv").write_bytes(content)
    rows = list(rows_of(tmp_path / "t.csv"))
    assert b"".join(raw for raw, _ in rows) == content
    assert [row for _, row in rows] == [None, {"a": "1", "id": "x\ny"}, None, {"a": "2", "id": "z"}]
    (tmp_path / "t.tsv").write_text("1\t2\n")  # no header that names anything
    assert list(rows_of(tmp_path / "t.tsv")) == [(b"1\t2\n", ["1", "2"])]


def test_what_fills_the_memory_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb", compresslevel=1) as handle:
        handle.write(b" " * (MAX_LINE_BYTES + 10))
    with pytest.raises(ManifestError, match="longer than"):
        list(facts_in(tmp_path / "bomb.jsonl.gz"))


def test_what_is_no_list() -> None:
    assert [name for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.tsv", "a.csv", "utt2spk") if is_list(Path(name))]
    assert not any(is_list(Path(name)) for name in ("a.txt", "a.wav", "text", "a.jsonl.bak"))


def test_spans_and_broken_json(tmp_path: Path) -> None:
    assert span_of({"start": 1, "end": 2.5}) == (1.0, 2.5)
    assert span_of({"start": "1.5", "duration": "x"}) == (1.5, None)
    assert span_of({"start": True}) == (0.0, None)
    for content in ("", "{", "[" * 100_000):
        (tmp_path / "x.json").write_text(content)
        assert read_json(tmp_path / "x.json") is None

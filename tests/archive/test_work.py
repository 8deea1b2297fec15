"""Marks and lines of a block."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from asr import Transcriber
from asr.addresses import Packed, digest_of
from asr.archive.blocks import cut
from asr.archive.work import Mark, Settings, Worker, encoded, head, marks
from asr.errors import ManifestError
from asr.fragment import Fragment, read_numbered


def test_a_mark_changes_with_what_is_heard_and_how(tmp_path: Path, settings: Settings, tight: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    fragment = Fragment(id="f", audio=str(path), text="", language="fr")
    digest = settings.digest()
    (mark,) = marks([fragment], digest, 1)
    assert mark.audio == hashlib.sha256(b"one").hexdigest()
    (moved := tmp_path / "b.wav").write_bytes(b"one")
    changed = (fragment.replace(audio=str(moved)), fragment.replace(start=1.0), fragment.replace(dialect="fr-CA"))
    assert [other == mark for other in marks(changed, digest, 2)] == [True, False, False]
    for other in (replace(settings, language="fr"), replace(settings, beam_size=2), replace(settings, words=True)):
        assert other.digest() != digest
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    with_adapters = replace(settings, adapters=str(adapters))
    before = with_adapters.digest()
    (adapters / "fr-CA.safetensors").write_bytes(b"learnt")
    assert len({digest, before, with_adapters.digest(), replace(with_adapters, routing="soft").digest()}) == 4
    assert replace(settings, workers=9, device="auto", batch_seconds=7).digest() == digest
    tight.write_bytes(b"another model")
    assert settings.digest() != digest
    os.mkfifo(tmp_path / "pipe")
    odd = [str(tmp_path / "gone"), str(tmp_path), str(tmp_path / "pipe"), ManifestError("x")]
    assert [found.audio for found in marks(odd, digest, 2)] == [None] * 4


def test_a_recording_in_an_archive_is_known_by_what_it_is(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "a.tar").write_bytes(b"onetwo")
    one, two = (Packed(str(tmp_path / "a.tar"), at, 3, digest_of(what)) for at, what in ((0, b"one"), (3, b"two")))
    fragments = [Fragment(id="f", audio=str(place), text="", language="fr") for place in (one, two)]
    found = [mark.audio for mark in marks(fragments, settings.digest(), 1)]
    assert found == [hashlib.sha256(what).hexdigest() for what in (b"one", b"two")]
    (tmp_path / "a.tar").write_bytes(b"on")
    assert [mark.audio for mark in marks(fragments, settings.digest(), 1)] == [None, None]


def test_lines_are_what_the_transcriber_says_and_what_holds_is_passed_over(
    archive: Path, settings: Settings, tight: Path
) -> None:
    sources = [source for _, source in read_numbered(archive)]
    (block,) = cut(sources, 1000, 0, 1)
    worker = Worker(settings)
    assert worker.window == 0
    lines = {place: json.loads(line) for place, line in worker.lines(block, [None] * len(block)) if line}
    assert sorted(lines) == list(range(26))
    results = Transcriber(tight, device="cpu").transcribe_many(sources)
    for place, result in enumerate(results):
        if place in (7, 25):
            assert lines[place]["error"] == str(result)
            assert lines[place]["error_kind"] == {7: "audio", 25: "manifest"}[place]
        else:
            assert (lines[place]["id"], lines[place]["text"], lines[place]["duration"]) == (
                result.id,
                result.text,
                round(result.duration, 6),
            )
    known = [Mark(lines[place]["audio_sha256"], lines[place]["request_sha256"]) for place in range(26)]
    again = dict(worker.lines(block, [*known[:3], None, *known[4:]]))
    assert [place for place, line in again.items() if line] == [3]


def test_names_that_are_no_unicode_can_be_written() -> None:
    line = json.loads(encoded(head(os.fsdecode(b"caf\xe9.wav"))))
    assert line == {"id": "caf�.wav", "audio": "caf�.wav", "start": 0.0}
    assert json.loads(encoded({"id": "\ud800"})) == {"id": "\ud800"}

"""Which inputs make which jobs, and where their outputs go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.cli.jobs import Job, Survey, count_jobs, find_jobs, find_sources, is_manifest, survey
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment

OUT = Path("out")


def write_manifest(path: Path, *ids: str) -> Path:
    lines = (json.dumps({"id": name, "audio": "a.wav", "text": "", "language": "fr"}) for name in ids)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def stems(*inputs: Path) -> list[str]:
    found = []
    for job in find_jobs(inputs, OUT):
        assert isinstance(job, Job), job
        found.append(job.stem)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "talks"
    for name in (
        "b.wav",
        "a.MP3",
        "notes.txt",
        ".hidden.wav",
        "x/a.flac",
        "x/y/part.1.ogg",
        ".cache/c.wav",
        "z/m.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_gives_its_audio_in_order_and_keeps_its_shape(folder: Path) -> None:
    assert stems(folder) == ["out/a", "out/b", "out/x/a", "out/x/y/part.1"]
    assert [job.source for job in find_jobs([folder], OUT) if isinstance(job, Job)] == [
        str(folder / name) for name in ("a.MP3", "b.wav", "x/a.flac", "x/y/part.1.ogg")
    ]


def test_a_file_goes_by_its_own_name_whatever_its_ending(folder: Path) -> None:
    assert stems(folder / "x/y/part.1.ogg", folder / "notes.txt") == ["out/part.1", "out/notes"]


def test_a_folder_that_links_to_itself_has_an_end(folder: Path) -> None:
    (folder / "x/again").symlink_to(folder)
    assert len(stems(folder)) == 4


def test_a_fragment_goes_by_its_id(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", "one", "spk/two", "/abs//./three", "v1.2", "....", "a b")
    assert stems(manifest) == [f"out/{name}" for name in ("one", "spk/two", "abs/three", "v1.2", "....", "a b")]
    job = next(find_jobs([manifest], OUT))
    assert isinstance(job, Job) and isinstance(job.source, Fragment)
    assert job.source.audio == str(tmp_path / "a.wav")
    assert job.name == f"fragment 'one' ({manifest}:1)"


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/..", ".", "/", "./."])
def test_an_id_that_names_no_file_in_the_folder_is_a_failure_of_its_own(tmp_path: Path, name: str) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", name, "fine")
    broken, fine = find_jobs([manifest], OUT)
    assert isinstance(broken, ManifestError) and (broken.line, "cannot name a file" in str(broken)) == (1, True)
    assert isinstance(fine, Job)


@settings(deadline=None)
@given(st.text(st.sampled_from("./ab\\~$"), min_size=1, max_size=12))
def test_no_id_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "ids"
    folder.mkdir(exist_ok=True)
    (job,) = find_jobs([write_manifest(folder / "m.jsonl", name)], folder / "out")
    if isinstance(job, Job):
        inside = Path(job.stem).resolve().relative_to((folder / "out").resolve())
        assert inside.parts


def test_a_broken_line_is_an_error_among_the_jobs(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", "one")
    with manifest.open("a") as handle:
        handle.write('{"id": "two"}\n')
    one, two = find_jobs([manifest], OUT)
    assert isinstance(one, Job)
    assert isinstance(two, ManifestError) and two.line == 2


def test_what_is_there_in_every_format_is_done(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "x").mkdir(parents=True)
    for name in ("a.txt", "a.json", "b.txt", "x/a.json", "x/a.txt"):
        (out / name).touch()
    assert survey([folder], out, ("txt", "json")) == Survey(jobs=4, done=2)
    assert survey([folder], out, ("txt",)) == Survey(jobs=4, done=3)
    assert survey([folder], out, ("srt",)) == Survey(jobs=4, done=0)


def test_a_name_too_long_is_not_done_and_no_crash(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", "x" * 300)
    assert survey([manifest], tmp_path / "out", ("txt",)) == Survey(jobs=1, done=0)


def test_two_inputs_that_would_write_the_same_file_are_refused(folder: Path, tmp_path: Path) -> None:
    first, second = write_manifest(tmp_path / "m.jsonl", "a", "c"), write_manifest(tmp_path / "n.jsonl", "d", "/c")
    (folder / "b.flac").touch()
    for inputs, names in (
        ([folder], (folder / "b.flac", folder / "b.wav")),
        ([folder / "b.wav", folder / "b.flac"], (folder / "b.wav", folder / "b.flac")),
        ([folder / "b.wav", folder / "b.wav"], (folder / "b.wav", folder / "b.wav")),
        ([folder / "x", folder / "a.MP3"], (folder / "x/a.flac", folder / "a.MP3")),
        ([first, second], (f"fragment 'c' ({first}:2)", f"fragment '/c' ({second}:2)")),
        ([first, folder / "x"], (f"fragment 'a' ({first}:1)", folder / "x/a.flac")),
    ):
        with pytest.raises(ConfigError) as raised:
            survey(inputs, OUT, ("srt", "txt"))
        assert f"{names[0]} and {names[1]} would both be written to out/" in str(raised.value)
        assert ".srt;" in str(raised.value)


def test_what_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, sentence in ((tmp_path / "none.wav", "no file or folder"), (tmp_path / "empty", "holds no audio files")):
        with pytest.raises(ConfigError, match=sentence):
            survey([path], OUT, ("txt",))


@pytest.mark.parametrize(
    ("name", "expected"), [("m.jsonl", True), ("m.jsonl.gz", True), ("m.json", False), ("a.gz", False), ("m", False)]
)
def test_manifests_are_told_by_their_name(name: str, expected: bool) -> None:
    assert is_manifest(Path("x.jsonl") / name) is expected


def test_sources_are_the_jobs_without_names_of_files(folder: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", "one", "../out", "one")
    with manifest.open("a") as handle:
        handle.write('\n{"id": "two"}\n')
    inputs = [folder, manifest, folder / "notes.txt"]
    found = list(find_sources(inputs))
    assert count_jobs(inputs) == len(found) == 9
    assert [source.id for source in found if isinstance(source, Fragment)] == ["one", "../out", "one"]
    assert isinstance(found[7], ManifestError) and found[8] == str(folder / "notes.txt")
    for count in (count_jobs, lambda given: list(find_sources(given))):
        with pytest.raises(ConfigError, match="no file or folder"):
            count([tmp_path / "none.wav"])


def test_two_stems_of_one_key_are_no_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.cli.jobs._key", lambda stem: 1)
    assert survey([folder], OUT, ("txt",)).jobs == 4

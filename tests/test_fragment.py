"""Fragments and manifests: what is written comes back, and what is broken says where and why."""

import gzip
import json
import subprocess
import sys
import tracemalloc
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.fragment import (
    Consent,
    Expression,
    Fragment,
    WordTime,
    fragment_schema,
    read_manifest,
    read_numbered,
    write_manifest,
)

FIELDS = set(Fragment.model_fields)


def line(**changes: object) -> str:
    return json.dumps({"id": "a", "audio": "a.wav", "text": "bonjour", "language": "fr"} | changes)


def manifest(folder: Path, *lines: str | bytes, name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


# Strategies
plain = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12)
label = st.none() | plain.filter(str.strip)
seconds = st.floats(0, 1e6, allow_nan=False)
length = st.floats(0.001, 1e4, allow_nan=False)
any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
json_values = st.recursive(
    # Surrogates included: JSON may carry them as escapes.
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
days = st.none() | st.dates()
fragments = st.builds(
    Fragment,
    id=plain,
    audio=plain.filter(lambda name: name not in (".", "..")).map(lambda name: "/corpus/" + name.replace("/", "_")),
    text=any_text,
    language=st.sampled_from(["fr", "en", "haw"]),
    start=seconds,
    duration=st.none() | length,
    dialect=label,
    text_standard=label,
    speaker=label,
    corpus=label,
    split=label,
    emphasis=st.lists(st.integers(0, 50), max_size=3).map(tuple),
    words=st.lists(st.builds(WordTime, text=plain, start=seconds, duration=length), max_size=2).map(tuple),
    expressions=st.lists(
        st.builds(Expression, text=plain, standard=label, start_word=st.none() | st.integers(0, 9)),
        max_size=2,
    ).map(tuple),
    consent=st.none()
    | st.builds(
        Consent,
        id=plain,
        purposes=st.lists(plain, max_size=2).map(tuple),
        granted=days,
        expires=days,
        withdrawn=days,
    ),
    custom=st.dictionaries(st.text(max_size=8).filter(lambda k: k not in FIELDS | {"end"}), json_values, max_size=3),
)
same_folder = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


# Round trips
@same_folder
@given(st.lists(fragments, max_size=3), st.sampled_from(["m.jsonl", "m.jsonl.gz"]))
def test_what_is_written_is_read_back(tmp_path: Path, written: list[Fragment], name: str) -> None:
    assert write_manifest(written, tmp_path / name) == len(written)
    assert list(read_manifest(tmp_path / name)) == written


@same_folder
@given(st.dictionaries(st.text(max_size=8).filter(lambda k: k not in FIELDS | {"end"}), json_values, max_size=4))
def test_unknown_keys_survive_flat(unknown: dict[str, object]) -> None:
    data = {"id": "a", "audio": "/a.wav", "text": "", "language": "fr"} | unknown
    fragment = Fragment.from_dict(data)
    assert fragment.custom == unknown
    assert fragment.to_dict() == data


def test_unknown_keys_of_the_parts_survive() -> None:
    word = {"text": "oui", "start": 0.5, "duration": 0.25, "score": 0.9}
    data = json.loads(line(words=[word], consent={"id": "c1", "form": "v2"}))
    assert Fragment.from_dict(data).to_dict() == data


def test_custom_object_is_written_flat() -> None:
    fragment = Fragment.from_dict(json.loads(line(custom={"device": "phone"}, take=2)))
    assert fragment.custom == {"device": "phone", "take": 2}
    assert "custom" not in fragment.to_dict()


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_absent_null_and_blank_labels_are_the_same(empty: str | None) -> None:
    bare = json.loads(line())
    assert Fragment.from_dict(bare | {"dialect": empty, "speaker": empty}) == Fragment.from_dict(bare)
    nulls = {
        "words": None,
        "emphasis": None,
        "start": None,
        "consent": None,
        "duration": None,
        "custom": None,
    }
    assert Fragment.from_dict(bare | nulls).to_dict() == bare


def test_an_unknown_null_stays() -> None:
    assert Fragment.from_dict(json.loads(line(mood=None))).to_dict()["mood"] is None


def test_only_known_values_are_written() -> None:
    assert set(Fragment.from_dict(json.loads(line(start=0.0))).to_dict()) == {
        "id",
        "audio",
        "text",
        "language",
    }


def test_derived_ends() -> None:
    fragment = Fragment(id="a", audio="a", text="x y z", language="fr", start=1.5, duration=2.0)
    assert fragment.end == 3.5
    assert fragment.replace(duration=None).end is None
    assert WordTime(text="x", start=1.0, duration=0.5).end == 1.5
    assert Expression(text="y z", start_word=1).end_word == 3
    assert Expression(text="y z").end_word is None


def test_dates_are_iso() -> None:
    consent = Consent.model_validate({"id": "c", "granted": "2024-01-31"})
    assert consent.granted == date(2024, 1, 31)


# Paths
def test_relative_audio_opens_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus").mkdir()
    manifest(tmp_path / "corpus", line(audio="wav/a.wav"))
    monkeypatch.chdir(tmp_path)
    (fragment,) = read_manifest("corpus/m.jsonl")
    assert fragment.audio == str(tmp_path / "corpus/wav/a.wav")


def test_audio_is_written_relative_only_below_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "corpus/a.wav", tmp_path / "elsewhere/b.wav"
    bare = Fragment(id="a", audio=str(inside), text="", language="fr")
    monkeypatch.chdir(tmp_path)
    written = [bare, bare.replace(audio=str(outside)), bare.replace(audio="corpus/c.wav")]
    write_manifest(written, tmp_path / "corpus/m.jsonl")
    stored = [json.loads(x)["audio"] for x in (tmp_path / "corpus/m.jsonl").read_text().splitlines()]
    assert stored == ["a.wav", str(outside), "c.wav"]
    read = [fragment.audio for fragment in read_manifest(tmp_path / "corpus/m.jsonl")]
    assert read == [str(inside), str(outside), str(tmp_path / "corpus/c.wav")]


# Writing
def test_a_manifest_may_be_rewritten_from_itself(tmp_path: Path) -> None:
    path = manifest(tmp_path, line(), line(id="b"))
    assert write_manifest((f.replace(split="dev") for f in read_manifest(path)), path) == 2
    assert {f.split for f in read_manifest(path)} == {"dev"}


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_failed_write_leaves_the_older_file(tmp_path: Path, name: str) -> None:
    good = Fragment(id="a", audio="/a.wav", text="", language="fr")
    write_manifest([good], tmp_path / name)
    with pytest.raises(ManifestError, match=r"'b'.*JSON"):
        write_manifest([good, good.replace(id="b", custom={"x": float("inf")})], tmp_path / name)
    assert list(read_manifest(tmp_path / name)) == [good]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_equal_fragments_make_equal_gzip_files(tmp_path: Path) -> None:
    fragment = Fragment(id="a", audio="/a.wav", text="", language="fr")
    write_manifest([fragment], tmp_path / "one.jsonl.gz")
    write_manifest([fragment], tmp_path / "two.jsonl.gz")
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


# Broken lines
BROKEN = {
    "missing field": (json.dumps({"id": "a", "audio": "a.wav", "language": "fr"}), "'text' is missing"),
    "wrong type": (line(text=3), "'text'.*string.*int"),
    "number as text": (line(start="1.5"), "'start'"),
    "truth as number": (line(duration=True), "'duration'"),
    "negative start": (line(start=-0.1), "'start'.*greater than or equal to 0.*-0.1"),
    "no length": (line(duration=0), "'duration'.*greater than 0"),
    "infinite": (line(start=float("1e999")).replace("Infinity", "1e999"), "'start'.*finite"),
    "newline in id": (line(id="a\nb"), "'id'.*control"),
    "empty id": (line(id=""), "'id'"),
    "language name": (line(language="French"), "'language'.*Whisper"),
    "end": (line(end=3.0), "'end' is derived.*duration"),
    "end of a word": (line(words=[{"text": "a", "start": 0, "end": 1}]), "words.0.*duration"),
    "number as date": (line(consent={"id": "c", "granted": 20240131}), "granted.*YYYY-MM-DD"),
    "custom list": (line(custom=[1]), "'custom' must be an object"),
    "custom hides a field": (line(custom={"text": "other"}), "'text' cannot be a custom key"),
    "custom twice": (line(custom={"x": 1}, x=2), "'x' stands both"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_fragment_is_named_by_file_and_line(tmp_path: Path, name: str) -> None:
    broken, message = BROKEN[name]
    path = manifest(tmp_path, line(), "", broken, line(id="c"))
    with pytest.raises(ManifestError, match=message) as caught:
        list(read_manifest(path))
    assert (caught.value.path, caught.value.line) == (path, 3)
    assert f"{path}:3" in str(caught.value)
    errors: list[ManifestError] = []
    assert [f.id for f in read_manifest(path, on_error="skip", errors=errors)] == ["a", "c"]
    assert [str(error) for error in errors] == [str(caught.value)]


def test_skipped_lines_are_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = manifest(tmp_path, "{", line(), "[]")
    assert len(list(read_manifest(path, on_error="skip"))) == 1
    assert "2 broken lines" in caplog.text


def test_messages_do_not_repeat_what_was_said(tmp_path: Path) -> None:
    path = manifest(tmp_path, line(text=["mon numéro est"], speaker=4))
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert "numéro" not in str(caught.value)


def test_a_truncated_gzip_is_reported_and_ends_the_stream(tmp_path: Path) -> None:
    whole = gzip.compress("".join(line(id=f"f{n}", noise=str(hash(n))) + "\n" for n in range(500)).encode())
    (tmp_path / "m.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    errors: list[ManifestError] = []
    read = list(read_manifest(tmp_path / "m.jsonl.gz", on_error="skip", errors=errors))
    assert 0 < len(read) < 500
    assert len(errors) == 1 and "gzip stream is cut short" in str(errors[0])
    assert errors[0].line == len(read) + 1
    with pytest.raises(ManifestError, match="cut short"):
        list(read_manifest(tmp_path / "m.jsonl.gz"))


def test_numbered_reading_skips_blank_lines_but_counts_them(tmp_path: Path) -> None:
    path = manifest(tmp_path, "", line(), "nonsense")
    (first, fragment), (second, error) = read_numbered(path)
    assert (first, second) == (2, 3)
    assert isinstance(fragment, Fragment) and isinstance(error, ManifestError)


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = manifest(tmp_path, *(line(id=f"f{n}", padding="x" * 200) for n in range(lines)))
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_manifest(path)) == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is loaded on first use does not count
    assert peak(4000) < peak(200) + 100_000


# The model
def test_a_fragment_is_frozen_and_strict_in_code() -> None:
    fragment = Fragment(id="a", audio="a", text="", language="fr")
    with pytest.raises(ValueError, match="frozen"):
        fragment.text = "b"  # type: ignore[misc]
    with pytest.raises(ValueError, match="dialekt"):
        Fragment(id="a", audio="a", text="", language="fr", dialekt="fr-CA")  # type: ignore[call-arg]
    with pytest.raises(ManifestError, match="'start'"):
        fragment.replace(start=-1)


def test_schema_names_every_field_and_what_is_required() -> None:
    schema = fragment_schema()
    assert set(schema["properties"]) == FIELDS
    assert schema["required"] == ["id", "audio", "text", "language"]
    assert json.loads(json.dumps(schema)) == schema


def test_schema_agrees_with_the_reader(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="an outside judge of the schema")
    judge = jsonschema.Draft202012Validator(fragment_schema())
    good = line(
        words=[{"text": "a", "start": 0, "duration": 1, "score": 1}],
        dialect=None,
        start=None,
        mood={"any": 1},
    )
    assert judge.is_valid(json.loads(good))
    # Values whose fault no schema can express.
    beyond = {"infinite", "custom hides a field", "custom twice"}
    assert {name for name, (broken, _) in BROKEN.items() if judge.is_valid(json.loads(broken))} == beyond


def test_import_needs_no_torch() -> None:
    code = "import sys, asr.fragment; sys.exit('torch' in sys.modules or 'whisper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

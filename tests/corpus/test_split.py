"""Splits: no speaker on two sides, exact numbers, every dialect spread, and the same again for the same seed."""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.corpus.split import assign, split_as_tagged, split_manifest
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, read_manifest, write_manifest


def fragment(name: str, **fields: object) -> Fragment:
    return Fragment.from_dict(
        {"id": name, "audio": f"/corpus/{name}.wav", "text": "a", "language": "fr", "duration": 3.6} | fields
    )


def corpus(path: Path, speakers: dict[str, str | None], each: int = 3) -> Path:
    write_manifest(
        (
            fragment(f"{speaker}-{n}", speaker=speaker, dialect=dialect, audio=str(path.parent / f"{speaker}-{n}.wav"))
            for n in range(each)
            for speaker, dialect in speakers.items()
        ),
        path,
    )
    return path


def members(folder: Path) -> dict[str, list[Fragment]]:
    return {path.stem: list(read_manifest(path)) for path in sorted(folder.glob("*.jsonl"))}


strata = st.dictionaries(st.sampled_from(["fr-FR", "fr-CA", "fr-BE", "fr-CH", ""]), st.integers(1, 40), min_size=1)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, int]]:
    sizes = draw(strata)
    groups = {f"{name}{n}": name for name, size in sizes.items() for n in range(size)}
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(groups) - 1)), max_size=3)))
    edges = [0, *[cut for cut in cuts if cut < len(groups)], len(groups)]
    return groups, {f"share{n}": b - a for n, (a, b) in enumerate(pairwise(edges))}


@settings(max_examples=300, deadline=None)
@given(tasks(), st.integers(0, 5))
def test_numbers_are_exact_and_strata_spread(task: tuple[dict[str, str], dict[str, int]], seed: int) -> None:
    groups, counts = task
    assignment = assign(groups, counts, seed)
    assert assignment.keys() == groups.keys()
    assert Counter(assignment.values()) == counts
    sizes = Counter(groups.values())
    found = Counter((share, groups[group]) for group, share in assignment.items())
    spreadable = [stratum for stratum, size in sizes.items() if size >= len(counts)]
    if min(counts.values()) >= len(spreadable):  # there is room for one of each
        assert all(found[share, stratum] for share in counts for stratum in spreadable)
    for (share, stratum), number in found.items():
        # The one of each that every share gets can push another share further off than rounding would.
        assert abs(number - counts[share] * sizes[stratum] / len(groups)) < 1 + len(counts) + len(sizes)
    assert assign(dict(reversed(groups.items())), counts, seed) == assignment


def test_proportions_are_those_of_the_corpus() -> None:
    groups = {f"{dialect}{n}": dialect for dialect, size in (("a", 50), ("b", 30), ("c", 20)) for n in range(size)}
    assignment = assign(groups, {"train": 80, "dev": 10, "test": 10}, seed=3)
    found = Counter((share, groups[group]) for group, share in assignment.items())
    assert [found["train", d] for d in "abc"] == [40, 24, 16]
    assert [found["dev", d] for d in "abc"] == [5, 3, 2]


def test_one_speaker_more_moves_few_others() -> None:
    groups = {f"s{n}": "" for n in range(100)}
    before = assign(groups, {"train": 80, "dev": 20}, seed=0)
    after = assign(groups | {"new": ""}, {"train": 80, "dev": 21}, seed=0)
    assert sum(before[name] != after[name] for name in before) <= 1


@pytest.mark.parametrize(
    "ask",
    [
        {"shares": {"train": 0.8, "dev": 0.2}},
        {"speakers": {"train": 54, "dev": 13}},
        {"speakers": {"dev": 13}},
    ],
)
def test_54_and_13_of_67_speakers(tmp_path: Path, ask: dict[str, dict[str, float]]) -> None:
    source = corpus(tmp_path / "all.jsonl", {f"s{n}": "en-CN" for n in range(67)})
    report = split_manifest(source, tmp_path / "out", seed=1, **ask)  # type: ignore[arg-type]
    assert {share.name: share.speakers for share in report.shares} == {"train": 54, "dev": 13}
    sides = members(tmp_path / "out")
    train, dev = ({f.speaker for f in sides[name]} for name in ("train", "dev"))
    assert len(train) == 54 and len(dev) == 13 and not train & dev
    assert {f.split for f in sides["dev"]} == {"dev"}
    assert sorted(f.id for side in sides.values() for f in side) == sorted(f.id for f in read_manifest(source))
    by_name = {share.name: share for share in report.shares}
    assert by_name["dev"].fragments == 39
    assert by_name["dev"].hours == pytest.approx(39 * 3.6 / 3600)
    assert by_name["dev"].dialects == {"en-CN": 13}
    assert by_name["dev"].path == str(tmp_path / "out/dev.jsonl")


def test_the_same_seed_gives_the_same_files_in_any_order_and_folder(tmp_path: Path) -> None:
    speakers = {f"s{n}": "fr-CA" if n % 3 else None for n in range(20)}
    (tmp_path / "elsewhere").mkdir()
    first = corpus(tmp_path / "m.jsonl", speakers)
    second = corpus(tmp_path / "elsewhere/m.jsonl", dict(reversed(speakers.items())))
    for source, folder, seed in ((first, "a", 0), (second, "b", 0), (first, "c", 1)):
        split_manifest(source, tmp_path / folder, shares={"train": 0.7, "dev": 0.3}, seed=seed)
    a, b, c = ({f.speaker for f in members(tmp_path / folder)["dev"]} for folder in "abc")
    assert a == b != c


def test_without_speakers_a_conversation_or_a_recording_stays_together(tmp_path: Path) -> None:
    talks = [fragment(f"t{n}", conversation=f"talk{n % 5}") for n in range(20)]
    files = [fragment(f"f{n}", audio=str(tmp_path / f"file{n % 5}.wav"), start=n) for n in range(20)]
    write_manifest(talks + files, tmp_path / "m.jsonl")
    report = split_manifest(tmp_path / "m.jsonl", tmp_path / "out", shares={"train": 0.5, "dev": 0.5})
    assert report.without_speaker == 40
    sides: dict[str, set[str]] = defaultdict(set)
    for name, side in members(tmp_path / "out").items():
        for item in side:
            sides[item.conversation or item.audio].add(name)
    assert len(sides) == 10
    assert all(len(names) == 1 for names in sides.values())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({}, "one of the two"),
        ({"shares": {"a": 0.5, "b": 0.5}, "speakers": {"a": 1}}, "one of the two"),
        ({"shares": {"train": 0.8}}, "add up to 1, found train=0.8"),
        ({"shares": {"train": 1.2, "dev": -0.2}}, "above 0"),
        ({"shares": {"train": float("nan"), "dev": 0.2}}, "above 0"),
        ({"shares": {"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.4}}, "3 speakers cannot be split into 4"),
        ({"shares": {"../up": 0.5, "dev": 0.5}}, "'../up' names a file"),
        ({"speakers": {"train": 2, "dev": 2}}, "makes 4 speakers, but the manifest has 3"),
        ({"speakers": {"train": 1, "dev": 1}}, "makes 2 speakers, but the manifest has 3"),
        ({"speakers": {"dev": 0}}, "at least one speaker"),
        ({"shares": {"all": 0.5, "dev": 0.5}}, "would overwrite the manifest"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path: Path, ask: dict[str, dict[str, float]], message: str) -> None:
    source = corpus(tmp_path / "all.jsonl", dict.fromkeys("xyz"))
    before = source.read_bytes()
    with pytest.raises(ConfigError, match=message):
        split_manifest(source, tmp_path, **ask)  # type: ignore[arg-type]
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def test_an_empty_manifest_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").touch()
    with pytest.raises(ConfigError, match="no fragments to split"):
        split_manifest(tmp_path / "m.jsonl", tmp_path / "out", shares={"train": 1.0})


def test_broken_lines_stop_or_are_counted(tmp_path: Path) -> None:
    source = corpus(tmp_path / "m.jsonl", dict.fromkeys("xyz"))
    source.write_text("{broken\n" + source.read_text())
    with pytest.raises(ManifestError, match=r"m\.jsonl:1"):
        split_manifest(source, tmp_path / "out", speakers={"dev": 1})
    errors: list[ManifestError] = []
    report = split_manifest(source, tmp_path / "out", speakers={"dev": 1}, on_error="skip", errors=errors)
    assert report.skipped == len(errors) == 1
    assert sum(share.fragments for share in report.shares) == 9


def test_a_corpus_with_its_own_sides_keeps_them(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    sides = ["train", "test", "train", "dev"]
    write_manifest((fragment(f"f{n}", split=side, speaker=f"s{n}") for n, side in enumerate(sides)), source)
    report = split_as_tagged(source, tmp_path / "split")
    found = {name: [one.id for one in group] for name, group in members(tmp_path / "split").items()}
    assert found == {"train": ["f0", "f2"], "test": ["f1"], "dev": ["f3"]}
    assert [(share.name, share.fragments, share.speakers) for share in report.shares] == [
        ("dev", 1, 1),
        ("test", 1, 1),
        ("train", 2, 2),
    ]


def test_a_fragment_without_a_side_is_named(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    write_manifest([fragment("a", split="train"), fragment("b")], source)
    with pytest.raises(ManifestError, match="'b' carries no split"):
        split_as_tagged(source, tmp_path / "split")
    assert not (tmp_path / "split").exists()

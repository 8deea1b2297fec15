"""Tiers of one file as fragments: who speaks, which labels belong to a stretch, and what is kept beside."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource
from asr.importers.tiers import Stretch, Tier, TierOptions, tier_fragments

ROOT = Path("/corpus")


def run(*tiers: Tier, **options: object) -> list[Fragment | ManifestError]:
    made = TierOptions(**{"constants": {"language": "fr"}} | options)  # type: ignore[arg-type]
    return list(tier_fragments(tiers, ROOT / "a/b.eaf", ROOT, ROOT / "a/b.wav", made))


def tier(name: str, *stretches: tuple[float, float, str], **more: object) -> Tier:
    made = [Stretch(*stretch, f"text {n} of tier {name}") for n, stretch in enumerate(stretches, 1)]
    return Tier(name, made, **more)  # type: ignore[arg-type]


def test_a_tier_for_each_speaker_with_labels_beside() -> None:
    found = run(
        tier("A", (0.5, 1.5, "bon  jour"), (2.0, 3.0, "ça va ?"), participant="s01"),
        tier("B", (1.2, 1.8, "oui")),
        tier("A-accent", (0.0, 1.6, "liégeois"), (1.9, 3.1, "martien")),
        tier("A-trad", (2.0, 3.0, "how are you?"), speaks=False),
        tier("noise", (0.0, 9.0, "car")),
        labels={"dialect": FieldSource("{tier}-accent", {"liégeois": "fr-BE"})},
        tiers={"noise": None},
        constants={"language": "fr", "licence": "CC0-1.0"},
    )
    assert found == [
        Fragment(id="a/b/t1-00000500", audio="/corpus/a/b.wav", text="bon jour", language="fr", start=0.5, duration=1.0,
                 speaker="s01", dialect="fr-BE", licence="CC0-1.0"),
        Fragment(id="a/b/t1-00002000", audio="/corpus/a/b.wav", text="ça va ?", language="fr", start=2.0, duration=1.0,
                 speaker="s01", licence="CC0-1.0",
                 custom={"tiers": {"A-trad": "how are you?"}, "unmapped": {"dialect": "martien"}}),
        Fragment(id="a/b/t2-00001200", audio="/corpus/a/b.wav", text="oui", language="fr", start=1.2, duration=0.6,
                 speaker="B", licence="CC0-1.0"),
    ]  # fmt: skip


def test_patterns_name_speakers() -> None:
    stretch = (0.0, 1.0, "x")
    found = run(
        tier("Anna - text", stretch), tier("Bob - text", stretch), tier("phones", stretch),
        tiers={"Anna*": "s1", "* - text": "s2", "*": None},
    )  # fmt: skip
    assert [item.speaker for item in found if isinstance(item, Fragment)] == ["s1", "s2"]


def test_a_broken_stretch_is_named_and_the_rest_goes_on() -> None:
    found = run(tier("A", (2.0, 1.0, "x"), (3.0, 3.0, "y"), (-1.0, 1.0, "z"), (4.0, 5.0, "w")))
    assert [type(item) for item in found] == [ManifestError] * 3 + [Fragment]
    assert "text 1 of tier A ends at 1 s, not after its start at 2 s (/corpus/a/b.eaf)" in str(found[0])


def test_a_label_that_no_fragment_can_have_is_reported_without_the_words() -> None:
    (found,) = run(tier("A", (0.0, 1.0, "secret words")), constants={"language": "French"})
    assert isinstance(found, ManifestError)
    assert "language" in str(found) and "secret" not in str(found)


times = st.lists(st.integers(0, 60), min_size=2, max_size=12, unique=True).map(sorted)


@settings(max_examples=100, deadline=None)
@given(times, times)
def test_the_label_at_the_middle_is_the_one_a_search_finds(first: list[int], second: list[int]) -> None:
    spoken = [(float(a), float(b), "x") for a, b in zip(first[::2], first[1::2], strict=False)]
    labels = [(float(a), float(b), f"{a}") for a, b in zip(second[::2], second[1::2], strict=False)]
    found = run(tier("A", *spoken), tier("L", *labels), labels={"tune": FieldSource("L")})
    for item, (start, end, _) in zip(found, spoken, strict=True):
        assert isinstance(item, Fragment)
        middle = (start + end) / 2
        wanted = [text for begin, finish, text in labels if begin <= middle < finish]
        assert item.tune == (wanted[0] if wanted else None)


def test_points_count_within_a_stretch() -> None:
    found = run(
        tier("A", (0.0, 1.0, "x"), (1.0, 2.0, "y"), (2.0, 3.0, "z")),
        tier("tones", (0.9, 0.9, "H%"), (2.0, 2.0, "L%"), speaks=False),
        labels={"tune": FieldSource("tones")},
    )
    assert [item.tune for item in found if isinstance(item, Fragment)] == ["H%", None, "L%"]


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="no tier can give the field 'words'"):
        TierOptions(constants={"language": "fr"}, labels={"words": FieldSource("w")})
    with pytest.raises(ConfigError, match="language"):
        TierOptions()

"""A report against jiwer on each group by itself, and what must never be mixed."""

import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import jiwer
import pytest

from asr.errors import AsrError
from asr.evaluation import EvaluationReport, GroupScore, TargetScores, score
from asr.fragment import Fragment
from asr.metrics import paired_change, rate_estimate


def fragment(id: str, text: str, language: str = "fr", **rest: Any) -> Fragment:
    return Fragment(id=id, audio=f"{id}.wav", text=text, language=language, **{"duration": 2.0} | rest)


FRAGMENTS = [
    fragment("a1", "je dis nonante", dialect="fr-BE", speaker="a", gender="female", age_band="20-29"),
    fragment("a2", "il pleut fort", dialect="fr-BE", speaker="a", gender="female", age_band="20-29"),
    fragment("b1", "c'est l'hiver", dialect="fr-CA", speaker="b", gender="male"),
    fragment("b2", "bonne fin de semaine", dialect="fr-CA", speaker="b", gender="male"),
    fragment("c1", "it is cold", "en", dialect="en-IN", speaker="c", gender="male", age_band="30-39"),
    fragment("d1", "we go home now", "en", gender="male"),
]
MODEL = ["Je dis 90.", "il pleut", "C’est hiver", "bonne fin de semaine", "it's cold", "we go home no"]
BASE = ["je dis non", "il plus", "c'est l'hiver", "bon week-end", "it's gold", "we go"]
# What both become, by hand.
NORMAL = {
    "reference": [
        "je dis nonante",
        "il pleut fort",
        "c'est l'hiver",
        "bonne fin de semaine",
        "it is cold",
        "we go home now",
    ],
    "model": ["je dis nonante", "il pleut", "c'est hiver", "bonne fin de semaine", "it is cold", "we go home no"],
    "base": ["je dis non", "il plus", "c'est l'hiver", "bon week end", "it is gold", "we go"],
}


def report(**options: Any) -> EvaluationReport:
    return score(FRAGMENTS, MODEL, BASE, **{"resamples": 300} | options)


def row(scores: TargetScores, dimension: str, group: str | None) -> GroupScore:
    (found,) = [each for each in scores.groups if (each.dimension, each.group) == (dimension, group)]
    return found


MEMBERS = {
    ("dialect", "fr-BE"): [0, 1],
    ("dialect", "fr-CA"): [2, 3],
    ("dialect", "en-IN"): [4],
    ("dialect", None): [5],
    ("gender", "female"): [0, 1],
    ("gender", "male"): [2, 3, 4, 5],
    ("age_band", "20-29"): [0, 1],
    ("age_band", None): [2, 3, 5],
    ("language", "fr"): [0, 1, 2, 3],
    ("language", "en"): [4, 5],
    ("overall", None): [0, 1, 2, 3, 4, 5],
}


@pytest.mark.parametrize("key", MEMBERS)
def test_a_group_is_scored_as_a_corpus_of_its_own(key: tuple[str, str | None]) -> None:
    (scores,) = report().targets
    found = scores.overall if key[0] == "overall" else row(scores, *key)
    texts = {name: [lines[i] for i in MEMBERS[key]] for name, lines in NORMAL.items()}
    assert found.baseline is not None
    for system, name in ((found.system, "model"), (found.baseline, "base")):
        expected = jiwer.process_words(texts["reference"], texts[name])
        assert system.wer.value == pytest.approx(expected.wer)
        counts = system.words
        assert (counts.insertions, counts.deletions, counts.substitutions, counts.hits) == (
            expected.insertions,
            expected.deletions,
            expected.substitutions,
            expected.hits,
        )
        assert system.cer.value == pytest.approx(jiwer.cer(texts["reference"], texts[name]))
    assert found.fragments == len(MEMBERS[key])
    assert found.audio_seconds == 2.0 * found.fragments


def test_the_rows_are_these_and_no_others() -> None:
    (scores,) = report().targets
    keys = [(each.dimension, each.group) for each in scores.groups]
    assert set(keys) == set(MEMBERS) - {("overall", None)} | {("age_band", "30-39")}
    assert [group for dimension, group in keys if dimension == "dialect"] == ["en-IN", "fr-BE", "fr-CA", None]


def test_intervals_resample_speakers_and_the_change_is_paired() -> None:
    overall = report(seed=5).targets[0].overall
    assert overall.baseline is not None and overall.change is not None
    pairs = list(zip(NORMAL["reference"], NORMAL["model"], NORMAL["base"], strict=True))
    model = [len(r.split()) * jiwer.wer(r, m) for r, m, _ in pairs]
    base = [len(r.split()) * jiwer.wer(r, b) for r, _, b in pairs]
    model, base = [round(x) for x in model], [round(x) for x in base]
    words = [len(r.split()) for r, _, _ in pairs]
    voices = ["speaker a", "speaker a", "speaker b", "speaker b", "speaker c", "fragment None d1"]
    options = {"resamples": 300, "seed": 5}
    assert overall.system.wer == rate_estimate(model, words, voices, **options)
    assert overall.baseline.wer == rate_estimate(base, words, voices, **options)
    assert overall.change == paired_change(model, base, words, voices, **options)
    assert (overall.speakers, overall.without_speaker, overall.system.wer.clusters) == (3, 1, 4)


def test_one_voice_gives_a_figure_and_no_interval() -> None:
    belgian = row(report().targets[0], "dialect", "fr-BE")
    assert belgian.system.wer.value is not None
    assert belgian.system.wer.low is None
    assert belgian.change is not None and belgian.change.absolute.low is None


def test_worst_dialect_and_gap() -> None:
    scores = report().targets[0]
    rates = {g.group: g.system.wer.value for g in scores.groups if g.dimension == "dialect" and g.group}
    found = scores.gap()
    assert found is not None
    assert found.worst_wer == max(rates.values()) == rates[found.worst]
    assert found.gap == pytest.approx(max(rates.values()) - min(rates.values()))
    base = scores.baseline_gap()
    assert base is not None and base.worst == "fr-CA"


def test_one_dialect_has_no_gap() -> None:
    assert score(FRAGMENTS[:2], MODEL[:2]).targets[0].gap() is None


def test_the_two_targets_are_scored_apart() -> None:
    dialectal = [
        fragment("a", "i gang hei", "de", text_standard="ich gehe heim", dialect="gsw-CH"),
        fragment("b", "grüezi", "de"),
    ]
    result = score(dialectal, ["ich gehe heim", "grüezi"], resamples=10)
    verbatim, standard = result.targets
    assert (verbatim.target, standard.target) == ("text", "text_standard")
    assert (verbatim.overall.system.words.errors, verbatim.overall.system.words.reference) == (3, 4)
    assert (standard.overall.system.words.errors, standard.overall.system.words.reference) == (0, 3)
    assert standard.overall.fragments == 1


def test_digits_match_the_word_that_was_said_and_no_word_matches_another() -> None:
    said = [fragment("a", "nonante", dialect="fr-BE"), fragment("b", "nonante", dialect="fr-FR")]
    assert score(said, ["90", "90"]).targets[0].overall.system.words.errors == 0
    # Three words against one, in each of them.
    assert score(said, ["quatre-vingt-dix"] * 2).targets[0].overall.system.words.errors == 6


def test_test_sets_lie_side_by_side_in_one_report() -> None:
    """The view of a retention gate: the same ids in two manifests are different fragments."""
    names = ["accented"] * 2 + ["standard"] * 2
    fragments = [fragment("x", "un deux"), fragment("y", "trois"), fragment("x", "un deux"), fragment("y", "six")]
    scores = score(fragments, ["un", "trois", "un deux", "six"], test_sets=names).targets[0]
    assert row(scores, "test_set", "accented").system.words.errors == 1
    assert row(scores, "test_set", "standard").system.words.errors == 0
    assert scores.overall.system.wer.clusters == 4
    assert [(worst.test_set, worst.id) for worst in scores.worst_fragments] == [("accented", "x")]


def test_a_dimension_of_ones_own() -> None:
    fragments = [fragment(str(i), "un", custom={"l1": l1}) for i, l1 in enumerate(("ta", "hi", "ta"))]
    scores = score(fragments, ["un", "deux", "un"], groups={"l1": lambda f: str(f.custom["l1"])}).targets[0]
    assert row(scores, "l1", "hi").system.wer.value == 1.0
    assert row(scores, "l1", "ta").fragments == 2


def test_a_failed_fragment_is_left_out_of_both_systems() -> None:
    result = score(FRAGMENTS, [None, *MODEL[1:]], [*BASE[:5], None], decode_seconds=4.0)
    assert (result.fragments, result.failed) == (4, 2)
    assert result.targets[0].overall.system.words.reference == 12
    assert result.speed is not None and result.speed.real_time_factor == 0.5


def test_all_failed_is_a_report_without_figures(tmp_path: Path) -> None:
    result = score(FRAGMENTS, repeat(None, 6), BASE)
    assert (result.fragments, result.failed) == (0, 6)
    assert result.targets[0].overall.system.wer.value is None
    result.write(tmp_path / "report.json")


def test_silence_counts_what_was_invented() -> None:
    result = score([fragment("s", ""), fragment("t", "oui")], ["merci d'avoir regardé", "oui"])
    overall = result.targets[0].overall.system
    assert (overall.words.insertions, overall.words.reference, overall.wer.value) == (3, 1, 3.0)
    assert score([fragment("s", "")], ["merci"]).targets[0].overall.system.wer.value is None


def test_runaways_are_counted_as_written() -> None:
    loop = "et puis " * 60
    scores = score(FRAGMENTS[:2], ["je dis nonante", loop], [loop, loop]).targets[0]
    assert scores.overall.baseline is not None
    assert (scores.overall.system.runaways, scores.overall.baseline.runaways) == (1, 2)


def test_worst_fragments_have_ids_and_counts_only() -> None:
    scores = report(worst=2).targets[0]
    assert [(w.id, w.errors, w.words, w.baseline_errors) for w in scores.worst_fragments] == [
        ("a2", 1, 3, 2),
        ("b1", 1, 2, 0),
    ]


def test_a_duration_that_is_not_known_leaves_no_real_time_factor() -> None:
    result = score([fragment("a", "un"), fragment("b", "un", duration=None)], ["un", "un"], decode_seconds=1.0)
    assert result.without_duration == 1
    assert result.speed is not None and result.speed.real_time_factor is None
    assert result.targets[0].overall.audio_seconds == 2.0


def test_everything_is_read_as_a_stream() -> None:
    def endless(made: list[int]) -> Iterator[Fragment]:
        for i in range(50):
            made.append(i)
            yield fragment(str(i), "un")

    made: list[int] = []

    def outputs() -> Iterator[str]:
        for i in range(50):
            assert len(made) == i + 1  # no fragment is read ahead
            yield "un"

    assert score(endless(made), outputs(), resamples=10).fragments == 50


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((FRAGMENTS, MODEL[:4]), "outputs end after 4"),
        ((FRAGMENTS[:3], MODEL), "fragments end after 3"),
        ((FRAGMENTS, MODEL, BASE[:2]), "baseline outputs end after 2"),
        (([], []), "no fragment to score"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: tuple[Any, ...], message: str) -> None:
    with pytest.raises(AsrError, match=message):
        score(*columns)


def test_the_json_file_says_it_all_and_quotes_nobody(tmp_path: Path) -> None:
    result = report(system_name="tuned", baseline_name="base", decode_seconds=1.0)
    result.write(tmp_path / "out" / "report.json")
    content = (tmp_path / "out" / "report.json").read_text("utf-8")
    data = json.loads(content)
    assert data == result.to_dict()
    assert data["normalizers"]["fr"] == "french-1"
    assert data["normalizers"]["en"].startswith("whisper-english-")
    overall = data["targets"][0]["overall"]
    assert overall["system"]["words"]["reference"] == 19
    assert overall["change"]["absolute"]["value"] < 0
    assert data["targets"][0]["dialect_gap"]["worst"]
    assert not any(word in content for word in ("nonante", "semaine", ".wav", '"speaker a"'))


def test_the_order_of_fragments_changes_nothing() -> None:
    first = report().to_dict()
    assert score(FRAGMENTS[::-1], MODEL[::-1], BASE[::-1], resamples=300).to_dict() == first

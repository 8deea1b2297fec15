"""The event: everything of the transcript that an intent layer can use, and nothing of who spoke."""

import json
import time
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AsrError, ConfigError
from asr.fragment import Consent, Expression, Fragment
from asr.intent import event as module
from asr.intent.event import UPGRADES, VERSION, Hypothesis, UtteranceEvent, event_of, event_schema, read_event
from asr.intent.model import IntentModel
from asr.privacy.spans import Span
from asr.privacy.spoken import spoken_spans
from asr.transcript import Hypothesis as Said
from asr.transcript import Punctuation, Segment, Transcript, Word

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
FULL = Transcript(
    id="a",
    text="C'est pas cher, hein ?",
    language="fr",
    dialect="fr-CA",
    duration=2.5,
    segments=(Segment(0.0, 1.0, "C'est pas cher,", -0.2, 0.1, 1.1), Segment(1.0, 2.0, "hein ?", -0.6, 0.05, 0.7)),
    expressions=(Expression(text="hein", standard="n'est-ce pas", start_word=3),),
    text_standard="Ce n'est pas cher, n'est-ce pas ?",
    dialect_scores={"fr-CA": 0.8, "fr-FR": 0.2},
    intonation="question",
    intonation_scores={"question": 0.7, "statement": 0.3},
    tune="rise",
    tune_scores={"rise": 1.0},
    punctuation=Punctuation("?", 0.9, 0.6, 0.7),
    words=(Word("C'est", 0.0, 0.3, 0.9, 0.1), Word("pas", 0.3, 0.5, 0.8), Word("cher,", 0.5, 0.9, 1.0000001, 2.0)),
    emphasis=(2,),
)
BARE = Transcript("", "Allume la lampe.", "fr", None, 1.0, ())

# What an event of each version looked like when it was current; never changed, only added to.
STORED: dict[int, str] = {
    1: """{"version": 1, "id": "0f4a", "conversation": "call-7", "time": "2026-05-04T12:00:00Z",
        "text": "C'est pas cher, hein ?", "text_standard": "Ce n'est pas cher, n'est-ce pas ?",
        "text_bare": "c'est pas cher hein", "language": "fr", "dialect": "fr-CA", "dialect_confidence": 0.8,
        "words": [{"text": "C'est", "start": 0.0, "end": 0.3, "confidence": 0.9, "prominence": 0.1}],
        "nbest": [{"text": "C'est pas cher.", "log_probability": -2.5, "words": []}],
        "intonation": "question", "p_question": 0.9, "emphasis": [0],
        "expressions": [{"text": "hein", "standard": "n'est-ce pas", "start_word": 3}],
        "pii": [{"start": 0, "end": 5, "type": "NAME"}],
        "quality": {"avg_logprob": -0.6, "no_speech_prob": 0.1, "compression_ratio": 1.1},
        "purposes": ["evaluation", "offer"]}"""
}


def test_everything_of_the_transcript_arrives() -> None:
    event = event_of(FULL, nbest=[Hypothesis(text="C'est pas cher", log_probability=-2.0)], time=NOON, id="e1")
    assert (event.id, event.time, event.text, event.language) == ("e1", NOON, FULL.text, "fr")
    assert event.text_standard == FULL.text_standard and event.text_bare == "c'est pas cher hein"
    assert (event.dialect, event.dialect_confidence) == ("fr-CA", 0.8)
    assert [(word.text, word.start, word.end, word.confidence, word.prominence) for word in event.words] == [
        ("C'est", 0.0, 0.3, 0.9, 0.1),
        ("pas", 0.3, 0.5, 0.8, None),
        ("cher,", 0.5, 0.9, 1.0, 2.0),
    ]
    assert event.nbest[0].log_probability == -2.0
    assert (event.intonation, event.p_question, event.emphasis) == ("question", 0.9, (2,))
    assert event.expressions[0].standard == "n'est-ce pas" and event.expressions[0].start_word == 3
    assert event.quality is not None
    assert (event.quality.avg_logprob, event.quality.no_speech_prob, event.quality.compression_ratio) == (
        -0.6,
        0.1,
        1.1,
    )
    assert event.pii is None and event.purposes == () and event.conversation is None and event.heard


def test_without_heads_words_and_hypotheses() -> None:
    event = event_of(BARE)
    assert (event.text_bare, event.dialect, event.dialect_confidence) == ("allume la lampe", None, None)
    assert (event.words, event.nbest, event.intonation, event.p_question, event.quality) == ((), (), None, None, None)
    assert datetime.now(timezone.utc) - event.time < timedelta(minutes=1)
    assert event_of(BARE).id != event.id
    voice_alone = replace(FULL, punctuation=None)
    assert event_of(voice_alone).p_question == 0.7
    assert event_of(replace(FULL, dialect="unknown", dialect_scores={})).dialect_confidence == 0.0


secret = st.text("0123456789abcdef", min_size=8, max_size=8).map(lambda code: f"qzx{code}")


@given(secret, secret, st.floats(60, 400), st.booleans())
def test_no_speaker_no_path_and_no_pitch_gets_in(speaker: str, folder: str, hertz: float, live: bool) -> None:
    path = f"/corpora/{folder}/{speaker}.wav"
    fragment = Fragment(
        id=f"{speaker}-3",
        audio=path,
        text="Allume la lampe.",
        language="fr",
        speaker=speaker,
        annotator=f"by {folder}",
        conversation=f"{speaker}-call",
        consent=Consent(id=f"consent-{speaker}", purposes=("offer",)),
        custom={"f0_median_hz": hertz, "file": path},
    )
    transcript = replace(FULL, id=path if live else fragment.id)
    event = event_of(transcript, fragment=None if live else fragment)
    text = json.dumps(event.to_dict())
    assert speaker not in text and folder not in text and str(hertz) not in text and repr(hertz) not in text
    names = json.dumps(event_schema()["properties"]).lower() + json.dumps(event_schema()["$defs"]).lower()
    assert not any(word in names for word in ('"speaker"', '"audio"', '"path"', "hz", "f0", '"pitch"'))
    for attribute in ("speaker", "audio", "f0_hz"):
        with pytest.raises(AsrError, match="keys that no event has") as caught:
            read_event(event.to_dict() | {attribute: speaker})
        assert speaker not in str(caught.value)


def test_a_conversation_stays_together() -> None:
    one = Fragment(id="a", audio="a.wav", text="", language="fr", conversation="c1")
    same = event_of(FULL, fragment=one), event_of(FULL, fragment=one)
    assert same[0].conversation == same[1].conversation is not None
    assert event_of(FULL, fragment=one.replace(conversation="c2")).conversation != same[0].conversation
    assert event_of(FULL, fragment=one, conversation="session 12").conversation == "session 12"


@pytest.mark.parametrize(
    ("changes", "purposes"),
    [
        ({}, ("offer", "evaluation")),
        ({"withdrawn": date(2026, 5, 4)}, ()),
        ({"withdrawn": date(2026, 5, 5)}, ("offer", "evaluation")),
        ({"expires": date(2026, 5, 3)}, ()),
        ({"granted": date(2026, 5, 5)}, ()),
    ],
)
def test_purposes_are_those_that_hold_on_the_day(changes: dict[str, Any], purposes: tuple[str, ...]) -> None:
    consent = Consent(id="k", purposes=("offer", "evaluation", "offer"), **changes)
    fragment = Fragment(id="a", audio="a.wav", text="", language="fr", consent=consent)
    assert event_of(FULL, fragment=fragment, time=NOON).purposes == purposes


def test_the_consent_of_another_fragment_is_refused() -> None:
    with pytest.raises(AsrError, match="another fragment"):
        event_of(FULL, fragment=Fragment(id="b", audio="b.wav", text="", language="fr"))


def test_personal_data_is_told_by_who_is_asked() -> None:
    def finds(text: str, language: str) -> list[Span]:
        assert (text, language) == (FULL.text, "fr")
        return [Span(0, 5, "NAME", 0.9)]

    def refuses(text: str, language: str) -> list[Span]:
        raise ConfigError("not in this language")

    assert [(one.start, one.end, one.type) for one in event_of(FULL, find_pii=finds).pii or ()] == [(0, 5, "NAME")]
    assert event_of(FULL, find_pii=lambda *_: []).pii == ()
    assert event_of(FULL, find_pii=refuses).pii is None
    with pytest.raises(AsrError, match="ends behind the text"):
        event_of(FULL, find_pii=lambda *_: [Span(3, 99, "NAME", 1.0)])


def test_personal_data_as_our_own_finder_tells_it() -> None:
    text = "Appelez-moi au 06 12 34 56 78, merci."
    (span,) = event_of(replace(BARE, text=text), find_pii=spoken_spans).pii or ()
    assert (span.type, text[span.start : span.end]) == ("PHONE", "06 12 34 56 78")
    assert event_of(replace(BARE, text=text, language="nl"), find_pii=spoken_spans).pii is None


@pytest.mark.parametrize(
    "given", [{"id": "a b"}, {"id": "é"}, {"id": "a\nb"}, {"conversation": ""}, {"time": datetime(2026, 5, 4)}]
)
def test_an_id_that_no_header_takes_and_a_time_without_a_zone_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(AsrError, match=next(iter(given))):
        event_of(BARE, **given)


def test_the_reference_model_reads_an_event(tiny: IntentModel) -> None:
    asked = event_of(replace(BARE, text="Turn on the light, please.", language="en"))
    assert tiny.predict(asked).name == tiny.predict(asked.text, language="en").name == "light_on"


@pytest.mark.parametrize("text", ["", "   ", "...", "[Musique]", "♪♪", "\x00\x07"])
def test_where_nobody_spoke_an_event_says_so(text: str) -> None:
    event = event_of(replace(BARE, text=text))
    assert not event.heard and event.text_bare == "" and len(event.text) == len(text)
    assert read_event(event.to_dict()) == event


def test_ten_thousand_words() -> None:
    words = tuple(Word(f"mot{at}", at / 2, at / 2 + 0.4, 0.9) for at in range(10_000))
    long = replace(BARE, text=" ".join(word.text for word in words), words=words)
    begin = time.process_time()
    event = read_event(json.loads(json.dumps(event_of(long).to_dict())))
    assert time.process_time() - begin < 3
    assert len(event.words) == len(event.text_bare.split()) == 10_000


def test_control_characters_become_spaces_and_markup_stays() -> None:
    event = event_of(replace(BARE, text="a\x00b\u2028c\ud800d <b>e</b> & {f}\x1b"))
    assert event.text == "a b c d <b>e</b> & {f} "
    assert len(json.dumps(event.to_dict(), ensure_ascii=False).splitlines()) == 1
    json.dumps(event.to_dict(), ensure_ascii=False).encode()


@pytest.mark.parametrize("language", ["", "klingon", "FR", "fr\n"])
def test_a_language_that_is_none_is_left_out(language: str) -> None:
    event = event_of(replace(BARE, language=language), find_pii=lambda *_: [])
    assert (event.language, event.pii, event.text_bare) == (None, None, "allume la lampe")


def test_no_number_is_no_reason_to_lose_an_utterance() -> None:
    nan = float("nan")
    odd = replace(
        FULL,
        segments=(Segment(0, 1, "x", nan, nan, float("inf")),),
        dialect_scores={"fr-CA": nan},
        words=(Word("x", 0, 1, nan, nan),),
        emphasis=(),
    )
    event = event_of(odd)
    assert event.quality is not None and event.quality.no_speech_prob is None
    assert (event.words[0].confidence, event.words[0].prominence, event.dialect_confidence) == (None, None, None)


def test_the_published_schema_is_this_one() -> None:
    published = Path(__file__).parents[2] / "datasets" / "intents" / "event.schema.json"
    assert json.loads(published.read_text("utf-8")) == event_schema(), "asr schema --event --output it"


def test_the_schema_accepts_what_is_written_and_nothing_else() -> None:
    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    for event in (event_of(FULL), event_of(BARE)):
        check.validate(event.to_dict())
    assert not check.is_valid(event_of(FULL).to_dict() | {"speaker": "s1"})
    assert not check.is_valid(event_of(FULL).to_dict() | {"dialect_confidence": 1.2})


def test_every_version_has_a_stored_event_that_is_read() -> None:
    assert set(STORED) == set(range(1, VERSION + 1)) and set(UPGRADES) == set(range(1, VERSION))
    for text in STORED.values():
        event = read_event(json.loads(text))
        assert event.version == VERSION and event.text_bare == "c'est pas cher hein" and event.conversation == "call-7"
    # What the current one wrote comes back unchanged, so a changed form needs a new version.
    data = json.loads(STORED[VERSION])
    assert read_event(data).to_dict() == data


def test_an_old_version_is_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {1: lambda data: data | {"b": 1}, 2: lambda data: {key: data[key] for key in data if key not in "ab"}}
    monkeypatch.setattr(module, "VERSION", 3)
    monkeypatch.setattr(module, "UPGRADES", steps)
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "_validated", seen.append)
    read_event(json.loads(STORED[1]) | {"a": 0})
    assert seen == [json.loads(STORED[1]) | {"version": 3}]


@pytest.mark.parametrize("version", [0, 2, None, "1", True, 10**400])
def test_an_unknown_version_is_refused(version: object) -> None:
    with pytest.raises(AsrError, match="knows 1 to 1"):
        read_event(json.loads(STORED[1]) | {"version": version})


def test_an_error_has_nothing_of_what_was_said() -> None:
    with pytest.raises(AsrError, match=r"words\.0\.start") as caught:
        read_event(json.loads(STORED[1]) | {"words": [{"text": "secret", "start": "secret", "end": 1}]})
    assert "secret" not in str(caught.value)
    with pytest.raises(AsrError, match="emphasis names a word"):
        read_event(json.loads(STORED[1]) | {"emphasis": [1]})


def test_nothing_in_an_event_can_be_changed() -> None:
    event: Any = event_of(FULL)
    for target, name in ((event, "text"), (event.words[0], "text")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(target, name, "x")
    assert isinstance(event, UtteranceEvent) and isinstance(event.words, tuple)


def test_the_hypotheses_of_one_utterance_arrive() -> None:
    perhaps = (Said("C'est pas cher, hein", -1.0), Said("C'est pas chaud", -2.5))
    segment = replace(FULL.segments[0], hypotheses=perhaps)
    event = event_of(replace(FULL, segments=(segment,)))
    assert [(one.text, one.log_probability) for one in event.nbest] == [
        (one.text, one.log_probability) for one in perhaps
    ]
    assert event_of(replace(FULL, segments=(segment, segment))).nbest == ()
    assert event_of(FULL).nbest == ()

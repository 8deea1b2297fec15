import pytest

from asr.server.asked import read_fields
from asr.server.queue import Wish
from asr.server.refusals import Refusal
from asr.server.upload import Form


def form(**fields: str | list[str]) -> Form:
    return Form(b"x", {name: [value] if isinstance(value, str) else value for name, value in fields.items()})


def test_nothing_asked_is_the_least() -> None:
    asked = read_fields(form(), "mine")
    assert (asked.wish, asked.form, asked.segments, asked.stream) == (Wish(), "json", True, False)


def test_all_that_can_be_asked() -> None:
    asked = read_fields(
        form(
            model="mine",
            language="fr",
            dialect="fr-CA",
            prompt=" Bonjour ",
            response_format="verbose_json",
            temperature="0.2",
            stream="True",
            unknown="passed over",
            **{"timestamp_granularities[]": ["word"]},
        ),
        "mine",
    )
    assert asked.wish == Wish("fr", "fr-CA", "Bonjour", words=True)
    assert (asked.form, asked.segments, asked.stream) == ("verbose_json", False, True)


def test_the_name_that_clients_have_by_heart_is_served() -> None:
    assert read_fields(form(model="whisper-1"), "mine")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": "gpt"}, 404, "'gpt' is not served here; ask for 'mine'"),
        ({"response_format": "diarized_json"}, 400, "choose from json"),
        ({"stream": "perhaps"}, 400, "stream must be true or false"),
        ({"temperature": "hot"}, 400, "from 0 to 1"),
        ({"temperature": "nan"}, 400, "from 0 to 1"),
        ({"temperature": "1.5"}, 400, "from 0 to 1"),
        ({"timestamp_granularities[]": ["word", "letter"]}, 400, "'letter' is not known"),
        ({"prompt": "x" * 2001}, 400, "2001 characters"),
    ],
)
def test_what_cannot_be_asked(fields: dict[str, str | list[str]], status: int, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_fields(form(**fields), "mine")
    assert refused.value.status == status and message in refused.value.message
    assert refused.value.param == next(iter(fields)).removesuffix("[]")

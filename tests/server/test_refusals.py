import json

import pytest

from asr.server.refusals import Refusal, busy


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_it_has_openai_s_form(status: int, kind: str) -> None:
    answer = Refusal(status, "too much", param="file").response()
    assert answer.status_code == status
    assert json.loads(bytes(answer.body)) == {
        "error": {"message": "too much", "type": kind, "param": "file", "code": None}
    }


def test_busy_says_when_to_come_again() -> None:
    answer = busy("full", retry_after=7).response()
    assert answer.status_code == 429 and answer.headers["retry-after"] == "7"
    assert b"full; try again in 7 s" in bytes(answer.body)

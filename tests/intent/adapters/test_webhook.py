"""The webhook's body and headers, by the example that Standard Webhooks publishes."""

import base64
import hashlib
import hmac
import json

import pytest

from asr.errors import ConfigError
from asr.intent.adapters.webhook import request, sign
from asr.intent.event import UtteranceEvent, read_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_published_example() -> None:
    signature = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_check_what_it_got(said: UtteranceEvent) -> None:
    sent = request(said, SECRET, at=1614265330.9)
    assert sent.headers["webhook-timestamp"] == "1614265330"
    content = f"{sent.headers['webhook-id']}.{sent.headers['webhook-timestamp']}.".encode() + sent.body
    digest = hmac.new(base64.b64decode(SECRET[6:]), content, hashlib.sha256).digest()
    assert sent.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert sent.headers["Idempotency-Key"] == sent.headers["webhook-id"] == said.id
    assert "webhook-signature" not in request(said).headers
    assert said.text not in repr(sent)


def test_awkward_utterances(awkward: UtteranceEvent) -> None:
    sent = request(awkward)
    assert read_event(json.loads(sent.body)) == awkward
    assert not set(sent.body) & set(b"<>&\n\r\x00")
    for name, value in sent.headers.items():
        assert (name + value).isascii() and (name + value).isprintable()


@pytest.mark.parametrize("secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_é", "whsec_abc"])
def test_a_secret_that_is_none(said: UtteranceEvent, secret: str) -> None:
    with pytest.raises(ConfigError, match="whsec_ and base64"):
        request(said, secret)

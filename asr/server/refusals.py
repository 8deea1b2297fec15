"""What the server says instead of an answer: a status and a sentence, in the form of OpenAI's errors."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request is not answered as it was meant.

    Args:
        status: HTTP status.
        message: What was found and what to do.
        param: The form field at fault.
        code: OpenAI's word for it, where it has one.
        retry_after: Seconds after which it makes sense to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, Any]:
        """The body, as OpenAI's clients read it."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.to_dict(), self.status, headers)


def busy(message: str, retry_after: int = 1) -> Refusal:
    """The refusal of a server that has enough to do."""
    return Refusal(429, f"{message}; try again in {retry_after} s", code="rate_limit_exceeded", retry_after=retry_after)

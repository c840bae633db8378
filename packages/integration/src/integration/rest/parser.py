"""How a response becomes a value or the right error: status first.

A failing status is read as the venue's error before anything else; a successful one
as the response, which may still turn out to be a refusal (see `Validator`). Nothing
here waits or knows httpx.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from integration.errors import (
    UNDECODABLE,
    DeserialiseBinary,
    HttpResponse,
    RateLimited,
)
from integration.validator import Validator

__all__ = [
    "DetailedParser",
    "HttpParser",
    "PlainParser",
    "http_date",
    "retry_after",
]

ApiErrorT = TypeVar("ApiErrorT")

_NO_CONTENT = frozenset({204, 205})
_MAX_DIGITS = 10  # three centuries of seconds
_RATE_LIMITED = frozenset({418, 429})
"""429 by RFC 6585 §4; 418 is what Binance answers to those who go on after it."""


class HttpParser(ABC, Generic[ApiErrorT]):
    """Decodes responses of one venue; `parse_api_error` is all one must write.

    Set `api_error_type` to the Struct of the venue's error body.
    """

    api_error_type: type[ApiErrorT]

    @abstractmethod
    def parse_api_error(self, status: int, api_error: ApiErrorT) -> Exception:
        """Return the error that a decoded error body stands for."""

    def parse(
        self,
        status: int,
        headers: Mapping[str, str],
        payload: bytes,
        response_type: Any,  # noqa: ANN401 - any type form msgspec can decode
    ) -> Any:  # noqa: ANN401 - an instance of response_type
        """Return the response, or raise what it reports.

        Args:
            status: HTTP status.
            headers: Header fields, names in lower case.
            payload: The body, content codings removed.
            response_type: What a successful body decodes into.

        Raises:
            HttpResponse: A failing status with a body that is no API error.
            RateLimited: The same with status 429 or 418.
            DeserialiseBinary: A successful status with a body that is neither the
                response nor an API error.
            Exception: Whatever `parse_api_error` or the response's `validate` made.
        """
        if not 200 <= status < 300:  # RFC 9110 §15.3; redirects are off
            raise self._failure(status, headers, payload)
        if (response_type is None or response_type is type(None)) and not payload:
            return None
        if status in _NO_CONTENT:
            payload = payload or b"null"
        try:
            response = _decoder(response_type).decode(payload)
        except UNDECODABLE as error:
            raise self._refusal(status, headers, payload, error) from error
        if isinstance(response, Validator):
            return response.validate()
        return response

    def report(
        self, status: int, headers: Mapping[str, str], api_error: ApiErrorT
    ) -> Exception:
        """Return the error for a body that came with these headers."""
        del headers
        return self.parse_api_error(status, api_error)

    def _failure(
        self, status: int, headers: Mapping[str, str], payload: bytes
    ) -> Exception:
        api_error = self._api_error(payload)
        if api_error is not None:
            return self.report(status, headers, api_error)
        text = payload.decode("utf-8", "replace")
        wait = retry_after(headers)
        if status in _RATE_LIMITED:
            return RateLimited(
                f"HTTP status {status}: {text[:200]}",
                status=status,
                headers=headers,
                retry_after=wait,
            )
        return HttpResponse(status, text, headers=headers, retry_after=wait)

    def _refusal(
        self,
        status: int,
        headers: Mapping[str, str],
        payload: bytes,
        error: Exception,
    ) -> Exception:
        """What a body is that came with a good status but is not the response."""
        api_error = self._api_error(payload)
        if api_error is not None:
            return self.report(status, headers, api_error)
        return DeserialiseBinary(str(error), payload)

    def _api_error(self, payload: bytes) -> ApiErrorT | None:
        try:
            kind: Any = self.api_error_type
            decoded: ApiErrorT = _decoder(kind).decode(payload)
        except UNDECODABLE:
            return None
        return decoded


class PlainParser(HttpParser[msgspec.Raw]):
    """For venues without error bodies: every failing status is an `HttpResponse`."""

    api_error_type = msgspec.Raw

    def parse_api_error(self, status: int, api_error: msgspec.Raw) -> Exception:
        """Return the body's text under its status."""
        return HttpResponse(status, bytes(api_error).decode("utf-8", "replace"))

    def _api_error(self, payload: bytes) -> msgspec.Raw | None:
        del payload
        return None


class DetailedParser(HttpParser[ApiErrorT]):
    """One whose errors keep what came with them; `error_of` is all one must write."""

    @abstractmethod
    def error_of(self, api_error: ApiErrorT, /, **about: Any) -> Exception:  # noqa: ANN401 - status, headers, retry_after
        """Return the error that a decoded error body stands for."""

    def parse_api_error(self, status: int, api_error: ApiErrorT) -> Exception:
        """Return the error without what came with it."""
        return self.error_of(api_error, status=status)

    def report(
        self, status: int, headers: Mapping[str, str], api_error: ApiErrorT
    ) -> Exception:
        """Return the error with status, headers and Retry-After."""
        wait = retry_after(headers)
        return self.error_of(
            api_error, status=status, headers=headers, retry_after=wait
        )


def retry_after(
    headers: Mapping[str, str], *, now: float | None = None
) -> float | None:
    """Return the seconds of a Retry-After field (RFC 9110 §10.2.3), or None.

    Args:
        headers: Header fields, names in lower case.
        now: Seconds since epoch, to make a date relative; without it, the response's
            own Date field is taken.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # Hundreds of digits are no wait but a fault, and would be one without end.
        return float(text) if len(text) <= _MAX_DIGITS else None
    when = http_date(text)
    if when is None:
        return None
    if now is None:
        sent = http_date(headers.get("date", ""))
        return None if sent is None else max(0.0, (when - sent).total_seconds())
    return max(0.0, when.timestamp() - now)


def http_date(text: str) -> datetime | None:
    """Read a date as HTTP spells it (RFC 9110 §5.6.7); None if it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A zone of "-0000" says that none is known; HTTP has no other than UTC.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


@lru_cache(maxsize=256)
def _decoder(response_type: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - as above
    # A reused decoder is a fifth faster than decode(type=...), measured.
    return msgspec.json.Decoder(response_type)

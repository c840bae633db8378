"""The seam behind which an HTTP library stands.

A transport takes a prepared request, sends exactly its bytes and returns the whole
response with the moments at which it came. It follows no redirects, keeps no cookies,
takes no proxy from the environment and logs no URL. The one we have is in
`integration.rest.httpx_transport`; whoever has another HTTP client implements
`HttpTransport`.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from integration.rest.prepared import PreparedRequest

__all__ = ["HttpTransport", "RawResponse"]


class RawResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case, repeated ones joined by commas.
        content: The body, content codings removed.
        bytes_in: Bytes of the body as they came.
        headers_ns: Monotonic time at which the header was complete.
        body_ns: Monotonic time at which the body was complete.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    bytes_in: int
    headers_ns: int
    body_ns: int

    def __repr__(self) -> str:
        return f"<RawResponse {self.status}, {len(self.content)} bytes>"


class HttpTransport(Protocol):
    """Sends a prepared request as it is."""

    async def send(self, prepared: PreparedRequest) -> RawResponse:
        """Send one request and read the whole response.

        Raises:
            HttpTimeout: The response was not complete within `prepared.timeout`.
            Http: There was no complete response; `sent` says whether the venue can
                have seen the request.
            TlsError: The venue's certificate is not accepted, or TLS broke.
            DnsError: The venue's name did not resolve.
            Serialise: The transport could not send these very bytes.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
